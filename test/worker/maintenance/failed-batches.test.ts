import { describe, eventually, expect, type Testbed, test } from '../../support/test.js';

const AN_HOUR = 3_600_000;

/** As many batches like this one, which has failed: each with one failed member. */
async function likeIt(testbed: Testbed, batchId: string, count: number): Promise<void> {
  const batches = `${testbed.prefix}:batches`;
  const job = await testbed.redis.hgetall(`${batches}:${batchId}`);
  for (let from = 0; from < count; from += 500) {
    const pipeline = testbed.redis.pipeline();
    for (let i = from; i < Math.min(from + 500, count); i++) {
      const id = `failed-${i}`;
      const definition = JSON.stringify({ ...JSON.parse(job.data ?? ''), id });
      pipeline.hset(`${batches}:${id}`, { ...job, data: definition, 'b:definition': definition });
      pipeline.hset(`${batches}:${id}:failed`, `${testbed.prefix}:users:none-${i}`, 'bad');
      // The reconciler of old began with the latest.
      pipeline.zadd(`${batches}:failed`, Date.now() + 1000 + i, id);
    }
    await pipeline.exec();
  }
}

describe('a batch whose failed member is retried by hand', () => {
  test.for([
    { policy: 'all must succeed', onFailure: 'continue', bad: 1, retried: 1 },
    { policy: 'half must succeed', onFailure: { succeedIf: '50%' }, bad: 3, retried: 1 },
  ] as const)(
    'runs again in the next round, however many batches have failed beside it, when $policy',
    async ({ onFailure, bad, retried }, { testbed }) => {
      const users = testbed.queue('users');
      let isMended = false;
      testbed.worker('users', async ({ name }) => {
        if (name === 'bad' && !isMended) throw new Error('bad');
      });
      const first = testbed.batchWorker();
      const parent = await users.createBatch();
      const batch = await parent.createBatch({ onFailure });
      await batch.addBulk(Array.from({ length: bad }, () => ({ name: 'bad', data: {} })));
      await batch.add('good', {});
      await batch.seal();
      await parent.seal();
      await parent.waitUntilFinished(15_000);
      await first.close();
      await likeIt(testbed, batch.id, 1200);
      isMended = true;
      const failed = await users.getFailed(0, retried - 1);
      for (const job of failed) await job.retry();
      // It has succeeded before any round begins: only the number of those that failed tells.
      await eventually(async () => (await users.getCompletedCount()) === 1 + retried);
      // There is one round, and then none for an hour.
      const worker = testbed.batchWorker({ reconcileInterval: AN_HOUR });
      const repaired: string[] = [];
      worker.on('repaired', ({ batchId, woken }) => repaired.push(`${batchId} ${woken}`));
      await eventually(async () => (await parent.status()).state === 'succeeded');
      expect(await batch.status()).toMatchObject({ state: 'succeeded', total: bad + 1, succeeded: 1 + retried });
      expect(repaired).toEqual([`${batch.id} true`, `${parent.id} true`]);
    },
  );

  test('runs again when the one who saw it died before it judged the batch', async ({ testbed }) => {
    const users = testbed.queue('users');
    let isMended = false;
    testbed.worker('users', async () => {
      if (!isMended) throw new Error('bad');
    });
    const first = testbed.batchWorker();
    const batch = await users.createBatch();
    const member = await batch.add('bad', {});
    await batch.seal();
    await batch.waitUntilFinished(15_000);
    await first.close();
    isMended = true;
    await (await users.getJob(member.id ?? ''))?.retry();
    await eventually(async () => (await users.getCompletedCount()) === 1);
    await testbed.redis.hset(`${testbed.prefix}:batches:${batch.id}`, 'b:judged', 0);
    testbed.batchWorker({ reconcileInterval: 20 });
    expect(await eventually(async () => (await batch.status()).state === 'succeeded')).toBe(true);
  });
});
