import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { contextOf } from '../../../src/batch/batch-context.js';
import { BatchWorker, withBatches } from '../../../src/index.js';
import { resignLease, takeLease } from '../../../src/record/lease.js';
import { startPrivateRedis } from '../../support/private-redis.js';
import { describe, eventually, expect, test } from '../../support/test.js';

const AN_HOUR = 3_600_000;

describe('the lead', () => {
  test('is one process’s until it resigns, and says which batches are in need', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { redis } = await contextOf(users);
    expect(await takeLease(redis, 'one', 60_000)).toEqual({ leads: true, needed: new Set() });
    await users.createBatch({ on: { death: { name: 'death' } } });
    expect(await takeLease(redis, 'one', 60_000)).toEqual({ leads: true, needed: new Set(['failures']) });
    expect(await takeLease(redis, 'two', 60_000)).toEqual({ leads: false, needed: new Set() });
    await resignLease(redis, 'two');
    expect((await takeLease(redis, 'two', 60_000)).leads).toBe(false);
    await resignLease(redis, 'one');
    expect((await takeLease(redis, 'two', 60_000)).leads).toBe(true);
  });

  test('is taken while Redis is out of memory: expired batches go, and jobs can be added again', async () => {
    const server = await startPrivateRedis({ env: { ...process.env, REDIS_URL: '' } });
    const connection = { host: '127.0.0.1', port: Number(new URL(server.url).port) };
    const redis = new Redis(connection);
    const users = withBatches(new Queue('users', { connection }));
    const first = new BatchWorker({ connection, reconcileInterval: AN_HOUR });
    first.on('error', () => {});
    try {
      const text = 'x'.repeat(10_000);
      for (let i = 0; i < 30; i++) {
        const on = { success: { name: 'never', data: { text } } };
        const batch = await users.createBatch({ keep: { age: 0 }, openTimeout: 1, on });
        await batch.waitUntilFinished(10_000);
      }
      await first.close();
      const [, used] = /used_memory:(\d+)/.exec(await redis.info('memory')) ?? [];
      await redis.config('SET', 'maxmemory', Number(used) - 100_000);
      await expect(users.add('one more', {})).rejects.toThrow('OOM');
      const second = new BatchWorker({ connection, reconcileInterval: 20 });
      second.on('error', () => {});
      await eventually(async () => (await redis.zcard('bull:batches:failed')) === 0);
      await users.add('one more', {});
      await second.close();
    } finally {
      await Promise.all([first.close(), users.close()]);
      await redis.quit();
      await server.stop();
    }
  });
});
