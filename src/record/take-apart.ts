import type { BatchRedis } from './batch-redis.js';
import { LUA_CANCEL_JOB } from './deferral.js';
import { batchesKey, batchKeys, DROPPED_FIELD, droppedKey, FIELD, needsKey, PLAN_END } from './keys.js';
import { LUA_FORGET_NEEDS } from './needs.js';
import { type Hold, LUA_REMOVAL } from './removal.js';
import { LUA_FREES_MEMORY, LUA_NOW, LUA_WAKE, named, rowsOf, script } from './script.js';

/** What one slice may cost, in entries that it looks at: about 1.5 ms of Redis's time. */
const BUDGET = 500;
/** What the removal of a settled job, and of a pending one, costs in entries. */
const COST_OF_A_JOB = 3;
const COST_OF_A_PENDING_JOB = 5;
/**
 * How many entries are read at once at most. The first read is of one entry, because it is not known before how large
 * the values are.
 */
const PAGE_SIZE = 250;
const BYTES_AT_ONCE = 100_000;
/** How many bytes of values cost as much as an entry. */
const BYTES_PER_ENTRY = 400;
/** How many child batches a slice finds before it asks the caller to remove them. */
const MOST_CHILDREN = 100;
/** How many failed jobs of one level of a flow are searched for jobs below them that still wait. */
const MOST_FAILED_BELOW = 1000;
/** The longest list that is searched for one job: Redis looks at 100,000 entries in about a millisecond. */
const SEARCHABLE = 200_000;

/**
 * Removes one slice, of bounded cost, of a batch that is being removed: its members, with or without their jobs, and at
 * last the batch job. Each part that is removed is forgotten at once, so that the removal can be cut short anywhere and
 * continued.
 *
 * A settled member is forgotten, and its job removed with those below it if that was asked for. A pending member is
 * cancelled, as `cancel()` does: removed, or dropped if it is in a list, after what is below it. A running member ends
 * outside of any batch, and is not tried again. A callback of the batch is removed even while it runs: it must not run
 * once more when its worker stalls. Jobs that are not the batch's own, with another parent by now or with another
 * prefix, are left alone.
 *
 * The batch job goes last, when nothing else is left and no BatchWorker holds it. It is taken out of its state, and out
 * of the batch above, which may be waiting for nothing else.
 *
 * KEYS: batch job, what the keys of the sets of needs begin with, registry of dropped jobs.
 * ARGV: batch id, nonce, holder, key prefix of the batches queue, key prefix of all queues, which of the batch's
 * collections to go on with (1 to 4, 5: all are done), cursor in it, then the keys of the batch's callbacks.
 * Returns outcome: 'lost' when it is not the caller's to remove, 'done', 'locked' when only the batch job is left and a
 * BatchWorker holds it, 'again'. With 'again': at, cursor (to go on at); children: child batches that are to be
 * removed first, { id, key of the job whose child it is, … }. But for 'lost' also dropped: 1 when there are jobs
 * to be searched for in lists.
 */
const TAKE_APART = script(
  'takeApart',
  3,
  `${LUA_FREES_MEMORY}${LUA_NOW}${LUA_WAKE}${LUA_REMOVAL}${LUA_FORGET_NEEDS}${LUA_CANCEL_JOB}
local batchKey, batchId, batchesQueue, prefix = KEYS[1], ARGV[1], ARGV[4], ARGV[5]
local removal = holdRemoval(batchKey, ARGV[2], ARGV[3])
if not removal then
  return { 'outcome', 'lost' }
end
local budget, deferral = ${BUDGET}, deferralOf(ARGV[2], 'removed')
local takesPending, takesSettled = removal.force or removal.members, removal.members
local isCallback = {}
for i = 8, #ARGV do
  isCallback[ARGV[i]] = true
end
local children = {}
local clear

local function hasJobsBelow(key)
  return redis.call('EXISTS', key .. ':dependencies', key .. ':processed', key .. ':failed', key .. ':unsuccessful') > 0
end

local function leaveSets(queueKey, id)
  for _, state in ipairs({ 'completed', 'failed', 'delayed', 'waiting-children', 'prioritized' }) do
    if redis.call('ZREM', queueKey .. state, id) == 1 then
      return true
    end
  end
  return false
end

-- Takes a job out of the state that it is in, even if it runs. Returns false for one in a list that is too long.
local function leaveState(queueKey, id)
  if leaveSets(queueKey, id) then
    return true
  end
  for _, list in ipairs({ 'active', 'wait', 'paused' }) do
    local length = redis.call('LLEN', queueKey .. list)
    if length > ${SEARCHABLE} then
      return false
    end
    budget = budget - math.floor(length / 100)
    if redis.call('LREM', queueKey .. list, 1, id) == 1 then
      return true
    end
  end
  return true
end

-- Cancels what is pending below a job that has failed, and stays itself; returns whether all of it has gone.
local function clearWaiting(key)
  if not clear(key, 'dependencies') then
    return false
  end
  for _, failed in ipairs(redis.call('ZRANGE', key .. ':unsuccessful', 0, ${MOST_FAILED_BELOW - 1})) do
    budget = budget - 1
    if budget <= 0 or hasJobsBelow(failed) and not clearWaiting(failed) then
      return false
    end
  end
  return true
end

local function removeCallback(key, queueKey, id)
  if not leaveState(queueKey, id) then
    drop(key, queueKey, deferral, redis.call('HGET', key, 'opts'))
    return
  end
  unlinkJob(key)
end

-- Cancels or removes an outstanding job. Returns whether its owner may forget it.
local function takePending(owner, key, queueKey, id)
  budget = budget - ${COST_OF_A_PENDING_JOB}
  if takesPending and hasJobsBelow(key) and not isJobRunning(key, queueKey, id) then
    if redis.call('SCARD', key .. ':dependencies') > 0 then
      -- Should those below it end before all of them are gone, it fails without being run.
      cancelJob(key, queueKey, id, owner, deferral)
    end
    if not clear(key) then
      return false
    end
  end
  if not takesPending or cancelJob(key, queueKey, id, owner, deferral) ~= 'cancelled' then
    redis.call('HDEL', key, 'parentKey', 'parent')
  end
  return true
end

-- Removes a settled job with what is below it. Returns whether all of it has gone.
local function takeSettled(key, queueKey, id, deduplication)
  budget = budget - ${COST_OF_A_JOB}
  if deduplication and redis.call('GET', queueKey .. 'de:' .. deduplication) == id then
    redis.call('DEL', queueKey .. 'de:' .. deduplication)
  end
  leaveSets(queueKey, id)
  if hasJobsBelow(key) and not clear(key) then
    return false
  end
  unlinkJob(key)
  return true
end

-- Removes, or leaves, one child. Returns whether its owner may forget it.
local function takeChild(owner, key, collection)
  budget = budget - 1
  local isPending = collection == 'dependencies'
  local callback = isCallback[key]
  local isInBatches = string.find(key, batchesQueue, 1, true) == 1
  local mayHaveWaiting = removal.force and collection ~= 'processed'
  if not isPending and not takesSettled and not callback and not isInBatches and not mayHaveWaiting then
    return true
  end
  local queueKey, id = splitKey(key, prefix)
  -- A queue whose prefix only begins like ours is left out: in which states its jobs are is not known.
  if not queueKey or redis.call('EXISTS', queueKey .. 'meta') == 0 then
    return true
  end
  local parentKey, finishedOn, deduplication = unpack(redis.call('HMGET', key, 'parentKey', 'finishedOn', 'deid'))
  if parentKey ~= owner then
    return true
  end
  if isInBatches and redis.call('HEXISTS', key, '${FIELD.nonce}') == 1 then
    children[#children + 1] = id
    children[#children + 1] = owner
    if #children >= ${2 * MOST_CHILDREN} then
      budget = 0
    end
    return false
  end
  if callback then
    removeCallback(key, queueKey, id)
    return true
  end
  -- A settled one may run again: queue.retryJobs() of BullMQ 5 does not put it back into the dependencies.
  if not finishedOn and (isPending or takesSettled) then
    return takePending(owner, key, queueKey, id)
  elseif takesSettled then
    return takeSettled(key, queueKey, id, deduplication)
  end
  return not mayHaveWaiting or not hasJobsBelow(key) or clearWaiting(key)
end

local SCANS = { dependencies = 'SSCAN', processed = 'HSCAN', failed = 'HSCAN', unsuccessful = 'ZSCAN' }
local FORGETS = { dependencies = 'SREM', processed = 'HDEL', failed = 'HDEL', unsuccessful = 'ZREM' }

-- A page of one collection. Returns where to go on, or nil if not all is done, and how many to read then.
local function clearPage(owner, collection, cursor, count)
  local page = redis.call(SCANS[collection], owner .. ':' .. collection, cursor, 'COUNT', count)
  local step = collection == 'dependencies' and 1 or 2
  local forgotten, size, isWhole = {}, 0, true
  for i = 1, #page[2], step do
    if budget <= 0 then
      isWhole = false
      break
    end
    size = size + (step == 2 and #page[2][i + 1] or 0)
    if takeChild(owner, page[2][i], collection) then
      forgotten[#forgotten + 1] = page[2][i]
    else
      isWhole = false
    end
  end
  if #forgotten > 0 then
    redis.call(FORGETS[collection], owner .. ':' .. collection, unpack(forgotten))
  end
  budget = budget - math.floor(size / ${BYTES_PER_ENTRY})
  local affordable = math.floor(count * ${BYTES_AT_ONCE} / (size + 1))
  return isWhole and page[1] or nil, math.max(1, math.min(count * 4, affordable, ${PAGE_SIZE}, budget))
end

-- What is below a job, or one collection of it; returns whether nothing is left there.
function clear(owner, only)
  for collection in pairs(SCANS) do
    if not only or only == collection then
      local cursor, count = '0', 1
      repeat
        cursor, count = clearPage(owner, collection, cursor, count)
        if not cursor then
          return false
        end
      until cursor == '0'
    end
  end
  return only and redis.call('SCARD', owner .. ':dependencies') == 0 or not only and not hasJobsBelow(owner)
end

local function ending(outcome, ...)
  noteDropped(KEYS[3])
  return { 'outcome', outcome, 'dropped', next(dropped) and 1 or 0, ... }
end
local function again(at, cursor)
  return ending('again', 'at', at, 'cursor', cursor, 'children', children)
end

local COLLECTIONS = { 'processed', 'failed', 'unsuccessful', 'dependencies' }
local at, cursor, count = tonumber(ARGV[6]), ARGV[7], 1
while at <= #COLLECTIONS do
  local following, affordable = clearPage(batchKey, COLLECTIONS[at], cursor, count)
  if not following then
    -- What stays until it has been removed elsewhere is looked at again.
    return again(at, cursor)
  end
  cursor, count = following, affordable
  if cursor == '0' then
    at = at + 1
  end
  if budget <= 0 then
    return again(at, cursor)
  end
end
for key in pairs(isCallback) do
  if redis.call('EXISTS', key) == 1 and redis.call('HEXISTS', key, '${DROPPED_FIELD}') == 0 then
    removeCallback(key, splitKey(key, prefix))
  end
end
if hasJobsBelow(batchKey) then
  return again(1, '0')
end
if redis.call('EXISTS', batchKey .. ':lock') == 1 then
  return ending('locked')
end
if not leaveState(batchesQueue, batchId) then
  return again(at, '0')
end

local batch = redis.call('HMGET', batchKey, 'parentKey', '${FIELD.cancelReported}')
local above = batch[1] and redis.call('EXISTS', batch[1]) == 1 and batch[1]
unlinkJob(batchKey)
redis.call('UNLINK', batchKey .. '${PLAN_END}')
forgetNeeds(KEYS[2], batchId)
redis.call('XADD', batchesQueue .. 'events', 'MAXLEN', '~', 10000, '*', 'event', 'removed', 'jobId', batchId,
  'prev', 'unknown')
if above then
  if batch[2] and redis.call('HEXISTS', above .. ':failed', batchKey) == 0 then
    -- The batch job was about to fail in its parent, and must not any more.
    redis.call('HINCRBY', above, '${FIELD.cancelledChildren}', -1)
  end
  local wasWaitedFor = redis.call('SREM', above .. ':dependencies', batchKey) == 1
  local aboveQueue, aboveId = string.match(above, '^(.*:)([^:]+)$')
  if wasWaitedFor and redis.call('HEXISTS', above, '${FIELD.removal}') == 0 then
    wakeIfIdle(aboveQueue, above, aboveId, above .. ':dependencies')
  end
end
return ending('done')`,
);

/** How far a removal has come: which collection of the batch, and the cursor in it. */
export interface Place {
  readonly at: number;
  readonly cursor: string;
}

export const FIRST_PLACE: Place = { at: 1, cursor: '0' };
/** The place at which only the batch job is left. */
export const LAST_PLACE: Place = { at: 5, cursor: '0' };

export interface FoundChild {
  readonly batchId: string;
  readonly ownerKey: string;
}

export type Slice = { readonly hasDropped: boolean } & (
  | { readonly outcome: 'lost' | 'done' | 'locked' }
  | {
      readonly outcome: 'again';
      readonly at: number;
      readonly cursor: string;
      readonly children: readonly FoundChild[];
    }
);

/** Removes one slice of a batch, and the batch job with the last one. */
export async function takeApart(
  redis: BatchRedis,
  { batchId, nonce, holder }: Hold,
  { at, cursor }: Place,
  callbackKeys: readonly string[],
): Promise<Slice> {
  const { job } = batchKeys(redis, batchId);
  const reply = named(
    await redis.run(TAKE_APART, [
      ...[job, needsKey(redis), droppedKey(redis)],
      ...[batchId, nonce, holder, batchesKey(redis, ''), redis.prefix],
      ...[at, cursor, ...callbackKeys],
    ]),
  );
  const hasDropped = reply.dropped === 1;
  if (reply.outcome !== 'again') {
    return { outcome: reply.outcome as 'lost' | 'done' | 'locked', hasDropped };
  }
  return {
    outcome: 'again',
    at: reply.at as number,
    cursor: reply.cursor as string,
    children: rowsOf(reply.children, 2).map(([batchId = '', ownerKey = '']) => ({ batchId, ownerKey })),
    hasDropped,
  };
}
