import type { Testbed } from './test.js';

const END_LEASE = `
for _, key in ipairs(KEYS) do
  local mark = redis.call('HGET', key, 'b:removal')
  if mark then
    redis.call('HSET', key, 'b:removal', (string.gsub(mark, '^(%S+) %d+', '%1 0')))
  end
end`;

/** Does to the leases of removals whose holder is frozen what time would do, as long as the work goes on. */
export async function withoutLeases<T>(
  { redis, prefix }: Pick<Testbed, 'redis' | 'prefix'>,
  batchIds: readonly string[],
  work: Promise<T>,
): Promise<T> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  work.then(over, over);
  const keys = batchIds.map((id) => `${prefix}:batches:${id}`);
  while (!isOver) {
    await redis.eval(END_LEASE, keys.length, ...keys);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return work;
}
