import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, HELD_FIELD, JOB_KEY_ENDS, needsKey } from './keys.js';
import { LUA_FORGET_NEEDS } from './needs.js';
import { type Hold, LUA_REMOVAL } from './removal.js';
import { LUA_FREES_MEMORY, LUA_NONCE, LUA_NOW, LUA_SPLIT_KEY, LUA_WAKE, named, script } from './script.js';

/** What one slice may cost, in entries looked at; some 3 ms of Redis's time. */
const BUDGET = 3000;
/** What it costs to remove a job, in the same unit. */
const COST_OF_A_JOB = 3;
/** How many entries are read first, and how many bytes of values at once when their size is known. */
const FEW = 3;
const BYTES_AT_ONCE = 200_000;
/** How many bytes of values cost as much as looking at an entry. */
const BYTES_PER_ENTRY = 400;
/** How many jobs in long lists, or child batches, a slice finds before it asks for their removal. */
const MOST_FOUND = 100;
/** A list of waiting jobs that is not longer is searched for each job; in a longer one they are taken out together. */
const SHORT_LIST = 500;
/** How many failed jobs of one level of a flow are looked at for others below them that still wait. */
const MOST_FAILED_BELOW = 1000;

/**
 * Lua: whether a job has, or had, jobs below it; and the removal of a job's keys, of which large ones are freed in the
 * background.
 */
export const LUA_UNLINK_JOB = `
local function hasJobsBelow(key)
  return redis.call('EXISTS', key .. ':dependencies', key .. ':processed', key .. ':failed', key .. ':unsuccessful') > 0
end
local function unlinkJob(key)
  redis.call('UNLINK', ${JOB_KEY_ENDS.map((end) => `key .. '${end}'`).join(', ')})
end
`;

/**
 * Takes a batch that is being removed apart, one slice of bounded cost: its members, with or without their jobs, and then the
 * batch job itself. Everything that is done is forgotten at once, so that it can be cut short anywhere and gone on with.
 *
 * A member that is settled is forgotten, and its job removed if that was asked for. One that is pending is removed with what is
 * below it, bottom-up; one that runs ends outside of any batch. A callback of the batch is removed even while it runs: it must
 * not run once more when its worker stalls. What is not the batch's own is left alone: a job that has another parent by
 * now, or another prefix. The batch job goes last, when nothing else is left and no BatchWorker holds it: it is taken out of its
 * state, and of the batch above, which may be waiting for nothing else.
 *
 * KEYS: batch job, what the keys of the sets of needs begin with.
 * ARGV: batch id, nonce, holder, key prefix of the batches queue, key prefix of all queues, which of the batch's collections to
 *       go on with (1 to 4, 5: all are done), cursor in it, budget, '1' to search long lists, then the keys of the batch's callbacks.
 * Returns outcome: 'lost' when it is not the caller's to remove, 'done', 'locked' when only the batch job is left and a BatchWorker
 *       holds it, 'again'. With 'again': at, cursor (to go on at); children: child batches that are to be removed first, { id, key of
 *       the job whose child it is, … }; queues: key prefixes of queues in whose long lists there are pending jobs.
 */
const TAKE_APART = script(
  'takeApart',
  2,
  `${LUA_FREES_MEMORY}${LUA_NOW}${LUA_NONCE}${LUA_SPLIT_KEY}${LUA_WAKE}${LUA_REMOVAL}${LUA_UNLINK_JOB}${LUA_FORGET_NEEDS}
local batchKey, batchId, batchesQueue, prefix = KEYS[1], ARGV[1], ARGV[4], ARGV[5]
local removal = holdRemoval(batchKey, ARGV[2], ARGV[3])
if not removal then
  return { 'outcome', 'lost' }
end
local budget, searchesLists = tonumber(ARGV[8]), ARGV[9] == '1'
local takesPending, takesSettled = removal.force or removal.members, removal.members
local isCallback = {}
for i = 10, #ARGV do
  isCallback[ARGV[i]] = true
end
local children, queues, found = {}, {}, 0
local known = {}
local clear

-- A queue of another prefix that begins like ours is none here: what its jobs are in cannot be told.
local function isQueue(queueKey)
  if known[queueKey] == nil then
    known[queueKey] = redis.call('EXISTS', queueKey .. 'meta') == 1
  end
  return known[queueKey]
end

local function noteFound()
  found = found + 1
  if found >= ${MOST_FOUND} then
    budget = 0
  end
end

-- Takes a job out of the state it is in; returns false for one that runs, and for one in a list that is too long to search.
local function leaveState(key, queueKey, id, evenRunning)
  if redis.call('HEXISTS', key, '${HELD_FIELD}') == 1 then
    return true
  end
  for _, state in ipairs({ 'completed', 'failed', 'delayed', 'waiting-children', 'prioritized' }) do
    if redis.call('ZREM', queueKey .. state, id) == 1 then
      return true
    end
  end
  if redis.call('EXISTS', key .. ':lock') == 1 and not evenRunning then
    return false, 'running'
  end
  if redis.call('LREM', queueKey .. 'active', 0, id) > 0 then
    redis.call('SREM', queueKey .. 'stalled', id)
    return true
  end
  local length = redis.call('LLEN', queueKey .. 'wait') + redis.call('LLEN', queueKey .. 'paused')
  if length > ${SHORT_LIST} and not searchesLists then
    queues[queueKey] = true
    noteFound()
    return false, 'listed'
  end
  budget = budget - math.floor(length / 100)
  redis.call('LREM', queueKey .. 'wait', 0, id)
  redis.call('LREM', queueKey .. 'paused', 0, id)
  return true
end

-- Removes a job with what is below it; returns false, and why, while something of it is left.
local function removeJob(key, queueKey, id, evenRunning)
  budget = budget - ${COST_OF_A_JOB}
  local hasLeft, why = leaveState(key, queueKey, id, evenRunning)
  if not hasLeft then
    return false, why
  end
  if hasJobsBelow(key) then
    -- In no state, so that BullMQ does not let it run when the last job below it ends.
    redis.call('HSET', key, '${HELD_FIELD}', 1)
    if not clear(key) then
      return false, 'left'
    end
  end
  local deduplication = redis.call('HGET', key, 'deid')
  if deduplication and redis.call('GET', queueKey .. 'de:' .. deduplication) == id then
    redis.call('DEL', queueKey .. 'de:' .. deduplication)
  end
  unlinkJob(key)
  return true
end

-- A job that has failed stays, those below it that still wait go.
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

-- Does with one child what is to be done; returns whether its owner may forget it.
local function takeChild(owner, key, collection)
  budget = budget - 1
  local queueKey, id = splitKey(key, prefix)
  if not queueKey or not isQueue(queueKey) then
    return true
  end
  local isPending = collection == 'dependencies'
  local callback = isCallback[key]
  if not isPending and not takesSettled and not callback and queueKey ~= batchesQueue
    and not (removal.force and collection ~= 'processed') then
    return true
  end
  if redis.call('HGET', key, 'parentKey') ~= owner then
    return true
  end
  if queueKey == batchesQueue and nonceOf(key, id) then
    children[#children + 1] = id
    children[#children + 1] = owner
    noteFound()
    return false
  end
  if callback or isPending and takesPending or not isPending and takesSettled then
    local isGone, why = removeJob(key, queueKey, id, callback)
    if why ~= 'running' then
      return isGone
    end
  end
  if isPending then
    redis.call('HDEL', key, 'parentKey', 'parent')
    return true
  end
  return not removal.force or not hasJobsBelow(key) or clearWaiting(key)
end

local SCANS = { dependencies = 'SSCAN', processed = 'HSCAN', failed = 'HSCAN', unsuccessful = 'ZSCAN' }
local FORGETS = { dependencies = 'SREM', processed = 'HDEL', failed = 'HDEL', unsuccessful = 'ZREM' }

-- A page of one collection. Returns where to go on, or nil if not all is done, and how much to read then: few entries at first,
-- for their values may be large.
local function clearPage(owner, collection, cursor, count)
  local key = owner .. ':' .. collection
  local page = redis.call(SCANS[collection], key, cursor, 'COUNT', count)
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
    end
  end
  for from = 1, #forgotten, 1000 do
    redis.call(FORGETS[collection], key, unpack(forgotten, from, math.min(from + 999, #forgotten)))
  end
  budget = budget - math.floor(size / ${BYTES_PER_ENTRY})
  local affordable = math.floor(count * ${BYTES_AT_ONCE} / (size + 1))
  return isWhole and page[1] or nil, math.max(1, math.min(count * 4, affordable, 250, budget))
end

-- What is below a job, or one collection of it; returns whether nothing is left there.
function clear(owner, only)
  for collection in pairs(SCANS) do
    if not only or only == collection then
      local cursor, count = '0', ${FEW}
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

local function again(at, cursor)
  local list = {}
  for queueKey in pairs(queues) do
    list[#list + 1] = queueKey
  end
  return { 'outcome', 'again', 'at', at, 'cursor', cursor, 'children', children, 'queues', list }
end

local COLLECTIONS = { 'processed', 'failed', 'unsuccessful', 'dependencies' }
local at, cursor, count = tonumber(ARGV[6]), ARGV[7], ${FEW}
while at <= #COLLECTIONS do
  local following, affordable = clearPage(batchKey, COLLECTIONS[at], cursor, count)
  if not following or found > 0 then
    -- What was found stays until it has been removed elsewhere, and is looked at again.
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
for i = 10, #ARGV do
  local queueKey, id = splitKey(ARGV[i], prefix)
  if redis.call('EXISTS', ARGV[i]) == 1 and not removeJob(ARGV[i], queueKey, id, true) or budget <= 0 then
    return again(at, '0')
  end
end
if hasJobsBelow(batchKey) then
  return again(1, '0')
end
if redis.call('EXISTS', batchKey .. ':lock') == 1 then
  return { 'outcome', 'locked' }
end
if not leaveState(batchKey, batchesQueue, batchId, false) then
  return again(at, '0')
end

local batch = redis.call('HMGET', batchKey, 'parentKey', '${FIELD.toldParent}')
local above = batch[1] and redis.call('EXISTS', batch[1]) == 1 and batch[1]
unlinkJob(batchKey)
forgetNeeds(KEYS[2], batchId)
redis.call('XADD', batchesQueue .. 'events', 'MAXLEN', '~', 10000, '*', 'event', 'removed', 'jobId', batchId, 'prev', 'unknown')
if above then
  if batch[2] and redis.call('HEXISTS', above .. ':failed', batchKey) == 0 then
    -- It was about to fail in its parent, and does not.
    redis.call('HINCRBY', above, '${FIELD.cancelledChildren}', -1)
  end
  local wasWaitedFor = redis.call('SREM', above .. ':dependencies', batchKey) == 1
  local aboveQueue, aboveId = string.match(above, '^(.*:)([^:]+)$')
  if wasWaitedFor and redis.call('HEXISTS', above, '${FIELD.removal}') == 0 then
    wakeIfIdle(aboveQueue, above, aboveId, above .. ':dependencies')
  end
end
return { 'outcome', 'done' }`,
);

/** Where a removal is: which collection, where in it, and whether jobs are to be searched for in long lists, one by one. */
export interface Place {
  readonly at: number;
  readonly cursor: string;
  readonly searchesLists: boolean;
}

export const FIRST_PLACE: Place = { at: 1, cursor: '0', searchesLists: false };
/** When nothing is left but the batch job. */
export const LAST_PLACE: Place = { at: 5, cursor: '0', searchesLists: false };

export interface FoundChild {
  readonly batchId: string;
  readonly ownerKey: string;
}

export type Slice =
  | { readonly outcome: 'lost' | 'done' | 'locked' }
  | {
      readonly outcome: 'again';
      readonly at: number;
      readonly cursor: string;
      readonly children: readonly FoundChild[];
      readonly queues: readonly string[];
    };

/** Takes one slice of a batch away, and the batch job with the last one. */
export async function takeApart(
  redis: BatchRedis,
  { batchId, nonce, holder }: Hold,
  { at, cursor, searchesLists }: Place,
  callbackKeys: readonly string[],
): Promise<Slice> {
  const { job } = batchKeys(redis, batchId);
  const reply = named(
    await redis.run(TAKE_APART, [
      ...[job, needsKey(redis)],
      ...[batchId, nonce, holder, batchesKey(redis, ''), redis.prefix],
      ...[at, cursor, BUDGET, searchesLists ? '1' : '0', ...callbackKeys],
    ]),
  );
  if (reply.outcome !== 'again') {
    return { outcome: reply.outcome as 'lost' | 'done' | 'locked' };
  }
  const flat = reply.children as readonly string[];
  return {
    outcome: 'again',
    at: reply.at as number,
    cursor: reply.cursor as string,
    children: flat.flatMap((id, i) => (i % 2 === 0 ? [{ batchId: id, ownerKey: flat[i + 1] ?? '' }] : [])),
    queues: reply.queues as readonly string[],
  };
}
