import { callbackJob } from '../../src/batch/callbacks.js';
import { BatchOptionsError } from '../../src/index.js';
import type { CallbackSnapshot, Snapshot } from '../../src/model/snapshot.js';
import { expect, keysOf, test } from '../support/test.js';

const definition = {
  queue: 'users',
  id: 'b1',
  nonce: 'n',
  openTimeout: 1,
  keep: {},
  on: { complete: [{ queue: 'users', name: 'done', data: { org: 7 } }], success: [{ queue: 'users', name: 'good' }] },
};

const snapshot: Snapshot = {
  definition,
  createdAt: 1,
  sealedAt: 2,
  completedAt: 3,
  completedCounts: { total: 3, pending: 0, succeeded: 1, failed: 1, cancelled: 0, missing: 1 },
  finishedAt: undefined,
  ended: undefined,
  failedReason: undefined,
  abandonedAt: undefined,
  cancelledAt: undefined,
  cancelReason: undefined,
  diedAt: undefined,
  attemptedAt: undefined,
  deaths: 0,
  openFor: 0,
  counts: { total: 3, pending: 0, succeeded: 3, failed: 0, cancelled: 0, missing: 0 },
  callbacks: [],
  strangers: [],
  version: '',
};

const due = (event: 'complete' | 'success'): CallbackSnapshot => ({
  event,
  index: 0,
  queue: 'users',
  name: event,
  jobId: 'x',
  state: 'pending',
  failedReason: undefined,
});

test('complete is told the counts of when it became due, whoever enqueues it and whatever was retried since', () => {
  expect(callbackJob(snapshot, due('complete')).data).toEqual({
    org: 7,
    batch: { id: 'b1', event: 'complete', total: 3, pending: 0, succeeded: 1, failed: 1, cancelled: 0, missing: 1 },
  });
});

test('success is told the counts of now', () => {
  expect(callbackJob(snapshot, due('success')).data).toEqual({
    batch: { id: 'b1', event: 'success', total: 3, pending: 0, succeeded: 3, failed: 0, cancelled: 0, missing: 0 },
  });
});

test('a batch has at most 100 callbacks, of all events together, and then none that comes later', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const callbacks = (count: number) => Array.from({ length: count }, (_, n) => ({ name: `report-${n}` }));
  const tooMany = users.createBatch({
    on: { complete: callbacks(60), success: callbacks(40), death: { name: 'warn' } },
  });
  await expect(tooMany).rejects.toThrow(BatchOptionsError);
  await expect(tooMany).rejects.toThrow("'on' makes 101 callbacks: a batch has at most 100, of all events together.");
  expect((await keysOf(testbed.redis, testbed.prefix)).filter((key) => key.includes(':batches:'))).toEqual([]);
  const batch = await users.createBatch({ on: { complete: callbacks(59), success: callbacks(40) } });
  await batch.on('death', { name: 'warn' });
  await expect(batch.on('death', { name: 'warn' })).rejects.toThrow(BatchOptionsError);
  expect((await batch.status()).callbacks).toHaveLength(100);
});
