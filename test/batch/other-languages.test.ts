import { type Job, UnrecoverableError } from 'bullmq';
import { Redis } from 'ioredis';
import { contextOf } from '../../src/batch/batch-context.js';
import { type CancelState, cancelSlice } from '../../src/batch/cancel.js';
import { markCancelled } from '../../src/record/cancel.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';

/** Finishes the members of a batch as BullMQ's ports for other languages do: with what is no JSON, or JSON twice. */
async function finished(testbed: Testbed, collection: 'processed' | 'failed', value: string, returned?: string) {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  const job = await batch.add('row', {});
  await batch.seal();
  const key = `${testbed.prefix}:users:${job.id}`;
  const batchKey = `${testbed.prefix}:batches:${batch.id}`;
  await testbed.redis
    .multi()
    .hset(key, collection === 'processed' ? 'returnvalue' : 'failedReason', returned ?? value, 'finishedOn', Date.now())
    .lrem(`${testbed.prefix}:users:wait`, 1, job.id ?? '')
    .zadd(`${testbed.prefix}:users:${collection === 'processed' ? 'completed' : 'failed'}`, Date.now(), job.id ?? '')
    .srem(`${batchKey}:dependencies`, key)
    .hset(`${batchKey}:${collection}`, key, value)
    .exec();
  return batch;
}

/** A connection as a worker of one of the ports has it, whose last command is this one. */
async function connect(testbed: Testbed, name: string, [command = '', ...args]: string[]): Promise<void> {
  const redis = new Redis({ ...testbed.connection, connectionName: name });
  testbed.use({ close: async () => redis.disconnect() });
  await redis.ping();
  void redis.call(command, ...args).catch(() => {});
}

/** Cancels a batch of one job, and lets a worker take the job before the search for dropped jobs finds it. */
async function takenDropped(testbed: Testbed) {
  const users = testbed.queue('users');
  const batch = await users.addBatch({}, [{ name: 'row', data: {} }]);
  const context = await contextOf(users);
  await markCancelled(context.redis, batch.id, {});
  for (let state: CancelState | 'done' | undefined; state !== 'done'; ) {
    state = await cancelSlice(context, batch.id, state);
  }
  const [waiting] = await users.getWaiting();
  const key = `${testbed.prefix}:users:${waiting?.id}`;
  const deferral = await testbed.redis.hget(key, 'defa');
  // BullMQ's own getNextJob() would fail the job.
  await testbed.redis.hdel(key, 'defa');
  const worker = testbed.worker('users', null as never, { autorun: false });
  const job = (await worker.getNextJob('token')) as Job;
  return { users, batch, job, deferral };
}

describe('workers of other languages', () => {
  test.for([
    ['a string as it is', 'done: 7 rows', 'done: 7 rows'],
    ['JSON', '{"rows":7}', { rows: 7 }],
    ['nothing', '', ''],
  ] as const)(
    'a return value that is stored as %s is what results() yields',
    async ([, stored, value], { testbed }) => {
      const batch = await finished(testbed, 'processed', stored);
      const results: unknown[] = [];
      for await (const result of batch.results()) {
        results.push(result.value);
      }
      expect(results).toEqual([value]);
    },
  );

  test.for([
    ['a JSON string', '"no e-mail in \\"row 7\\""', 'no e-mail in "row 7"'],
    ['a text that begins with a quotation mark', '"row 7" has no e-mail', '"row 7" has no e-mail'],
  ] as const)('a reason that is stored as %s is read as it was meant', async ([, stored, reason], { testbed }) => {
    const batch = await finished(testbed, 'failed', stored);
    testbed.batchWorker({ reconcileInterval: 100 });
    const failures: unknown[] = [];
    for await (const failure of batch.failures()) {
      failures.push(failure.reason);
    }
    expect(failures).toEqual([reason]);
    expect((await batch.failuresPage()).failures[0]?.reason).toBe(reason);
    const { failedReason } = await batch.waitUntilFinished(20_000);
    expect(failedReason).toBe(`1 of 1 member failed: ${reason}`);
  });

  test('explain() counts those that are connected, beside the ones in Node', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await batch.add('row', {}, { delay: 3_600_000 });
    const none = await batch.explain();
    expect(none.queues[1]).toEqual({ name: 'users', workers: 0, paused: false });
    // Each waits for jobs on a connection with this name; in Python, the one that runs its scripts has it, too.
    await connect(testbed, `${testbed.prefix}:users`, ['bzpopmin', `${testbed.prefix}:users:marker`, '0']);
    await connect(testbed, `${testbed.prefix}:users`, ['eval', 'return 1', '0']);
    await connect(testbed, `${testbed.prefix}:users:w:elixir`, ['bzpopmin', `${testbed.prefix}:users:marker`, '0']);
    await connect(testbed, `${testbed.prefix}:users-of-another-queue`, ['ping']);
    await eventually(async () => (await batch.explain()).queues[1]?.workers === 2);
    expect((await batch.explain()).reasons).toContain(
      "1 member is delayed in queue 'users'; 2 workers are connected to it.",
    );
    await testbed.worker('users', async () => {}).waitUntilReady();
    await eventually(async () => (await batch.explain()).queues[1]?.workers === 3);
  });

  test('explain() knows of one that has not waited for a job yet', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await connect(testbed, `${testbed.prefix}:users`, ['eval', 'return 1', '0']);
    expect((await batch.explain()).queues[0]?.workers).toBe(0);
    await batch.add('row', {}, { delay: 3_600_000 });
    expect((await batch.explain()).queues[1]?.workers).toBe(1);
  });

  describe('that take a cancelled job while it is still in its list', () => {
    test('and keep it when it fails, as those in Elixir do, leave it to its queue', async ({ testbed }) => {
      const { users, batch, job, deferral } = await takenDropped(testbed);
      expect(deferral).toMatch(/^cancelled/);
      job.opts.removeOnFail = false;
      await job.moveToFailed(new UnrecoverableError(deferral ?? ''), 'token');
      testbed.batchWorker({ reconcileInterval: 50 });
      expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'cancelled', cancelled: 1, failed: 0 });
      expect(await users.getFailedCount()).toBe(1);
    });

    test('and run it, as versions before 2.14.0 (Python) and 1.3.7 (Elixir) do, change nothing in the batch', async ({
      testbed,
    }) => {
      const { batch, job } = await takenDropped(testbed);
      await job.moveToCompleted('done', 'token', false);
      testbed.batchWorker({ reconcileInterval: 50 });
      expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'cancelled', cancelled: 1, succeeded: 0 });
    });
  });
});
