import type { Testbed } from './test.js';

const END_LEASE = `
for _, key in ipairs(KEYS) do
  local mark = redis.call('HGET', key, 'b:removal')
  if mark then
    redis.call('HSET', key, 'b:removal', (string.gsub(mark, '^(%S+) %d+', '%1 0')))
  end
end`;

/**
 * Does to the leases of removals whose holder is frozen what time would do. A holder that is frozen renews none, so
 * they stay ended.
 */
export async function endLeases(
  { redis, prefix }: Pick<Testbed, 'redis' | 'prefix'>,
  batchIds: readonly string[],
): Promise<void> {
  const keys = batchIds.map((id) => `${prefix}:batches:${id}`);
  await redis.eval(END_LEASE, keys.length, ...keys);
}
