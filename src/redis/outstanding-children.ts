import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys } from './keys.js';
import { script } from './script.js';

/** KEYS: dependencies. ARGV: cursor, count, key prefix of the batches queue. Returns { cursor, keys of child batches }. */
const CHILDREN = script(
  'outstandingChildren',
  1,
  `
local page = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local children = {}
for _, key in ipairs(page[2]) do
  if string.sub(key, 1, #ARGV[3]) == ARGV[3] then
    children[#children + 1] = string.sub(key, #ARGV[3] + 1)
  end
end
return { page[1], children }`,
);

/** The child batches among a page of what is outstanding in a batch. */
export async function outstandingChildren(
  redis: BatchRedis,
  batchId: string,
  { cursor, count }: { cursor: string; count: number },
): Promise<{ readonly cursor: string; readonly batchIds: readonly string[] }> {
  const { dependencies } = batchKeys(redis.prefix, batchId);
  const [next, batchIds] = (await redis.run(CHILDREN, [dependencies, cursor, count, batchesKey(redis.prefix, '')])) as [
    string,
    string[],
  ];
  return { cursor: next, batchIds };
}
