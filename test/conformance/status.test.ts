import { BatchNotFoundError, BatchTimeoutError } from '../../src/index.js';
import { jobKeys } from '../support/job-keys.js';
import { eventually, expect, test } from '../support/test.js';
import { all, fail, gateOf, job, play } from './script.js';

/* What a batch says of itself. */

test('S11 the status of a fresh batch: what was added is pending, nothing has happened', async ({ testbed }) => {
  const batch = await testbed.queue('users').createBatch({ id: 'import-42', description: 'Import of ACME' });
  await batch.addBulk([job('row'), job('row'), job('row')]);
  const status = await batch.status();
  expect(status).toMatchObject({
    id: 'import-42',
    description: 'Import of ACME',
    state: 'open',
    total: 3,
    pending: 3,
    succeeded: 0,
    failed: 0,
    progress: 0,
    completedAt: undefined,
    finishedAt: undefined,
  });
  const stored = await testbed.plainQueue('batches').getJob('import-42');
  expect(status.createdAt).toBe(stored?.timestamp);
});

test('S40 (ours: an error) an unknown id is an error that names it, not zeros, and leaves no key', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const asking = users.getBatch('never-created');
  await expect(asking).rejects.toThrow(BatchNotFoundError);
  await expect(asking).rejects.toMatchObject({ batchId: 'never-created' });
  expect(await jobKeys(testbed)).toEqual([]);
});

test('S41 pending and total reflect added members, failed counts failed ones, and failures() lists them', async ({
  testbed,
}) => {
  const held = gateOf(testbed);
  const { users } = play(testbed, { bad: fail, held: () => held.opened });
  const batch = await users.createBatch();
  const bad = await batch.jobs(() => users.addBulk([job('bad'), job('bad')]));
  await batch.addBulk([job('held'), job('good')]);
  await eventually(async () => (await batch.status()).pending === 1);
  expect(await batch.status()).toMatchObject({ total: 4, pending: 1, succeeded: 1, failed: 2 });
  const ids = (await all(batch.failures())).map(({ id }) => id);
  expect(ids.sort()).toEqual(bad.map(({ id }) => id).sort());
  held.open();
  await eventually(async () => (await batch.status()).pending === 0);
  expect(await batch.status()).toMatchObject({ total: 4, succeeded: 2, failed: 2 });
});

// Failed ids are a stream, failures(), because there may be a million of them; children are members, and counted as
// such.
test('S42 the status is plain data', async ({ testbed }) => {
  const { users } = play(testbed, { bad: fail });
  const parent = await users.createBatch();
  const batch = await parent.createBatch({ description: 'Users', on: { complete: { name: 'done' } } });
  await batch.addBulk([job('good'), job('bad')]);
  await batch.seal();
  const status = await batch.waitUntilFinished(10_000);
  const copy = JSON.parse(JSON.stringify(status));
  expect(copy).toMatchObject({
    id: batch.id,
    description: 'Users',
    state: 'failed',
    sealed: true,
    total: 2,
    pending: 0,
    succeeded: 1,
    failed: 1,
    parentId: parent.id,
    callbacks: [{ event: 'complete', queue: 'users', name: 'done', state: 'succeeded' }],
    createdAt: status.createdAt,
    completedAt: status.completedAt,
    finishedAt: status.finishedAt,
  });
  expect([copy.createdAt, copy.completedAt, copy.finishedAt].every(Number.isInteger)).toBe(true);
  expect(copy, 'JSON carries all of it').toEqual(status);
});

test('S43 (ours: supported) waitUntilFinished waits for members and callbacks; it rejects when time is up', async ({
  testbed,
}) => {
  const held = gateOf(testbed);
  const { users, ran } = play(testbed, { bad: fail, complete: () => held.opened });
  const batch = await users.addBatch({ on: { complete: { name: 'complete' } } }, [job('good'), job('bad')]);
  await eventually(() => ran.includes('complete'));
  await expect(batch.waitUntilFinished(0)).rejects.toThrow(BatchTimeoutError);
  const waiting = batch.waitUntilFinished(10_000);
  held.open();
  expect(await waiting).toMatchObject({ state: 'failed', total: 2, succeeded: 1, failed: 1 });
  expect(await batch.waitUntilFinished(0), 'a finished batch needs no time').toMatchObject({ state: 'failed' });
});
