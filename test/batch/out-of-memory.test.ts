import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { contextOf } from '../../src/batch/batch-context.js';
import { expireBatch } from '../../src/batch/remove.js';
import { BatchWorker, withBatches } from '../../src/index.js';
import { startPrivateRedis } from '../support/private-redis.js';
import { eventually, expect, test } from '../support/test.js';

/** A Redis of our own that can be brought out of memory, with finished batches in it. */
async function fullRedis(use: (closable: { close(): Promise<unknown> }) => void) {
  const { REDIS_URL, ...env } = process.env;
  const server = await startPrivateRedis({ env });
  const connection = { host: '127.0.0.1', port: Number(new URL(server.url).port) };
  const redis = new Redis(connection);
  const users = withBatches(new Queue('users', { connection }));
  const worker = new Worker('users', async () => {}, { connection, concurrency: 50 });
  const batchWorker = new BatchWorker({ connection, reconcileInterval: 3_600_000 });
  worker.on('error', () => {});
  batchWorker.on('error', () => {});
  use({
    async close() {
      await Promise.all([worker.close(), batchWorker.close(), users.close()]);
      await redis.quit();
      await server.stop();
    },
  });
  return {
    ...{ users, redis },
    /** From now on Redis refuses whatever may grow. */
    async fill() {
      await Promise.all([worker.close(), batchWorker.close()]);
      const [, used] = /used_memory:(\d+)/.exec(await redis.info('memory')) ?? [];
      await redis.config('SET', 'maxmemory', Number(used) - 100_000);
      await expect(users.add('one more', {})).rejects.toThrow('OOM');
    },
  };
}

const members = Array.from({ length: 1500 }, () => ({ name: 'member', data: { text: 'x'.repeat(1000) } }));

test('when Redis is out of memory, remove({ members: true }) works, and jobs can be added again', async ({
  testbed,
}) => {
  const { users, fill } = await fullRedis(testbed.use);
  const batch = await users.addBatch({ on: { complete: { name: 'complete' } } }, members);
  await batch.waitUntilFinished(20_000);
  await fill();
  await batch.remove({ members: true });
  await users.add('one more', {});
  expect(await users.getCompletedCount()).toBe(0);
});

test('when Redis is out of memory, remove({ force: true }) works, and jobs can be added again', async ({ testbed }) => {
  const { users, fill } = await fullRedis(testbed.use);
  const batch = await users.createBatch();
  await batch.addBulk(members.map((job) => ({ ...job, opts: { delay: 3_600_000 } })));
  const child = await batch.createBatch();
  await child.addBulk(members.map((job) => ({ ...job, opts: { priority: 3, delay: 3_600_000 } })));
  await fill();
  await batch.remove({ force: true });
  await users.add('one more', {});
  expect(await users.getDelayedCount()).toBe(0);
});

test('when Redis is out of memory, batches expire', async ({ testbed }) => {
  const { users, redis, fill } = await fullRedis(testbed.use);
  const data = { text: 'x'.repeat(10_000) };
  const batches = [];
  for (let i = 0; i < 30; i++) {
    batches.push(await users.addBatch({ keep: { age: 0 }, on: { complete: { name: 'complete', data } } }, []));
  }
  for (const batch of batches) await batch.waitUntilFinished(10_000);
  await fill();
  const context = await contextOf(users);
  for (const { id } of batches) expect(await expireBatch(context, id)).toBe('done');
  await eventually(async () => (await redis.zcard('bull:batches:completed')) === 0);
  await users.add('one more', {});
});
