import { type Bench, describe, eventually, expect, gate, test } from '../../support/test.js';

const EAGER = { reconcileInterval: 20, missingAfter: 1 };
const AN_HOUR = 3_600_000;

/** An open batch whose producer died after it had registered a member, and before the member's job was stored. */
async function leftByItsProducer(bench: Bench, openTimeout: number) {
  const users = bench.queue('users');
  const parent = await users.createBatch({ on: { complete: { name: 'parent complete', queue: 'callbacks' } } });
  const child = await parent.createBatch({ openTimeout, on: { complete: { name: 'complete', queue: 'callbacks' } } });
  const { id } = await child.add('row', {}, { delay: AN_HOUR });
  await bench.redis.del(`${bench.prefix}:users:${id}`);
  await parent.seal();
  const told: { name: string; abandoned: boolean }[] = [];
  bench.worker('callbacks', async ({ name, data: { batch } }) => {
    told.push({ name, abandoned: batch.abandoned === true });
  });
  return { parent, child, told, key: `${bench.prefix}:batches:${child.id}` };
}

describe('an open batch that gives no sign of life for its openTimeout', () => {
  test('is abandoned also when it waits for a member without a job, and its parent finishes', async ({ bench }) => {
    const { parent, child, told } = await leftByItsProducer(bench, 200);
    bench.batchWorker(EAGER);
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

  test('is abandoned by the clock of Redis: not before, whatever time its job is delayed to', async ({ bench }) => {
    const { child, key } = await leftByItsProducer(bench, AN_HOUR);
    const [seconds] = await bench.redis.time();
    // A BatchWorker whose clock is 70 minutes fast or slow has put it back; members were last added 59 minutes ago.
    await bench.redis.hset(key, 'b:registeredAt', Number(seconds) * 1000 - 59 * 60_000);
    await bench.redis.zadd(`${bench.prefix}:batches:delayed`, (Number(seconds) * 1000 + 71 * 60_000) * 4096, child.id);
    const users = bench.queue('users');
    const worker = bench.batchWorker(EAGER);
    // The next batch that is mended shows that the reconciler has been round.
    const witness = async () => {
      const batch = await users.createBatch();
      await batch.add('row', {}, { delay: AN_HOUR });
      await batch.seal();
      await eventually(async () => (await bench.plainQueue('batches').getJobState(batch.id)) === 'waiting-children');
      const before = worker.repairs.woken;
      await bench.redis.del(`${bench.prefix}:batches:${batch.id}:dependencies`);
      await eventually(() => worker.repairs.woken > before);
    };
    await witness();
    expect(await child.status()).toMatchObject({ state: 'open', abandoned: false });
    await bench.redis.hset(key, 'b:registeredAt', Number(seconds) * 1000 - 61 * 60_000);
    expect(await child.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', abandoned: true, missing: 1 });
  });

  test('is not abandoned when it was never added to and its time, by the clock of Redis, begins now', async ({
    bench,
  }) => {
    const users = bench.queue('users');
    const batch = await users.createBatch({ openTimeout: AN_HOUR });
    const key = `${bench.prefix}:batches:${batch.id}`;
    // Created by a process whose clock is slow.
    await bench.redis.hset(key, 'timestamp', 1);
    bench.batchWorker(EAGER);
    await eventually(() => bench.redis.hget(key, 'b:registeredAt'));
    expect(await batch.status()).toMatchObject({ state: 'open', abandoned: false });
  });
});

describe('what a batch needs', () => {
  test('is seen to again when the set of those in need has lost the batch', async ({ bench }) => {
    const users = bench.queue('users');
    const ran: string[] = [];
    bench.worker('users', async ({ name }) => {
      ran.push(name);
      if (name === 'bad') throw new Error('bad');
    });
    const batch = await users.createBatch({ on: { death: { name: 'death' } } });
    await bench.redis.del(`${bench.prefix}:batches:reconciler:needs:failures`);
    await batch.add('bad', {});
    bench.batchWorker({ sweepInterval: 20, reconcileInterval: 20 });
    await eventually(() => ran.includes('death'));
    expect(await batch.status()).toMatchObject({ state: 'open', failed: 1 });
  });

  test('is seen to again when the batch runs again, by the Retry of its row', async ({ bench }) => {
    const users = bench.queue('users');
    const index = `${bench.prefix}:batches:reconciler:needs:failures`;
    const held = gate();
    bench.use({ close: async () => held.open() });
    bench.worker('users', async ({ attemptsStarted }) => {
      if (attemptsStarted > 1) await held.opened;
      throw new Error('bad');
    });
    bench.batchWorker({ sweepInterval: 20, reconcileInterval: 20 });
    const batch = await users.createBatch({ onFailure: { cancelAfter: 2 } });
    const member = await batch.add('bad', {});
    await batch.seal();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', failed: 1 });
    await eventually(async () => (await bench.redis.exists(index)) === 0);
    await (await users.getJob(member.id ?? ''))?.retry();
    await (await bench.plainQueue('batches').getJob(batch.id))?.retry().catch(() => {});
    await eventually(async () => (await bench.redis.zscore(index, batch.id)) !== null);
    expect(await batch.status()).toMatchObject({ state: 'running', pending: 1 });
  });
});
