import { describe, eventually, expect, keysOf, test } from '../support/test.js';

describe('keep: { members: true }', () => {
  test("the members' jobs expire with their batch, those of child batches too, and nothing is left", async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async (job) => {
      if (job.data.row === 'bad') throw new Error('no');
    });
    testbed.batchWorker({ reconcileInterval: 50 });
    const other = await users.add('other', {});
    const parent = await users.createBatch({ keep: { age: 0, members: true }, on: { complete: { name: 'done' } } });
    await parent.addBulk([
      { name: 'row', data: { row: 'good' } },
      { name: 'row', data: { row: 'bad' } },
    ]);
    await users.addBatch({ parent }, [{ name: 'row', data: { row: 'in the child' } }]);
    await parent.seal();
    await eventually(async () => {
      const { open, running, succeeded, failed } = await users.getBatchCounts();
      return open + running + succeeded + failed === 0;
    });
    const jobs = await users.getJobs(['completed', 'failed', 'wait', 'active']);
    expect(jobs.map(({ id }) => id)).toEqual([other.id]);
    const keys = await keysOf(testbed.redis, `${testbed.prefix}:users:`);
    expect(
      keys.filter((key) => /(dependencies|processed|:failed|logs|lock)$/.test(key.slice(testbed.prefix.length))),
    ).toEqual(keys.filter((key) => key === `${testbed.prefix}:users:failed`));
  });

  test("a failed member's data stays readable, also with removeOnFail", async ({ testbed }) => {
    const users = testbed.queue('users', { defaultJobOptions: { removeOnFail: true } });
    testbed.worker('users', async () => {
      throw new Error('no');
    });
    testbed.batchWorker();
    const batch = await users.createBatch({ keep: { members: true }, jobOptions: { removeOnFail: true } });
    await batch.add('row', { row: 1 });
    await batch.add('row', { row: 2 }, { removeOnFail: { count: 0 } });
    await batch.addFlow({ name: 'root', queueName: 'users', data: { row: 3 }, opts: { removeOnFail: true } });
    await batch.seal();
    await batch.waitUntilFinished(20_000);
    const data: unknown[] = [];
    for await (const failure of batch.failures()) {
      data.push(failure.data);
    }
    expect(data).toHaveLength(3);
    expect(data).toEqual(expect.arrayContaining([{ row: 1 }, { row: 2 }, { row: 3 }]));
  });

  test('without an age the batch is kept for the usual seven days; other values are refused', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch({ keep: { members: true } });
    const keep = await testbed.redis.hget(`${testbed.prefix}:batches:${batch.id}`, 'b:keep');
    expect(keep).toBe('604800,,members');
    await expect(users.createBatch({ keep: { members: 'yes' as never } })).rejects.toThrow('keep.members must be true');
  });
});
