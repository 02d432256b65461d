import type { BatchRedis } from './batch-redis.js';
import { LUA_DEFER } from './deferral.js';
import { DEPTH } from './dropped.js';
import { batchesKey, batchKeys, droppedKey, FIELD, HELD_FIELD } from './keys.js';
import { type Hold, LUA_REMOVAL } from './removal.js';
import { LUA_FREES_MEMORY, LUA_NOW, named, script } from './script.js';
import { LUA_UNLINK_JOB } from './take-apart.js';

/** How many jobs of a list one command looks at, and takes out of it, at most. */
const STRETCH = 1000;
const MOST_TAKEN = 250;
/** How many levels a job of a flow is followed up to its batch. */
const MOST_LEVELS = 100;
/**
 * Takes the jobs of a batch that is being removed out of a part of a long list of waiting jobs: pending members, also
 * those in flows, callbacks of the batch, and the batch job itself. Each is first overwritten in its place; then all of
 * them are taken out together, from the nearer end of the list, so that the work per job does not grow with the list.
 * Far from both ends, where that takes Redis too long, a job is dropped instead: the worker that takes it fails it
 * without running it. The batch records how far this has come, for the process that continues the removal.
 *
 * KEYS: batch job, the list, registry of dropped jobs. ARGV: nonce, holder, key prefix of the list's queue, key prefix
 * of the batches queue, how many to look at, then the keys of the batch's callbacks.
 * Returns outcome: 'lost' when it is not the caller's to remove, 'ended' at the end of the list, 'again'; and taken:
 * how many.
 */
const TAKE_FROM_LIST = script(
  'takeFromList',
  3,
  `${LUA_FREES_MEMORY}${LUA_NOW}${LUA_REMOVAL}${LUA_UNLINK_JOB}${LUA_DEFER}
local batchKey, list, queueKey, batchesQueue = KEYS[1], KEYS[2], ARGV[3], ARGV[4]
local removal = holdRemoval(batchKey, ARGV[1], ARGV[2])
if not removal then
  return { 'outcome', 'lost' }
end
local isCallback = {}
for i = 6, #ARGV do
  isCallback[ARGV[i]] = true
end
local takesPending = removal.force or removal.members
-- Whether a job is below the batch, and nothing in between runs: what runs ends outside of the batch, with what is
-- below it.
local function isBelow(owner)
  for _ = 1, ${MOST_LEVELS} do
    if owner == batchKey then
      return true
    end
    if not owner or string.sub(owner, 1, #batchesQueue) == batchesQueue
      or redis.call('EXISTS', owner .. ':lock') == 1 then
      return false
    end
    owner = redis.call('HGET', owner, 'parentKey')
  end
  return false
end
local place = '${FIELD.removalAt}' .. list
local from, size = tonumber(redis.call('HGET', batchKey, place) or 0), tonumber(ARGV[5])
local ids = redis.call('LRANGE', list, from, from + size - 1)
local length = redis.call('LLEN', list)
local gone = 'removed:' .. ARGV[2]
local looked, taken, cut = 0, 0, 0
local function cutOut(at)
  redis.call('LSET', list, at, gone)
  cut = cut + 1
end
-- Returns false for a job that others have put there.
local function take(key, at)
  if key == batchKey then
    cutOut(at)
    redis.call('HSET', key, '${HELD_FIELD}', 1)
    return true
  end
  local owner = redis.call('HGET', key, 'parentKey')
  if not (isCallback[key] or takesPending and isBelow(owner)) then
    return false
  end
  if math.min(at, length - at) > ${DEPTH} then
    drop(key, queueKey, deferralOf(ARGV[1], 'removed'), redis.call('HGET', key, 'opts'))
  else
    cutOut(at)
    if hasJobsBelow(key) then
      redis.call('HSET', key, '${HELD_FIELD}', 1)
      return true
    end
    unlinkJob(key)
  end
  if owner then
    redis.call('SREM', owner .. ':dependencies', key)
  end
  return true
end
for i, id in ipairs(ids) do
  if taken >= ${MOST_TAKEN} then
    break
  end
  looked = i
  if take(queueKey .. id, from + i - 1) then
    taken = taken + 1
  end
end
if cut > 0 then
  local isNearTail = from > length / 2
  redis.call('LREM', list, isNearTail and -cut or cut, gone)
end
noteDropped(KEYS[3])
if looked == #ids and #ids < size then
  redis.call('HDEL', batchKey, place)
  return { 'outcome', 'ended', 'taken', taken }
end
redis.call('HSET', batchKey, place, from + looked - cut)
return { 'outcome', 'again', 'taken', taken }`,
);

/** The lists in which BullMQ keeps waiting jobs; BullMQ 5 moves them to the second while their queue is paused. */
export const WAITING_LISTS = ['wait', 'paused'] as const;

export async function takeFromList(
  redis: BatchRedis,
  { batchId, nonce, holder }: Hold,
  { queueKey, list }: { readonly queueKey: string; readonly list: (typeof WAITING_LISTS)[number] },
  callbackKeys: readonly string[],
): Promise<{ readonly outcome: 'lost' | 'ended' | 'again'; readonly taken: number }> {
  const reply = named(
    await redis.run(TAKE_FROM_LIST, [
      ...[batchKeys(redis, batchId).job, `${queueKey}${list}`, droppedKey(redis)],
      ...[nonce, holder, queueKey, batchesKey(redis, ''), STRETCH, ...callbackKeys],
    ]),
  );
  return { outcome: reply.outcome as 'lost' | 'ended' | 'again', taken: Number(reply.taken ?? 0) };
}
