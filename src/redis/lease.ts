import type { BatchRedis } from './batch-redis.js';
import { leaseKey } from './keys.js';
import { script } from './script.js';

/** A task that one process at a time does, of all that could. */
export type Role = 'leader' | 'sweeper';

/**
 * KEYS: the lease. ARGV: who asks, for how many ms.
 * Returns 1 when it is theirs now.
 */
const TAKE = script(
  'takeLease',
  1,
  `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`,
);

/** Takes or keeps the task among all processes of this prefix. */
export async function takeLease(redis: BatchRedis, role: Role, who: string, ttlMs: number): Promise<boolean> {
  return (await redis.run(TAKE, [leaseKey(redis, role), who, ttlMs])) === 1;
}

/** KEYS: the lease. ARGV: who gives it back. */
const RESIGN = script('resignLease', 1, `if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end`);

/** Gives the task back, so that another process need not wait for the lease to end. */
export async function resignLease(redis: BatchRedis, role: Role, who: string): Promise<void> {
  await redis.run(RESIGN, [leaseKey(redis, role), who]);
}
