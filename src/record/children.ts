import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_IS_CLOSED, named, rowsOf, script } from './script.js';

/*
 * The ids of child batches are listed in the hash of their parent, apart from its other members and in the order of
 * their creation, so that finding them does not mean looking at a million jobs. The lists vanish with the parent. A
 * child that is removed stays listed; readers leave it out.
 */

/** How many children one field lists: a longer field costs each new child more, more fields cost each wake more. */
const PER_FIELD = 100;

/** Lua: listChild(parentKey, id) puts a new child at the end of its parent's list. */
export const LUA_LIST_CHILD = `
local function listChild(parentKey, id)
  local count = redis.call('HINCRBY', parentKey, '${FIELD.childCount}', 1)
  local field = '${FIELD.children}' .. math.floor((count - 1) / ${PER_FIELD})
  local list = redis.call('HGET', parentKey, field)
  redis.call('HSET', parentKey, field, list and list .. '\\n' .. id or id)
end
`;

/**
 * Lua: childrenOn(parentKey, page) returns the ids listed on a page, as a list, and the number of the next page; '0'
 * after the last one.
 */
export const LUA_CHILDREN_ON = `
local function childrenOn(parentKey, page)
  local list, ids = redis.call('HGET', parentKey, '${FIELD.children}' .. page) or '', {}
  for id in string.gmatch(list, '[^\\n]+') do
    ids[#ids + 1] = id
  end
  local isLast = redis.call('HEXISTS', parentKey, '${FIELD.children}' .. page + 1) == 0
  return ids, isLast and '0' or tostring(page + 1)
end
`;

/** The collections in which BullMQ keeps the members of a batch, and how a member in each is counted. */
export const COLLECTIONS = { dependencies: 'pending', processed: 'succeeded', failed: 'failed' } as const;

export type Collection = keyof typeof COLLECTIONS;

export interface ListedChild {
  readonly id: string;
  /** The collection of the parent that the child is in. */
  readonly collection: Collection;
  /** Whether it is sealed, abandoned or cancelled. */
  readonly isClosed: boolean;
  /** When it was created, in ms since the epoch. */
  readonly createdAt: number;
  /** What BullMQ keeps as the `progress` of its job, as JSON; '' before the first. */
  readonly progress: string;
}

/**
 * KEYS: batch job, its dependencies, processed, failed. ARGV: number of a page, key prefix of the batches queue.
 * Returns next (page, '0' after the last one); children: id, collection, '1' for one that is closed, timestamp and
 * progress of each that is a member still.
 */
const CHILDREN = script(
  'children',
  4,
  `${LUA_CHILDREN_ON}${LUA_IS_CLOSED}
local function collectionOf(key)
  if redis.call('SISMEMBER', KEYS[2], key) == 1 then
    return 'dependencies'
  end
  return redis.call('HEXISTS', KEYS[3], key) == 1 and 'processed'
    or redis.call('HEXISTS', KEYS[4], key) == 1 and 'failed'
end
local ids, following = childrenOn(KEYS[1], ARGV[1])
local children = {}
for _, id in ipairs(ids) do
  local key = ARGV[2] .. id
  local collection = collectionOf(key)
  if collection then
    local timestamp, progress = unpack(redis.call('HMGET', key, 'timestamp', 'progress'))
    for _, value in ipairs({ id, collection, isClosed(key) and '1' or '0', timestamp or '0', progress or '' }) do
      children[#children + 1] = value
    end
  end
end
return { 'next', following, 'children', children }`,
);

/** Yields the child batches of a batch, in the order of their creation. */
export async function* childrenOf(redis: BatchRedis, batchId: string): AsyncGenerator<ListedChild, void> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  let page = '0';
  do {
    const reply = named(await redis.run(CHILDREN, [job, dependencies, processed, failed, page, batchesKey(redis, '')]));
    for (const [id = '', collection, isClosed, timestamp, progress = ''] of rowsOf(reply.children, 5)) {
      const createdAt = Number(timestamp);
      yield { id, collection: collection as Collection, isClosed: isClosed === '1', createdAt, progress };
    }
    page = String(reply.next);
  } while (page !== '0');
}

/** Yields the ids of the child batches that are outstanding in a batch. */
export async function* outstandingChildren(redis: BatchRedis, batchId: string): AsyncGenerator<string, void> {
  for await (const { id, collection } of childrenOf(redis, batchId)) {
    if (collection === 'dependencies') {
      yield id;
    }
  }
}
