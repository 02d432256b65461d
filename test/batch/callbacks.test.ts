import { expect, test } from 'vitest';
import { callbackJob } from '../../src/batch/callbacks.js';
import type { CallbackSnapshot, Snapshot } from '../../src/redis/snapshot.js';

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
  completedCounts: { total: 3, pending: 0, succeeded: 1, failed: 1, cancelled: 0 },
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
  counts: { total: 3, pending: 0, succeeded: 3, failed: 0, cancelled: 0 },
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

test('complete is told the counts of the moment at which it became due, whoever enqueues it and whatever has been retried since', () => {
  expect(callbackJob('b', snapshot, due('complete')).data).toEqual({
    org: 7,
    batch: { id: 'b', event: 'complete', total: 3, pending: 0, succeeded: 1, failed: 1, cancelled: 0, missing: 1 },
  });
});

test('success is told the counts of now', () => {
  expect(callbackJob('b', snapshot, due('success')).data).toEqual({
    batch: { id: 'b', event: 'success', total: 3, pending: 0, succeeded: 3, failed: 0, cancelled: 0, missing: 0 },
  });
});
