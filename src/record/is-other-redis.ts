import type { BatchRedis } from './batch-redis.js';
import { probeKey } from './keys.js';

/** For how many ms the key that is looked for exists. */
const PROBE_MS = 10_000;

/**
 * Whether another connection leads to other data: a key that is written through the first is not seen through it. Redis
 * has no name for a server and its database that all users may read.
 */
export async function isOtherRedis(redis: BatchRedis, other: BatchRedis, mark: string): Promise<boolean> {
  const key = probeKey(redis, mark);
  await redis.command('SET', key, mark, 'PX', String(PROBE_MS));
  // Asked last, through the first: a failover in between may have lost the key.
  return (await other.command('GET', key)) !== mark && (await redis.command('GET', key)) === mark;
}
