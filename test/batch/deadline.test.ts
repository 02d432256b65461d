import { BatchOptionsError } from '../../src/index.js';
import { type AnyJob, describe, eventually, expect, gate, test } from '../support/test.js';

const rows = [1, 2, 3].map((row) => ({ name: 'row', data: { row } }));

describe('deadline', () => {
  test('cancels what is left of the batch when it has passed, with that reason, and its children', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    testbed.batchWorker({ sweepInterval: 50 });
    const batch = await users.createBatch({ deadline: 300 });
    await batch.addBulk(rows);
    await users.addBatch({ parent: batch }, rows);
    await batch.seal();
    const { deadline = 0, ...status } = await batch.waitUntilFinished(20_000);
    expect(status).toMatchObject({ state: 'cancelled', total: 4, cancelled: 3, failed: 1 });
    expect(status.cancelReason).toBe(`deadline: it was to finish by ${new Date(deadline).toISOString()}`);
    expect(await users.getJobCounts('wait')).toEqual({ wait: 0 });
    expect(await testbed.redis.exists(`${testbed.prefix}:batches:reconciler:needs:deadlines`)).toBe(0);
  });

  test('that has passed cancels an open batch too, also as a Date', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch({ deadline: new Date(Date.now() - 1000) });
    await batch.add('row', {});
    testbed.batchWorker({ sweepInterval: 50 });
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'cancelled', cancelled: 1 });
  });

  test('that is still to come, or of a batch that has finished, changes nothing', async ({ testbed }) => {
    const users = testbed.queue('users');
    let isToFail = true;
    testbed.worker('users', async () => {
      if (isToFail) throw new Error('no');
    });
    testbed.batchWorker({ sweepInterval: 50 });
    const late = await users.addBatch({ deadline: 3_600_000 }, rows.slice(0, 1));
    const short = await users.addBatch({ deadline: 400, id: 'short' }, rows.slice(0, 1));
    expect(await late.waitUntilFinished(20_000)).toMatchObject({ state: 'failed', cancelReason: undefined });
    expect(await short.waitUntilFinished(20_000)).toMatchObject({ state: 'failed', cancelReason: undefined });
    const { deadline = 0 } = await short.status();
    await eventually(() => Date.now() > deadline);
    isToFail = false;
    await short.retry();
    expect(await short.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', recovered: true });
    const index = `${testbed.prefix}:batches:reconciler:needs:deadlines`;
    await eventually(async () => (await testbed.redis.exists(index)) === 0);
  });

  test('is kept by a BatchWorker that comes later', async ({ testbed }) => {
    const users = testbed.queue('users');
    const first = testbed.batchWorker({ sweepInterval: 50 });
    const { opened, open } = gate();
    testbed.worker('users', async (job: AnyJob) => (job.data.row === 1 ? opened : undefined), { concurrency: 1 });
    const batch = await users.addBatch({ deadline: 500 }, rows);
    await first.close();
    const { deadline = 0 } = await batch.status();
    await eventually(() => Date.now() > deadline);
    testbed.batchWorker({ sweepInterval: 50 });
    await eventually(async () => (await batch.status()).cancelled === 2);
    open();
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'cancelled', succeeded: 1, cancelled: 2 });
  });

  test.for([0, -1, 1.5, '1h', new Date('never'), null, Number.MAX_VALUE, Number.MAX_SAFE_INTEGER])(
    '%s is refused',
    async (deadline, { testbed }) => {
      const users = testbed.queue('users');
      await expect(users.createBatch({ deadline: deadline as number })).rejects.toThrow(BatchOptionsError);
    },
  );
});
