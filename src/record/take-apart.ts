import type { BatchRedis } from './batch-redis.js';
import { LUA_DEFER } from './deferral.js';
import { batchesKey, batchKeys, FIELD, HELD_FIELD, JOB_KEY_ENDS, needsKey } from './keys.js';
import { LUA_FORGET_NEEDS } from './needs.js';
import { type Hold, LUA_REMOVAL } from './removal.js';
import { LUA_FREES_MEMORY, LUA_NONCE, LUA_NOW, LUA_SPLIT_KEY, LUA_WAKE, named, script } from './script.js';

/** What one slice may cost, in entries that it looks at: about 1 ms of Redis's time. */
const BUDGET = 1000;
/** What the removal of a job costs, in entries. */
const COST_OF_A_JOB = 3;
/**
 * How many entries are read at once at most. The first read is of one entry, because it is not known before how large
 * the values are.
 */
const PAGE_SIZE = 250;
const BYTES_AT_ONCE = 100_000;
/** How many bytes of values cost as much as an entry. */
const BYTES_PER_ENTRY = 400;
/** How many jobs in long lists, or child batches, a slice finds before it asks the caller to remove them. */
const MOST_FOUND = 100;
/** The longest list of waiting jobs that is searched for each job. From a longer one, jobs are taken out together. */
const SHORT_LIST = 500;
/** How many failed jobs of one level of a flow are searched for jobs below them that still wait. */
const MOST_FAILED_BELOW = 1000;

/**
 * Lua: whether jobs have, or had, jobs below them; and the removal of a job's keys, of which large ones are freed in
 * the background.
 */
export const LUA_UNLINK_JOB = `
local function haveJobsBelow(jobs)
  local keys = {}
  for _, key in ipairs(jobs) do
    keys[#keys + 1] = key .. ':dependencies'
    keys[#keys + 1] = key .. ':processed'
    keys[#keys + 1] = key .. ':failed'
    keys[#keys + 1] = key .. ':unsuccessful'
  end
  return #keys > 0 and redis.call('EXISTS', unpack(keys)) > 0
end
local function hasJobsBelow(key)
  return redis.call('EXISTS', key .. ':dependencies', key .. ':processed', key .. ':failed', key .. ':unsuccessful') > 0
end
local function unlinkJob(key)
  redis.call('UNLINK', ${JOB_KEY_ENDS.map((end) => `key .. '${end}'`).join(', ')})
end
-- Many jobs that have no jobs below them.
local function unlinkLeaves(jobs)
  local keys = {}
  for _, key in ipairs(jobs) do
    keys[#keys + 1] = key
    keys[#keys + 1] = key .. ':logs'
    keys[#keys + 1] = key .. ':lock'
  end
  if #keys > 0 then
    redis.call('UNLINK', unpack(keys))
  end
end
`;

/**
 * Removes one slice, of bounded cost, of a batch that is being removed: its members, with or without their jobs, and at
 * last the batch job. Each part that is removed is forgotten at once, so that the removal can be cut short anywhere and
 * continued.
 *
 * A settled member is forgotten, and its job removed if that was asked for. A pending member is removed with what is
 * below it, bottom-up. A running member ends outside of any batch, and is not tried again. A callback of the batch is
 * removed even while it runs: it must not run once more when its worker stalls. Jobs that are not the batch's own, with
 * another parent by now or with another prefix, are left alone.
 *
 * The batch job goes last, when nothing else is left and no BatchWorker holds it. It is taken out of its state, and out
 * of the batch above, which may be waiting for nothing else.
 *
 * KEYS: batch job, what the keys of the sets of needs begin with.
 * ARGV: batch id, nonce, holder, key prefix of the batches queue, key prefix of all queues, which of the batch's
 * collections to go on with (1 to 4, 5: all are done), cursor in it, budget, '1' to search long lists, then the
 * keys of the batch's callbacks.
 * Returns outcome: 'lost' when it is not the caller's to remove, 'done', 'locked' when only the batch job is left and a
 * BatchWorker holds it, 'again'. With 'again': at, cursor (to go on at); children: child batches that are to be
 * removed first, { id, key of the job whose child it is, … }; queues: key prefixes of queues in whose long lists
 * there are pending jobs.
 */
const TAKE_APART = script(
  'takeApart',
  2,
  `${LUA_FREES_MEMORY}${LUA_NOW}${LUA_NONCE}${LUA_SPLIT_KEY}${LUA_WAKE}${LUA_REMOVAL}${LUA_UNLINK_JOB}
${LUA_FORGET_NEEDS}${LUA_DEFER}
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
local known, usual = {}, {}
local clear

-- A queue whose prefix only begins like ours is left out: in which states its jobs are is not known.
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

-- Most jobs of a queue are in the state in which the last one was.
local function leaveSet(queueKey, id)
  local last = usual[queueKey]
  if last and redis.call('ZREM', last, id) == 1 then
    return true
  end
  for _, state in ipairs({ 'completed', 'failed', 'delayed', 'waiting-children', 'prioritized' }) do
    if queueKey .. state ~= last and redis.call('ZREM', queueKey .. state, id) == 1 then
      usual[queueKey] = queueKey .. state
      return true
    end
  end
  return false
end

-- Takes a job out of the state it is in; returns false, and why, for one that runs, and for one in a list that is too
-- long to search.
local function leaveState(key, queueKey, id, evenRunning)
  if leaveSet(queueKey, id) then
    return true
  end
  if redis.call('EXISTS', key .. ':lock') == 1 and not evenRunning then
    return false, 'running'
  end
  if redis.call('LREM', queueKey .. 'active', 0, id) > 0 then
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

-- Removes the keys of jobs that are in no state any more, with what is below them; returns those of which nothing is
-- left.
local function removeKeys(jobs)
  if not haveJobsBelow(jobs) then
    unlinkLeaves(jobs)
    return jobs
  end
  local gone = {}
  for _, key in ipairs(jobs) do
    local isGone = not hasJobsBelow(key)
    if not isGone then
      -- So that BullMQ does not let it run when the last job below it ends.
      redis.call('HSET', key, '${HELD_FIELD}', 1)
      isGone = clear(key)
    end
    if isGone then
      unlinkJob(key)
      gone[#gone + 1] = key
    end
  end
  return gone
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

local function takeJob(key, queueKey, id, evenRunning, isHeld, deduplication)
  budget = budget - ${COST_OF_A_JOB}
  local hasLeft, why = true, nil
  if not isHeld then
    hasLeft, why = leaveState(key, queueKey, id, evenRunning)
  end
  if hasLeft and deduplication and redis.call('GET', queueKey .. 'de:' .. deduplication) == id then
    redis.call('DEL', queueKey .. 'de:' .. deduplication)
  end
  return hasLeft, why
end

-- Does with one child what is to be done. Returns 'forget' when its owner may forget it, 'remove' when its keys are to
-- go, or 'stays'.
local function takeChild(owner, key, collection)
  budget = budget - 1
  local isPending = collection == 'dependencies'
  local callback = isCallback[key]
  local isInBatches = string.find(key, batchesQueue, 1, true) == 1
  local mayHaveWaiting = removal.force and collection ~= 'processed'
  if not isPending and not takesSettled and not callback and not isInBatches and not mayHaveWaiting then
    return 'forget'
  end
  local queueKey, id = splitKey(key, prefix)
  if not queueKey or not isQueue(queueKey) then
    return 'forget'
  end
  local parentKey, isHeld, deduplication = unpack(redis.call('HMGET', key, 'parentKey', '${HELD_FIELD}', 'deid'))
  if parentKey ~= owner then
    return 'forget'
  end
  if isInBatches and nonceOf(key) then
    children[#children + 1] = id
    children[#children + 1] = owner
    noteFound()
    return 'stays'
  end
  if callback or isPending and takesPending or not isPending and takesSettled then
    local hasLeft, why = takeJob(key, queueKey, id, callback, isHeld, deduplication)
    if why ~= 'running' then
      return hasLeft and 'remove' or 'stays'
    end
  end
  if isPending then
    redis.call('HDEL', key, 'parentKey', 'parent')
    if takesPending then
      defer(key, deferralOf(ARGV[2], 'removed'), redis.call('HGET', key, 'opts'))
    end
  elseif mayHaveWaiting and hasJobsBelow(key) and not clearWaiting(key) then
    return 'stays'
  end
  return 'forget'
end

local SCANS = { dependencies = 'SSCAN', processed = 'HSCAN', failed = 'HSCAN', unsuccessful = 'ZSCAN' }
local FORGETS = { dependencies = 'SREM', processed = 'HDEL', failed = 'HDEL', unsuccessful = 'ZREM' }

local function forgetAll(owner, collection, keys)
  for from = 1, #keys, 1000 do
    local to = math.min(from + 999, #keys)
    redis.call(FORGETS[collection], owner .. ':' .. collection, unpack(keys, from, to))
  end
end

-- A page of one collection. Returns where to go on, or nil if not all is done, and how many to read then.
local function clearPage(owner, collection, cursor, count)
  local page = redis.call(SCANS[collection], owner .. ':' .. collection, cursor, 'COUNT', count)
  local step = collection == 'dependencies' and 1 or 2
  local removed, forgotten, size, isWhole = {}, {}, 0, true
  for i = 1, #page[2], step do
    if budget <= 0 then
      isWhole = false
      break
    end
    size = size + (step == 2 and #page[2][i + 1] or 0)
    local verdict = takeChild(owner, page[2][i], collection)
    if verdict == 'remove' then
      removed[#removed + 1] = page[2][i]
    elseif verdict == 'forget' then
      forgotten[#forgotten + 1] = page[2][i]
    end
  end
  forgetAll(owner, collection, forgotten)
  local gone = removeKeys(removed)
  forgetAll(owner, collection, gone)
  budget = budget - math.floor(size / ${BYTES_PER_ENTRY})
  local affordable = math.floor(count * ${BYTES_AT_ONCE} / (size + 1))
  return isWhole and #gone == #removed and page[1] or nil,
    math.max(1, math.min(count * 4, affordable, ${PAGE_SIZE}, budget))
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

local function again(at, cursor)
  local list = {}
  for queueKey in pairs(queues) do
    list[#list + 1] = queueKey
  end
  return { 'outcome', 'again', 'at', at, 'cursor', cursor, 'children', children, 'queues', list }
end

local COLLECTIONS = { 'processed', 'failed', 'unsuccessful', 'dependencies' }
local at, cursor, count = tonumber(ARGV[6]), ARGV[7], 1
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
  local key = ARGV[i]
  local queueKey, id = splitKey(key, prefix)
  if redis.call('EXISTS', key) == 1 then
    local isHeld = redis.call('HEXISTS', key, '${HELD_FIELD}') == 1
    if not takeJob(key, queueKey, id, true, isHeld) or #removeKeys({ key }) == 0 then
      return again(at, '0')
    end
  end
  if budget <= 0 then
    return again(at, '0')
  end
end
if hasJobsBelow(batchKey) then
  return again(1, '0')
end
if redis.call('EXISTS', batchKey .. ':lock') == 1 then
  return { 'outcome', 'locked' }
end
if redis.call('HEXISTS', batchKey, '${HELD_FIELD}') == 0 and not leaveState(batchKey, batchesQueue, batchId, false) then
  return again(at, '0')
end

local batch = redis.call('HMGET', batchKey, 'parentKey', '${FIELD.toldParent}')
local above = batch[1] and redis.call('EXISTS', batch[1]) == 1 and batch[1]
unlinkJob(batchKey)
forgetNeeds(KEYS[2], batchId)
redis.call('XADD', batchesQueue .. 'events', 'MAXLEN', '~', 10000, '*', 'event', 'removed', 'jobId', batchId,
  'prev', 'unknown')
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

/**
 * How far a removal has come: which collection, where in it, and whether jobs in long lists are searched for one by
 * one.
 */
export interface Place {
  readonly at: number;
  readonly cursor: string;
  readonly searchesLists: boolean;
}

export const FIRST_PLACE: Place = { at: 1, cursor: '0', searchesLists: false };
/** The place at which only the batch job is left. */
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

/** Removes one slice of a batch, and the batch job with the last one. */
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
