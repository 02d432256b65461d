import type { Batch } from '../../../src/index.js';
import { describe, eventually, expect, type Testbed, test } from '../../support/test.js';

const AN_HOUR = 3_600_000;
const EAGER = { reconcileInterval: 20, sweepInterval: 20, missingAfter: 1 };

/** A job of another application, with a prefix of its own, that somebody has attached to the batch by hand. */
async function stranger(testbed: Testbed, batch: Batch, opts = {}) {
  const other = testbed.plainQueue('theirs', { prefix: `${testbed.prefix}-other` });
  const parent = { id: batch.id, queue: `${testbed.prefix}:batches` };
  const job = await other.add('stranger', {}, { parent, ignoreDependencyOnFailure: true, ...opts });
  return { other, job, key: `${testbed.prefix}-other:theirs:${job.id}` };
}

describe('a child with another prefix', () => {
  test('keeps no member of its batch from being mended, and is waited for', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const { job } = await stranger(testbed, batch);
    const gone = await batch.add('gone', {}, { delay: AN_HOUR });
    await testbed.redis.del(`${testbed.prefix}:users:${gone.id}`);
    await batch.seal();
    const errors: Error[] = [];
    const worker = testbed.batchWorker(EAGER);
    worker.on('error', (error) => errors.push(error));
    await eventually(() => worker.repairs.missing === 1);
    expect(await testbed.redis.smembers(`${testbed.prefix}:batches:${batch.id}:dependencies`)).toHaveLength(1);
    testbed.worker('theirs', async () => {}, { prefix: `${testbed.prefix}-other` });
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({
      ...{ state: 'failed', total: 1, pending: 0, succeeded: 0, missing: 1 },
    });
    expect(await job.isCompleted()).toBe(true);
    expect(errors).toEqual([]);
  });

  test('whose job is gone holds its batch no longer', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async () => {});
    const batch = await users.createBatch();
    const { key } = await stranger(testbed, batch, { delay: AN_HOUR });
    await batch.add('row', {});
    await batch.seal();
    await testbed.redis.del(key);
    testbed.batchWorker(EAGER);
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded', total: 1, missing: 0 });
  });

  test('that has failed does not keep the other failed members from being looked at', async ({ testbed }) => {
    const users = testbed.queue('users');
    let isMended = false;
    testbed.worker('users', async () => {
      if (!isMended) throw new Error('bad');
    });
    testbed.worker(
      'theirs',
      async () => {
        throw new Error('bad');
      },
      { prefix: `${testbed.prefix}-other` },
    );
    const batch = await users.createBatch({ onFailure: { succeedIf: '50%' } });
    await stranger(testbed, batch);
    const member = await batch.add('bad', {});
    await batch.seal();
    const errors: Error[] = [];
    testbed.batchWorker(EAGER).on('error', (error) => errors.push(error));
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', failed: 1 });
    isMended = true;
    // As queue.retryJobs() of BullMQ 5 does: the batch is not told.
    await (await users.getJob(member.id ?? ''))?.retry();
    const key = `${testbed.prefix}:batches:${batch.id}`;
    await testbed.redis.srem(`${key}:dependencies`, `${testbed.prefix}:users:${member.id}`);
    await testbed.redis.hset(`${key}:failed`, `${testbed.prefix}:users:${member.id}`, 'bad');
    await eventually(async () => (await batch.status()).state === 'succeeded');
    expect(errors).toEqual([]);
  });

  test('is not waited for by attempted', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => {
      ran.push(name);
      if (name === 'bad') throw new Error('bad');
    });
    const batch = await users.createBatch({ on: { attempted: { name: 'attempted' } } });
    await stranger(testbed, batch, { delay: AN_HOUR });
    await batch.add('bad', {}, { attempts: 2, backoff: AN_HOUR });
    await batch.seal();
    const errors: Error[] = [];
    testbed.batchWorker(EAGER).on('error', (error) => errors.push(error));
    await eventually(() => ran.includes('attempted'));
    expect(errors).toEqual([]);
  });
});

describe('a cycle that was made by hand', () => {
  test('of jobs that wait for each other is gone round once', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const flow = { name: 'a', queueName: 'files', opts: { delay: AN_HOUR } };
    await batch.addFlow({ name: 'root', queueName: 'users', children: [{ ...flow, children: [flow] }] });
    testbed.owns('files');
    const [root] = await testbed.redis.smembers(`${testbed.prefix}:batches:${batch.id}:dependencies`);
    const [below] = await testbed.redis.smembers(`${root}:dependencies`);
    await testbed.redis.sadd(`${below}:dependencies`, root ?? '');
    await batch.seal();
    const worker = testbed.batchWorker(EAGER);
    // Twice, because the second one is seen when the look at the flow has ended.
    for (const missing of [1, 2]) {
      const other = await users.createBatch();
      const { id } = await other.add('gone', {}, { delay: AN_HOUR });
      await testbed.redis.del(`${testbed.prefix}:users:${id}`);
      await other.seal();
      await eventually(() => worker.repairs.missing === missing);
    }
  });

  test('of batches above each other is climbed once, when a first failure is told', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => {
      ran.push(name);
      if (name === 'bad') throw new Error('bad');
    });
    const on = (name: string) => ({ on: { death: { name } } });
    const top = await users.createBatch({ id: 'top', ...on('top death') });
    const leaf = await top.createBatch({ id: 'leaf', ...on('leaf death') });
    // Created again under its own child.
    await testbed.plainQueue('batches').remove('top', { removeChildren: false });
    await leaf.createBatch({ id: 'top', ...on('top death') });
    await leaf.add('bad', {});
    testbed.batchWorker(EAGER);
    await eventually(() => ran.length === 3);
    expect(ran.sort()).toEqual(['bad', 'leaf death', 'top death']);
  });
});
