import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys } from './keys.js';
import { script } from './script.js';

/** The collections in which BullMQ keeps the members of a batch, and how a member in each is counted. */
export const COLLECTIONS = { dependencies: 'pending', processed: 'succeeded', failed: 'failed' } as const;

const PAGE_SIZE = 500;

export type Collection = keyof typeof COLLECTIONS;

/**
 * KEYS: dependencies, processed or failed. ARGV: cursor, count, what the keys of batch jobs begin with.
 * Returns { cursor, keys of child batches }.
 */
const CHILDREN = script(
  'children',
  1,
  `
local isSet = redis.call('TYPE', KEYS[1]).ok == 'set'
local page = redis.call(isSet and 'SSCAN' or 'HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local children = {}
for i = 1, #page[2], isSet and 1 or 2 do
  if string.sub(page[2][i], 1, #ARGV[3]) == ARGV[3] then
    children[#children + 1] = page[2][i]
  end
end
return { page[1], children }`,
);

/** Returns the child batches in a page of one collection; only their ids leave Redis. A child may be on two pages. */
export async function childrenPage(
  redis: BatchRedis,
  batchId: string,
  { collection, cursor, count }: { collection: Collection; cursor: string; count: number },
): Promise<{ readonly cursor: string; readonly ids: readonly string[] }> {
  const begin = batchesKey(redis, '');
  const args = [batchKeys(redis, batchId)[collection], cursor, count, begin];
  const [next, keys] = (await redis.run(CHILDREN, args)) as [string, string[]];
  return { cursor: next, ids: keys.map((key) => key.slice(begin.length)) };
}

/** Yields the ids of the outstanding child batches, page by page. */
export async function* outstandingChildren(redis: BatchRedis, batchId: string): AsyncGenerator<string, void> {
  let cursor = '0';
  do {
    const page = await childrenPage(redis, batchId, { collection: 'dependencies', cursor, count: PAGE_SIZE });
    yield* page.ids;
    cursor = page.cursor;
  } while (cursor !== '0');
}
