import type { BatchWorkerOptions } from '../../../src/index.js';
import { runChild } from '../../support/child.js';
import { describe, eventually, expect, type Testbed, test } from '../../support/test.js';

const AN_HOUR = 3_600_000;
const SKEWS = { fast: 70 * 60_000, slow: -70 * 60_000 } as const;

/** A BatchWorker whose clock is 70 minutes fast or slow. */
async function skewedBatchWorker(testbed: Testbed, how: keyof typeof SKEWS, options: Partial<BatchWorkerOptions>) {
  const child = runChild('skewedBatchWorker', testbed, { skewMs: SKEWS[how], options });
  expect(await child.line()).toBe('ready');
  return child;
}

/** As if the delay of an open batch's job had ended: a BatchWorker looks at the batch, and puts it back. */
async function wakeAndWait({ redis, prefix }: Testbed, batchId: string): Promise<void> {
  const batches = `${prefix}:batches`;
  await redis.hset(`${batches}:${batchId}`, 'delay', 0);
  await redis.zadd(`${batches}:delayed`, 1, batchId);
  await redis.zadd(`${batches}:marker`, 0, '0');
  await eventually(async () => Number(await redis.zscore(`${batches}:delayed`, batchId)) > 1);
}

describe.for(['fast', 'slow'] as const)('a BatchWorker whose clock is 70 minutes %s', (how) => {
  test.for([false, true])(
    'abandons no batch before its time, and each in time; beside one in order: %s',
    async (isBeside, { testbed }) => {
      const users = testbed.queue('users');
      const options = { reconcileInterval: 100, sweepInterval: 50 };
      await skewedBatchWorker(testbed, how, options);
      if (isBeside) {
        await testbed.batchWorker(options).waitUntilReady();
      }
      const living = await users.createBatch({ openTimeout: AN_HOUR });
      await wakeAndWait(testbed, living.id);
      await wakeAndWait(testbed, living.id);
      for (const members of [0, 1]) {
        const left = await users.createBatch({ openTimeout: 300 });
        for (let i = 0; i < members; i++) await left.add('later', {}, { delay: AN_HOUR });
        await eventually(async () => (await left.status()).abandoned);
        await (await users.getDelayed())[0]?.remove();
        expect(await left.waitUntilFinished(15_000)).toMatchObject({
          state: 'failed',
          abandoned: true,
          total: members,
        });
      }
      expect(await living.status()).toMatchObject({ state: 'open', abandoned: false });
      await living.seal();
      expect(await living.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded' });
    },
  );

  test('does its work: callbacks run, a first failure is told, a retry by hand heals', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    let isMended = false;
    testbed.worker('users', async ({ name }) => {
      ran.push(name);
      if (name === 'bad' && !isMended) throw new Error('bad');
    });
    await skewedBatchWorker(testbed, how, { reconcileInterval: 50, sweepInterval: 50, missingAfter: 1 });
    const parent = await users.createBatch({ on: { death: { name: 'death' }, success: { name: 'success' } } });
    const batch = await parent.createBatch({ on: { complete: { name: 'complete' } } });
    const bad = await batch.add('bad', {});
    await eventually(() => ran.includes('death'));
    await batch.seal();
    await parent.seal();
    expect(await parent.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', failed: 1 });
    isMended = true;
    await (await users.getJob(bad.id ?? ''))?.retry();
    await eventually(async () => (await parent.status()).state === 'succeeded');
    expect(ran).toEqual(['bad', 'death', 'complete', 'bad', 'success']);
  });
});

test('what a BatchWorker whose clock is fast has put off is not late by as much', async ({ testbed }) => {
  const users = testbed.queue('users');
  const child = await skewedBatchWorker(testbed, 'fast', {});
  const batch = await users.createBatch();
  // The batch cannot be read for a while: the step fails, and is to be tried again after a second.
  const broken = `${testbed.prefix}:batches:${batch.id}:processed`;
  await testbed.redis.set(broken, 'not a hash');
  await batch.seal();
  const [seconds] = await testbed.redis.time();
  const inAnHour = (Number(seconds) * 1000 + AN_HOUR) * 4096;
  await eventually(
    async () => Number(await testbed.redis.zscore(`${testbed.prefix}:batches:delayed`, batch.id)) > inAnHour,
  );
  child.process.kill('SIGKILL');
  await child.ended;
  await testbed.redis.del(broken);
  testbed.batchWorker({ reconcileInterval: 20 });
  expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded' });
});
