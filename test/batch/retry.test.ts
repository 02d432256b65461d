import type { BatchWorkerOptions } from '../../src/index.js';
import { gateOf } from '../conformance/script.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';

const EAGER: Partial<BatchWorkerOptions> = { reconcileInterval: 20 };
const ON = { complete: { name: 'complete' }, success: { name: 'success' } };

/** Members named `bad…` fail until they are mended. */
function setUp(testbed: Testbed, options: Partial<BatchWorkerOptions> = {}) {
  const users = testbed.queue('users');
  const mended = new Set<string>();
  const ran: string[] = [];
  testbed.worker(
    'users',
    async (job) => {
      ran.push(job.name);
      if (job.name.startsWith('bad') && !mended.has(job.name)) throw new Error('bad');
      return job.name;
    },
    { concurrency: 10 },
  );
  testbed.batchWorker(options);
  return { users, mended, ran };
}

const rows = (...names: string[]) => names.map((name) => ({ name, data: {} }));

describe('batch.retry()', () => {
  test('runs exactly the failed members again; success fires for the first time, complete not again', async ({
    testbed,
  }) => {
    const { users, mended, ran } = setUp(testbed, { reconcileInterval: 3_600_000 });
    const batch = await users.addBatch({ on: ON }, rows('good', 'bad1', 'bad2'));
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', failed: 2, recovered: false });
    mended.add('bad1').add('bad2');
    expect(await batch.retry()).toEqual({ retried: 2 });
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({
      state: 'succeeded',
      total: 3,
      succeeded: 3,
      failed: 0,
      missing: 0,
      recovered: true,
    });
    expect(ran.filter((name) => name === 'good')).toHaveLength(1);
    expect(ran.filter((name) => name === 'complete')).toHaveLength(1);
    expect(ran.at(-1)).toBe('success');
    expect(await batch.retry()).toEqual({ retried: 0 });
    expect((await batch.status()).state).toBe('succeeded');
  });

  test('of some that fail again leaves a failed batch with the truth', async ({ testbed }) => {
    const { users, mended } = setUp(testbed, { reconcileInterval: 3_600_000 });
    const batch = await users.addBatch({ on: ON, jobOptions: { attempts: 2 } }, rows('bad1', 'bad2'));
    await batch.waitUntilFinished(10_000);
    mended.add('bad1');
    await batch.retry();
    const status = await batch.waitUntilFinished(10_000);
    expect(status).toMatchObject({
      state: 'failed',
      total: 2,
      succeeded: 1,
      failed: 1,
      failedReason: '1 of 2 members failed: bad',
    });
    expect(status.callbacks.map(({ state }) => state)).toEqual(['succeeded', 'pending']);
  });

  test('looks at many members with one command, and retries each with one', async ({ testbed }) => {
    const names = Array.from({ length: 150 }, (_, i) => `bad${i}`);
    const { users } = setUp(testbed, { reconcileInterval: 3_600_000 });
    const { id } = await users.addBatch({}, rows(...names));
    await (await users.getBatch(id))?.waitUntilFinished(10_000);
    const held = await testbed.heldConnection();
    const batch = await testbed.queue('users', { connection: held.connection }).getBatch(id);
    held.countFrom();
    expect(await batch?.retry()).toEqual({ retried: names.length });
    const sent = held.commands.filter((name) => name !== 'reprocessJob');
    expect(held.commands.length - sent.length).toBeGreaterThanOrEqual(names.length);
    expect(sent.length).toBeLessThan(30);
  });

  test('puts a member with lifo back to where it is taken next', async ({ testbed }) => {
    const { users } = setUp(testbed, { reconcileInterval: 3_600_000 });
    const batch = await users.addBatch({}, [{ name: 'bad', data: {}, opts: { jobId: 'bad', lifo: true } }]);
    await batch.waitUntilFinished(10_000);
    await users.pause();
    await users.add('plain', {});
    await batch.retry();
    expect((await users.getWaiting()).map(({ name }) => name)).toEqual(['bad', 'plain']);
  });

  test('goes down into child batches, and heals all above', async ({ testbed }) => {
    const { users, mended, ran } = setUp(testbed, { reconcileInterval: 3_600_000 });
    const top = await users.createBatch({ on: { success: { name: 'success top' } } });
    const middle = await top.createBatch({ on: { success: { name: 'success middle' } } });
    const leaf = await middle.createBatch({ on: { success: { name: 'success leaf' } } });
    await leaf.addBulk(rows('bad', 'good'));
    for (const batch of [leaf, middle, top]) await batch.seal();
    expect(await top.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', failed: 1 });
    mended.add('bad');
    expect(await middle.retry()).toEqual({ retried: 1 });
    await eventually(async () => (await top.status()).state === 'succeeded');
    expect(ran.filter((name) => name.startsWith('success'))).toEqual(['success leaf', 'success middle', 'success top']);
    expect(await top.status()).toMatchObject({ total: 1, succeeded: 1, recovered: true });
  });

  test('runs a failed callback again', async ({ testbed }) => {
    const { users, mended, ran } = setUp(testbed, { reconcileInterval: 3_600_000 });
    const batch = await users.addBatch(
      { on: { complete: { name: 'bad-callback' }, success: { name: 'success' } } },
      rows('good'),
    );
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', succeeded: 1, failed: 0 });
    mended.add('bad-callback');
    expect(await batch.retry()).toEqual({ retried: 1 });
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
    expect(ran).toEqual(['good', 'bad-callback', 'bad-callback', 'success']);
  });

  test('a failed member whose job is gone stays failed', async ({ testbed }) => {
    const { users } = setUp(testbed, { reconcileInterval: 3_600_000 });
    const batch = await users.addBatch({ jobOptions: { removeOnFail: true } }, rows('bad'));
    await batch.waitUntilFinished(10_000);
    expect(await batch.retry()).toEqual({ retried: 0 });
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', total: 1, failed: 1, missing: 0 });
  });

  test('lets a member run again that ran when it was to be retried, and has failed since', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const again = gateOf(testbed);
    const runs: number[] = [];
    testbed.worker('users', async () => {
      if (runs.push(1) === 2) await again.opened;
      if (runs.length < 3) throw new Error('bad');
    });
    testbed.batchWorker();
    const users = testbed.queue('users');
    const { id } = await users.addBatch({}, rows('bad'));
    await eventually(async () => (await (await users.getBatch(id)).status()).state === 'failed');
    const [job] = await users.getFailed();
    const batch = await testbed.queue('users', { connection: held.connection }).getBatch(id);
    await held.idle();
    held.countFrom();
    held.holdBefore(1);
    const retrying = batch.retry();
    let stopped = await held.heldOrEnded(retrying);
    while (stopped?.name !== 'reprocessJob') {
      held.holdBefore((stopped?.position ?? 0) + 1);
      stopped = await held.heldOrEnded(retrying);
    }
    await job?.retry();
    await eventually(() => runs.length === 2);
    held.holdBefore(stopped.position + 1);
    await held.heldOrEnded(retrying);
    again.open();
    await eventually(async () => (await job?.getState()) === 'failed');
    held.release();
    expect(await retrying).toEqual({ retried: 1 });
    await eventually(async () => (await (await users.getBatch(id)).status()).state === 'succeeded');
  });

  test('a failed member whose data was evicted stays failed, and the others run again', async ({ testbed }) => {
    const { users, mended } = setUp(testbed, { reconcileInterval: 3_600_000 });
    const batch = await users.addBatch({}, rows('bad', 'bad'));
    await batch.waitUntilFinished(10_000);
    const [evicted] = await users.getFailed();
    await testbed.redis.del(`${testbed.prefix}:users:${evicted?.id}`);
    mended.add('bad');
    expect(await batch.retry()).toEqual({ retried: 1 });
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', succeeded: 1, failed: 1 });
  });
});

describe('healing without batch.retry()', () => {
  test("a failed member's own job.retry() heals its batch and the ancestors", async ({ testbed }) => {
    const { users, mended } = setUp(testbed, EAGER);
    const top = await users.createBatch({ on: { success: { name: 'success top' } } });
    const leaf = await top.createBatch();
    const member = await leaf.add('bad', {});
    await leaf.seal();
    await top.seal();
    await top.waitUntilFinished(10_000);
    mended.add('bad');
    await (await users.getJob(member.id ?? ''))?.retry();
    await eventually(async () => (await top.status()).state === 'succeeded');
    expect(await leaf.status()).toMatchObject({ state: 'succeeded', succeeded: 1, failed: 0 });
  });

  test("the batch row's own Retry judges again", async ({ testbed }) => {
    const { users, mended } = setUp(testbed, { reconcileInterval: 3_600_000 });
    const batch = await users.createBatch({ on: ON });
    const member = await batch.add('bad', {});
    await batch.seal();
    await batch.waitUntilFinished(10_000);
    const row = await testbed.plainQueue('batches').getJob(batch.id);
    await row?.retry();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', failed: 1 });
    mended.add('bad');
    await (await users.getJob(member.id ?? ''))?.retry();
    await (await testbed.plainQueue('batches').getJob(batch.id))?.retry();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
  });

  test('queue.retryJobs(), which loses the dependency on BullMQ 5, ends with the truth', async ({ testbed }) => {
    const { users, mended, ran } = setUp(testbed, EAGER);
    const batch = await users.addBatch({ on: ON }, rows('bad1', 'bad2', 'good'));
    await batch.waitUntilFinished(10_000);
    mended.add('bad1').add('bad2');
    await users.retryJobs({ state: 'failed' });
    await eventually(async () => (await batch.status()).state === 'succeeded');
    expect(await batch.status()).toMatchObject({ total: 3, succeeded: 3, failed: 0, missing: 0 });
    expect(ran.filter((name) => name === 'success')).toHaveLength(1);
  });
});

describe('a producer that gives no sign of life', () => {
  test('leaves a batch that is abandoned: complete fires and says so, success does not', async ({ testbed }) => {
    const { users } = setUp(testbed);
    const told: unknown[] = [];
    testbed.worker('mail', async (job) => void told.push(job.data.batch));
    const batch = await users.createBatch({
      openTimeout: 300,
      on: { complete: { name: 'complete', queue: 'mail' }, success: { name: 'success' } },
    });
    await batch.addBulk(rows('good', 'good'));
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({
      state: 'failed',
      sealed: false,
      abandoned: true,
      total: 2,
      succeeded: 2,
      failedReason: 'abandoned: it was never sealed, and its producer gives no sign of life',
    });
    expect(told).toMatchObject([{ total: 2, succeeded: 2, abandoned: true }]);
  });

  test.for(['a late seal()', 'a late add()', 'retry() after the seal'])(
    '%s revives it, and success follows',
    async (how, { testbed }) => {
      const { users, ran } = setUp(testbed);
      const batch = await users.createBatch({ openTimeout: 200, on: ON });
      await batch.add('good', {});
      expect(await batch.waitUntilFinished(10_000)).toMatchObject({ abandoned: true });
      if (how === 'a late add()') {
        await batch.add('late', {});
        expect(await batch.status()).toMatchObject({ abandoned: false, sealed: false });
      }
      await batch.seal();
      if (how.startsWith('retry')) {
        await batch.retry();
      }
      expect(await batch.waitUntilFinished(10_000)).toMatchObject({
        state: 'succeeded',
        sealed: true,
        abandoned: false,
      });
      expect(ran.filter((name) => name === 'complete')).toHaveLength(1);
      expect(ran.at(-1)).toBe('success');
    },
  );

  test('is not one that is slow: while addBulk or jobs() runs, the batch stays open', async ({ testbed }) => {
    const { users } = setUp(testbed);
    const openTimeout = 300;
    const batch = await users.createBatch({ openTimeout });
    async function* slow() {
      yield* rows('good');
      // Much longer than the timeout, as Redis sees it.
      const until = Number((await testbed.redis.time())[0]) + 2;
      await eventually(async () => Number((await testbed.redis.time())[0]) >= until);
      expect(await batch.status()).toMatchObject({ state: 'open', abandoned: false });
      yield* rows('good');
    }
    await batch.addBulk(slow());
    await batch.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 2, abandoned: false });
  });

  test.for([0, -1, 1.5, '1h', 1e300])('openTimeout: %o is refused', async (openTimeout, { testbed }) => {
    await expect(testbed.queue('users').createBatch({ openTimeout: openTimeout as number })).rejects.toThrow(
      'openTimeout must be a positive integer, in ms',
    );
  });
});
