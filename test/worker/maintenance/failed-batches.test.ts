import { type Bench, describe, eventually, expect, test } from '../../support/test.js';

const AN_HOUR = 3_600_000;

/** So many batches as this one, which has failed: each with one failed member. */
async function likeIt(bench: Bench, batchId: string, count: number): Promise<void> {
  const batches = `${bench.prefix}:batches`;
  const job = await bench.redis.hgetall(`${batches}:${batchId}`);
  for (let from = 0; from < count; from += 500) {
    const pipeline = bench.redis.pipeline();
    for (let i = from; i < Math.min(from + 500, count); i++) {
      const id = `failed-${i}`;
      const definition = JSON.stringify({ ...JSON.parse(job.data ?? ''), id });
      pipeline.hset(`${batches}:${id}`, { ...job, data: definition, 'b:definition': definition });
      pipeline.hset(`${batches}:${id}:failed`, `${bench.prefix}:users:none-${i}`, 'bad');
      // The reconciler of old began with the latest.
      pipeline.zadd(`${batches}:failed`, Date.now() + 1000 + i, id);
    }
    await pipeline.exec();
  }
}

describe('a batch whose failed member is retried by hand', () => {
  test('runs again in the next round, however many batches have failed beside it', async ({ bench }) => {
    const users = bench.queue('users');
    let isMended = false;
    bench.worker('users', async () => {
      if (!isMended) throw new Error('bad');
    });
    const first = bench.batchWorker();
    const parent = await users.createBatch();
    const batch = await parent.createBatch();
    const member = await batch.add('bad', {});
    await batch.seal();
    await parent.seal();
    await parent.waitUntilFinished(15_000);
    await first.close();
    await likeIt(bench, batch.id, 4000);
    isMended = true;
    await (await users.getJob(member.id ?? ''))?.retry();
    // It has succeeded before any round begins: only the number of those that failed tells.
    await eventually(async () => (await users.getCompletedCount()) === 1);
    // There is one round, and then none for an hour.
    const worker = bench.batchWorker({ reconcileInterval: AN_HOUR });
    const repaired: string[] = [];
    worker.on('repaired', ({ batchId, woken }) => repaired.push(`${batchId} ${woken}`));
    await eventually(async () => (await parent.status()).state === 'succeeded');
    expect(await batch.status()).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
    expect(repaired).toEqual([`${batch.id} true`, `${parent.id} true`]);
  });

  test('runs again when the one who saw it died before it judged the batch', async ({ bench }) => {
    const users = bench.queue('users');
    let isMended = false;
    bench.worker('users', async () => {
      if (!isMended) throw new Error('bad');
    });
    const first = bench.batchWorker({ reconcileInterval: 20 });
    const batch = await users.createBatch();
    const member = await batch.add('bad', {});
    await batch.seal();
    await batch.waitUntilFinished(15_000);
    const key = `${bench.prefix}:batches:${batch.id}`;
    await eventually(async () => (await bench.redis.hget(key, 'b:judged')) === '1');
    await first.close();
    isMended = true;
    await (await users.getJob(member.id ?? ''))?.retry();
    await eventually(async () => (await users.getCompletedCount()) === 1);
    await bench.redis.hset(key, 'b:judged', 0);
    bench.batchWorker({ reconcileInterval: 20 });
    expect(await eventually(async () => (await batch.status()).state === 'succeeded')).toBe(true);
  });
});
