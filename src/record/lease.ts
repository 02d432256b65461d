import type { BatchRedis } from './batch-redis.js';
import { leaseKey } from './keys.js';
import { NEED_INDEXES, type NeedIndex, needIndexKey } from './needs.js';
import { LUA_FREES_MEMORY, named, script } from './script.js';

/**
 * Takes or renews the lead among the processes that maintain the batches of one place. The leader is the process that
 * frees memory, so it must be able to lead while Redis is out of memory.
 *
 * KEYS: the lease, the sets of batches in need. ARGV: who asks, for how many ms; 0 gives it back.
 * Returns leads ('1' or '0'), needed (the numbers of the sets that are not empty).
 */
const TAKE = script(
  'takeLease',
  1 + NEED_INDEXES.length,
  `${LUA_FREES_MEMORY}
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return { 'leads', '0', 'needed', {} }
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return { 'leads', '0', 'needed', {} }
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local needed = {}
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    needed[#needed + 1] = i - 2
  end
end
return { 'leads', '1', 'needed', needed }`,
);

/** Takes or renews the lead. Returns whether this process leads now, and which sets have batches in need. */
export async function takeLease(
  redis: BatchRedis,
  who: string,
  ttlMs: number,
): Promise<{ readonly leads: boolean; readonly needed: ReadonlySet<NeedIndex> }> {
  const indexes = NEED_INDEXES.map((index) => needIndexKey(redis, index));
  const { leads, needed } = named(await redis.run(TAKE, [leaseKey(redis), ...indexes, who, ttlMs]));
  const numbers = needed as readonly number[];
  return { leads: leads === '1', needed: new Set(numbers.flatMap((number) => NEED_INDEXES[number] ?? [])) };
}

/** Gives up the lead, so that another process does not have to wait for the end of the lease. */
export async function resignLease(redis: BatchRedis, who: string): Promise<void> {
  await takeLease(redis, who, 0);
}
