import type { BatchRedis } from './batch-redis.js';
import { callbackIdStarts } from './definition.js';
import { batchesKey, batchKeys, FIELD, needsKey } from './keys.js';
import { LUA_NEED } from './needs.js';
import { LUA_NOW, LUA_SPLIT_KEY, LUA_WAKE, luaIsCallback, script } from './script.js';

/**
 * Marks a batch as cancelled: from now on nothing can be added to it, and `success` cannot fire. It is looked after until
 * its pending members are gone, whoever dies meanwhile. An open one need not be sealed any more.
 *
 * KEYS: batch job, its dependencies, what the keys of the sets of batches in need begin with, the batches queue's completed, failed.
 * ARGV: batch id, key prefix of the batches queue, reason or '', then what the ids of the
 *       batch's own callbacks begin with.
 * Returns 0 without a batch, 1 cancelled now, 2 cancelled before, 3 when there is nothing left to cancel.
 */
const MARK_CANCELLED = script(
  'markCancelled',
  5,
  `${LUA_NOW}${LUA_WAKE}${LUA_NEED}
local batch = redis.call('HMGET', KEYS[1], 'timestamp', '${FIELD.removal}', '${FIELD.cancelledAt}', '${FIELD.completedAt}')
if not batch[1] or batch[2] then
  return 0
end
if batch[3] then
  return 2
end
local hasEnded = redis.call('ZSCORE', KEYS[4], ARGV[1]) or redis.call('ZSCORE', KEYS[5], ARGV[1])
if not hasEnded and batch[4] then
  -- Its members have been settled before: unless some have been retried, all that is outstanding are a few callbacks.
  ${luaIsCallback(4)}
  hasEnded = redis.call('SCARD', KEYS[2]) <= 100
  if hasEnded then
    for _, key in ipairs(redis.call('SMEMBERS', KEYS[2])) do
      local at = string.find(key, ':' .. ARGV[1] .. '~', 1, true)
      hasEnded = hasEnded and at and isCallback(string.sub(key, at + 1))
    end
  end
end
if hasEnded then
  return 3
end
redis.call('HSET', KEYS[1], '${FIELD.cancelledAt}', now(), '${FIELD.cancelReason}', ARGV[3])
need(KEYS[1], KEYS[3], ARGV[1], 'cancel')
if redis.call('ZSCORE', ARGV[2] .. 'delayed', ARGV[1]) then
  wake(ARGV[2], KEYS[1], ARGV[1])
end
return 1`,
);

const MARKED = ['not found', 'cancelled', 'cancelled before', 'finished'] as const;

export async function markCancelled(
  redis: BatchRedis,
  batchId: string,
  { reason }: { readonly reason: string | undefined },
): Promise<(typeof MARKED)[number]> {
  const { job, dependencies } = batchKeys(redis, batchId);
  const reply = await redis.run(MARK_CANCELLED, [
    ...[job, dependencies, needsKey(redis), batchesKey(redis, 'completed'), batchesKey(redis, 'failed')],
    ...[batchId, batchesKey(redis, ''), reason ?? '', ...callbackIdStarts(batchId)],
  ]);
  return MARKED[reply as 0 | 1 | 2 | 3];
}

/** Lua: removes a pending job for good, as BullMQ does. Its place in a list or set of its queue is the caller's matter. */
const LUA_REMOVE_JOB = `
local function removeJob(key, dependencies)
  redis.call('DEL', key, key .. ':logs', key .. ':lock', key .. ':dependencies', key .. ':processed', key .. ':failed',
    key .. ':unsuccessful')
  return redis.call('SREM', dependencies, key)
end
`;

/** Marks the root of a flow that is being cancelled: it is in no state of its queue any more, and cannot run. */
const HELD = 'b:held';

/**
 * Lua: a job with jobs below it is not removed before those are gone; until then it is kept from running, as BullMQ would
 * let it when the last running one has ended.
 */
const LUA_HOLD = `
local function hold(key, queueKey, id)
  if redis.call('HEXISTS', key, '${HELD}') == 1 then
    return true
  end
  if redis.call('EXISTS', key .. ':dependencies') == 0 then
    return false
  end
  local isIn = redis.call('ZREM', queueKey .. 'waiting-children', id) + redis.call('ZREM', queueKey .. 'delayed', id)
    + redis.call('ZREM', queueKey .. 'prioritized', id)
  if isIn > 0 then
    redis.call('HSET', key, '${HELD}', 1)
  end
  return isIn > 0
end
`;

/** Lua: whether the owner is what is being cancelled, and not a batch that has been given the same id since. */
const LUA_IS_CANCELLED = `
local function isCancelled(owner, batchId)
  return batchId == '' or redis.call('HEXISTS', owner, '${FIELD.cancelledAt}') == 1
end
`;

/**
 * Lua: counts what was removed, where the owner is a batch, and wakes it when nothing is left: BullMQ does so only for
 * members that are removed one by one.
 */
const LUA_REMOVED = `${LUA_WAKE}
local function removed(count, owner, dependencies, batchId, queueKey)
  if count == 0 or batchId == '' or redis.call('EXISTS', owner) == 0 then
    return
  end
  redis.call('HINCRBY', owner, '${FIELD.cancelled}', count)
  wakeIfIdle(queueKey, owner, batchId, dependencies)
end
`;

/**
 * Looks at some of the dependencies of a batch, or of the root of a flow that is a member, and removes those that are
 * delayed or prioritized, each in a few steps of Redis's. Those in a list are left to REMOVE_FROM_LIST: taking them out
 * one by one would search the list for each. Running ones stay.
 *
 * KEYS: the owner's job, its dependencies.
 * ARGV: batch id ('' when the owner is no batch), key prefix of the batches queue, key prefix of all queues, cursor, count,
 *       then what the ids of the batch's own callbacks begin with.
 * Returns { cursor, how many were removed, keys of child batches, keys of roots of flows, key prefixes of queues with more }.
 */
const REMOVE_SCATTERED = script(
  'removeScattered',
  2,
  `${LUA_REMOVE_JOB}${LUA_HOLD}${LUA_IS_CANCELLED}${LUA_REMOVED}${LUA_SPLIT_KEY}${luaIsCallback(6)}
if not isCancelled(KEYS[1], ARGV[1]) then
  return { '0', 0, {}, {}, {} }
end
local page = redis.call('SSCAN', KEYS[2], ARGV[4], 'COUNT', ARGV[5])
local count, batches, roots, queues, seen = 0, {}, {}, {}, {}
for _, key in ipairs(page[2]) do
  local queueKey, id = splitKey(key, ARGV[3])
  if queueKey == ARGV[2] then
    batches[#batches + 1] = id
  elseif ARGV[1] == '' or not isCallback(id) then
    if hold(key, queueKey, id) then
      roots[#roots + 1] = key
    elseif redis.call('ZREM', queueKey .. 'delayed', id) == 1 or redis.call('ZREM', queueKey .. 'prioritized', id) == 1 then
      count = count + removeJob(key, KEYS[2])
    elseif not seen[queueKey] and redis.call('EXISTS', key) == 1 and redis.call('EXISTS', key .. ':lock') == 0 then
      seen[queueKey] = true
      queues[#queues + 1] = queueKey
    end
  end
end
removed(count, KEYS[1], KEYS[2], ARGV[1], ARGV[2])
return { page[1], count, batches, roots, queues }`,
);

/** Whose pending jobs are removed: a batch, or the root of a flow in one. */
export interface Owner {
  readonly key: string;
  /** '' for the root of a flow. */
  readonly batchId: string;
}

export interface RemovedPage {
  readonly cursor: string;
  readonly count: number;
  readonly batches: readonly string[];
  readonly roots: readonly string[];
  readonly queues: readonly string[];
}

export async function removeScattered(
  redis: BatchRedis,
  { key, batchId }: Owner,
  { cursor, count: pageSize }: { cursor: string; count: number },
): Promise<RemovedPage> {
  const { prefix } = redis;
  const reply = await redis.run(REMOVE_SCATTERED, [
    ...[key, `${key}:dependencies`],
    ...[batchId, batchesKey(redis, ''), prefix, cursor, pageSize, ...callbackIdStarts(batchId)],
  ]);
  const [next, count, batches, roots, queues] = reply as [string, number, string[], string[], string[]];
  return { cursor: next, count, batches, roots, queues };
}

/**
 * Removes those of a stretch of a queue's list that are pending members. Each is first overwritten in its place, and all
 * of them are then taken out together, from the nearer end of the list: the work per member does not grow with the list.
 *
 * KEYS: the list, the owner's job, its dependencies.
 * ARGV: batch id, key prefix of the batches queue, key prefix of the list's queue, rank to start at, how many to look at.
 * Returns { the rank to go on at or -1 at the end, how many were taken out of the list }.
 */
const REMOVE_FROM_LIST = script(
  'removeFromList',
  3,
  `${LUA_REMOVE_JOB}${LUA_IS_CANCELLED}${LUA_REMOVED}
if not isCancelled(KEYS[2], ARGV[1]) then
  return { -1, 0 }
end
local from, size = tonumber(ARGV[4]), tonumber(ARGV[5])
local ids = redis.call('LRANGE', KEYS[1], from, from + size - 1)
local gone = 'cancelled:' .. ARGV[1]
local count, taken = 0, 0
for i, id in ipairs(ids) do
  local key = ARGV[3] .. id
  if redis.call('SISMEMBER', KEYS[3], key) == 1 then
    redis.call('LSET', KEYS[1], from + i - 1, gone)
    taken = taken + 1
    if redis.call('EXISTS', key .. ':dependencies') == 1 then
      redis.call('HSET', key, '${HELD}', 1)
    else
      count = count + removeJob(key, KEYS[3])
    end
  end
end
if taken > 0 then
  local isNearTail = from > redis.call('LLEN', KEYS[1]) / 2
  redis.call('LREM', KEYS[1], isNearTail and -taken or taken, gone)
end
removed(count, KEYS[2], KEYS[3], ARGV[1], ARGV[2])
return { #ids < size and -1 or from + #ids - taken, taken }`,
);

export async function removeFromList(
  redis: BatchRedis,
  { key, batchId }: Owner,
  { list, queueKey, from, size }: { list: string; queueKey: string; from: number; size: number },
): Promise<{ readonly next: number; readonly count: number }> {
  const keys = [`${queueKey}${list}`, key, `${key}:dependencies`];
  const args = [batchId, batchesKey(redis, ''), queueKey, from, size];
  const [next, count] = (await redis.run(REMOVE_FROM_LIST, [...keys, ...args])) as [number, number];
  return { next, count };
}

/**
 * Removes the root of a flow, which is kept from running, when nothing below it is left.
 *
 * KEYS: the owner's job, its dependencies, the root. ARGV: batch id, key prefix of the batches queue.
 * Returns how many were removed.
 */
const REMOVE_ROOT = script(
  'removeRoot',
  3,
  `${LUA_REMOVE_JOB}${LUA_REMOVED}
if redis.call('SCARD', KEYS[3] .. ':dependencies') > 0 or redis.call('HEXISTS', KEYS[3], '${HELD}') == 0 then
  return 0
end
local count = removeJob(KEYS[3], KEYS[2])
removed(count, KEYS[1], KEYS[2], ARGV[1], ARGV[2])
return count`,
);

export async function removeRoot(redis: BatchRedis, { key, batchId }: Owner, rootKey: string): Promise<number> {
  const args = [key, `${key}:dependencies`, rootKey, batchId, batchesKey(redis, '')];
  return (await redis.run(REMOVE_ROOT, args)) as number;
}

/**
 * Whether a batch or one above it is cancelled, in one step however deep it is.
 *
 * KEYS: batch job. Returns nil without a batch, else 1 or 0.
 */
const IS_CANCELLED = script(
  'isCancelled',
  1,
  `
local key = KEYS[1]
if redis.call('EXISTS', key) == 0 then
  return nil
end
while key do
  local batch = redis.call('HMGET', key, '${FIELD.cancelledAt}', 'parentKey')
  if batch[1] then
    return 1
  end
  key = batch[2]
end
return 0`,
);

export async function isCancelled(redis: BatchRedis, batchId: string): Promise<boolean | undefined> {
  const reply = await redis.run(IS_CANCELLED, [batchKeys(redis, batchId).job]);
  return reply === null ? undefined : reply === 1;
}

/**
 * Counts a cancelled child batch on its parent, once, so that its failure there is not taken for a death.
 *
 * KEYS: the child's job, the parent's.
 */
const TELL_PARENT = script(
  'tellParent',
  2,
  `
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('EXISTS', KEYS[2]) == 1
  and redis.call('HSETNX', KEYS[1], '${FIELD.toldParent}', 1) == 1 then
  redis.call('HINCRBY', KEYS[2], '${FIELD.cancelledChildren}', 1)
end`,
);

export async function tellParentOfCancel(redis: BatchRedis, batchId: string, parentId: string): Promise<void> {
  await redis.run(TELL_PARENT, [batchKeys(redis, batchId).job, batchKeys(redis, parentId).job]);
}

/**
 * The failed members that have jobs below them: a flow whose root has failed because of one of them, while others wait.
 *
 * KEYS: failed. ARGV: cursor, count. Returns { cursor, their keys }.
 */
const FAILED_FLOWS = script(
  'failedFlows',
  1,
  `
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local roots = {}
for i = 1, #page[2], 2 do
  if redis.call('EXISTS', page[2][i] .. ':dependencies', page[2][i] .. ':unsuccessful') > 0 then
    roots[#roots + 1] = page[2][i]
  end
end
return { page[1], roots }`,
);

export async function failedFlows(
  redis: BatchRedis,
  batchId: string,
  { cursor, count }: { cursor: string; count: number },
): Promise<{ readonly cursor: string; readonly roots: readonly string[] }> {
  const { failed } = batchKeys(redis, batchId);
  const [next, roots] = (await redis.run(FAILED_FLOWS, [failed, cursor, count])) as [string, string[]];
  return { cursor: next, roots };
}
