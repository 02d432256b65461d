import { contextOf } from '../../src/batch/batch-context.js';
import { settleSnapshot } from '../../src/record/decide.js';
import { eventually, expect, test } from '../support/test.js';

test('complete is told what the batch had come to when it was noted, although members were retried since', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const { redis } = await contextOf(users);
  const told: unknown[] = [];
  let isMended = false;
  testbed.worker('users', async ({ name, data }) => {
    if (data.batch) {
      told.push([name, data.batch.succeeded, data.batch.failed]);
    } else if (!isMended) {
      throw new Error('bad');
    }
  });
  const batch = await users.createBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } });
  const job = await batch.add('row', {});
  await batch.seal();
  await eventually(async () => (await batch.status()).failed === 1);
  // What maintenance does that is killed before it has enqueued anything.
  await settleSnapshot(redis, batch.id);
  isMended = true;
  await users.getJob(String(job.id)).then((failed) => failed?.retry());
  await eventually(async () => (await batch.status()).succeeded === 1);
  testbed.batchWorker();
  expect((await batch.waitUntilFinished(10_000)).state).toBe('succeeded');
  expect(told).toEqual([
    ['complete', 0, 1],
    ['success', 1, 0],
  ]);
});
