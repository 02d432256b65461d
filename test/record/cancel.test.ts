import { contextOf } from '../../src/batch/batch-context.js';
import type { BatchRedis } from '../../src/record/batch-redis.js';
import { lookAtCancelled, markCancelled } from '../../src/record/cancel.js';
import { describe, expect, test } from '../support/test.js';

describe('a look at a batch that was cancelled and is gone', () => {
  test('leaves a new batch under its id alone, which is created and cancelled just then', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { redis } = await contextOf(users);
    const looking = {
      prefix: redis.prefix,
      batchesQueue: redis.batchesQueue,
      run: redis.run.bind(redis),
      async command(...words: Parameters<BatchRedis['command']>) {
        const reply = await redis.command(...words);
        await users.createBatch({ id: 'import' });
        await markCancelled(redis, 'import', {});
        return reply;
      },
    } as BatchRedis;
    expect(await lookAtCancelled(looking, 'import')).toEqual({ what: 'nothing', nonce: '' });
    expect(await testbed.redis.hget(`${testbed.prefix}:batches:import`, 'b:needs')).toBe('cancel');
  });
});
