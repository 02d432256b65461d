import { Redis } from 'ioredis';
import { startPrivateRedis } from './private-redis.js';
import type { Testbed } from './test.js';

/** Starts a Redis server of its own beside that of the testbed, and connects to it. Both end with the test. */
export async function secondServer(testbed: Testbed): Promise<Redis> {
  const server = await startPrivateRedis();
  const second = new Redis(server.url);
  testbed.use({
    async close() {
      second.disconnect();
      await server.stop();
    },
  });
  return second;
}
