import { describe, eventually, expect, gate, type Testbed, test } from '../../support/test.js';

const EAGER = { reconcileInterval: 20, missingAfter: 1 };
const AN_HOUR = 3_600_000;

/** An open batch whose producer died after it had registered a member, and before the member's job was stored. */
async function leftByItsProducer(testbed: Testbed, openTimeout: number) {
  const users = testbed.queue('users');
  const parent = await users.createBatch({ on: { complete: { name: 'parent complete', queue: 'callbacks' } } });
  const child = await parent.createBatch({ openTimeout, on: { complete: { name: 'complete', queue: 'callbacks' } } });
  const { id } = await child.add('row', {}, { delay: AN_HOUR });
  await testbed.redis.del(`${testbed.prefix}:users:${id}`);
  await parent.seal();
  const told: { name: string; abandoned: boolean }[] = [];
  testbed.worker('callbacks', async ({ name, data: { batch } }) => {
    told.push({ name, abandoned: batch.abandoned === true });
  });
  return { parent, child, told, key: `${testbed.prefix}:batches:${child.id}` };
}

describe('an open batch that gives no sign of life for its openTimeout', () => {
  test('is abandoned also when it waits for a member without a job, and its parent finishes', async ({ testbed }) => {
    const { parent, child, told } = await leftByItsProducer(testbed, 200);
    testbed.batchWorker(EAGER);
    expect(await child.waitUntilFinished(15_000)).toMatchObject({
      state: 'failed',
      abandoned: true,
      total: 1,
      missing: 1,
    });
    expect(await parent.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', total: 1, failed: 1 });
    expect(told).toEqual([
      { name: 'complete', abandoned: true },
      { name: 'parent complete', abandoned: false },
    ]);
  });

  test('is abandoned by the clock of Redis: not before, whatever time its job is delayed to', async ({ testbed }) => {
    const { child, key } = await leftByItsProducer(testbed, AN_HOUR);
    const [seconds] = await testbed.redis.time();
    // A BatchWorker whose clock is 70 minutes fast or slow has put it back; members were last added 59 minutes ago.
    await testbed.redis.hset(key, 'b:registeredAt', Number(seconds) * 1000 - 59 * 60_000);
    await testbed.redis.zadd(
      `${testbed.prefix}:batches:delayed`,
      (Number(seconds) * 1000 + 71 * 60_000) * 4096,
      child.id,
    );
    const users = testbed.queue('users');
    const worker = testbed.batchWorker(EAGER);
    // The next batch that is mended shows that the reconciler has been round.
    const witness = async () => {
      const batch = await users.createBatch();
      await batch.add('row', {}, { delay: AN_HOUR });
      await batch.seal();
      await eventually(async () => (await testbed.plainQueue('batches').getJobState(batch.id)) === 'waiting-children');
      const before = worker.repairs.woken;
      await testbed.redis.del(`${testbed.prefix}:batches:${batch.id}:dependencies`);
      await eventually(() => worker.repairs.woken > before);
    };
    await witness();
    expect(await child.status()).toMatchObject({ state: 'open', abandoned: false });
    await testbed.redis.hset(key, 'b:registeredAt', Number(seconds) * 1000 - 61 * 60_000);
    expect(await child.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', abandoned: true, missing: 1 });
  });

  test('is not abandoned when it was never added to and its time, by the clock of Redis, begins now', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch({ openTimeout: AN_HOUR });
    const key = `${testbed.prefix}:batches:${batch.id}`;
    // Created by a process whose clock is slow.
    await testbed.redis.hset(key, 'timestamp', 1);
    testbed.batchWorker(EAGER);
    await eventually(() => testbed.redis.hget(key, 'b:registeredAt'));
    expect(await batch.status()).toMatchObject({ state: 'open', abandoned: false });
  });
});

describe('what a batch needs', () => {
  test('is seen to again when the set of those in need has lost the batch', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => {
      ran.push(name);
      if (name === 'bad') throw new Error('bad');
    });
    const batch = await users.createBatch({ on: { death: { name: 'death' } } });
    await testbed.redis.del(`${testbed.prefix}:batches:reconciler:needs:failures`);
    await batch.add('bad', {});
    testbed.batchWorker({ sweepInterval: 20, reconcileInterval: 20 });
    await eventually(() => ran.includes('death'));
    expect(await batch.status()).toMatchObject({ state: 'open', failed: 1 });
  });

  test('is seen to again when the batch runs again, by the Retry of its row', async ({ testbed }) => {
    const users = testbed.queue('users');
    const index = `${testbed.prefix}:batches:reconciler:needs:failures`;
    const held = gate();
    testbed.use({ close: async () => held.open() });
    testbed.worker('users', async ({ attemptsStarted }) => {
      if (attemptsStarted > 1) await held.opened;
      throw new Error('bad');
    });
    testbed.batchWorker({ sweepInterval: 20, reconcileInterval: 20 });
    const batch = await users.createBatch({ onFailure: { cancelAfter: 2 } });
    const member = await batch.add('bad', {});
    await batch.seal();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', failed: 1 });
    await eventually(async () => (await testbed.redis.exists(index)) === 0);
    await (await users.getJob(member.id ?? ''))?.retry();
    await (await testbed.plainQueue('batches').getJob(batch.id))?.retry().catch(() => {});
    await eventually(async () => (await testbed.redis.zscore(index, batch.id)) !== null);
    expect(await batch.status()).toMatchObject({ state: 'running', pending: 1 });
  });
});
