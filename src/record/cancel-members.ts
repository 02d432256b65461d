import type { BatchRedis } from './batch-redis.js';
import { type Advance, type CancelledBatch, continuedAt, type EmptiedBatch, type Page } from './cancel.js';
import { LUA_CANCEL_JOB } from './deferral.js';
import { batchesKey, droppedKey, FIELD } from './keys.js';
import { LUA_FREES_MEMORY, LUA_IS_OWN_CALLBACK, LUA_WAKE, named, rowsOf, script } from './script.js';
import { LUA_IS_STRANGER } from './strangers.js';

/** How many jobs one command looks at. It takes 2 to 3 ms of Redis's time when all of them are removed. */
const BUDGET = 125;
/** What a batch, or a job of a flow, adds to the cost of a command, in jobs. */
const COST_OF_AN_OWNER = 5;
const SMALLEST_PAGE = 10;

/** A job of a flow whose children are to be cancelled, and one of the collections in which BullMQ keeps them. */
export interface FlowNode extends CancelledBatch {
  readonly key: string;
  readonly collection: 'dependencies' | 'unsuccessful' | 'failed';
}

/**
 * Lua: cancelledReason(key, nonce) returns the reason, '' without one, if the batch is this life of it and cancelled.
 */
const LUA_CANCELLED_REASON = `
local function cancelledReason(key, nonce)
  local batch = redis.call('HMGET', key, '${FIELD.nonce}', '${FIELD.cancelledAt}', '${FIELD.cancelReason}')
  return batch[1] == nonce and batch[2] and (batch[3] or '') or nil
end
`;

/**
 * Cancels the pending members of cancelled batches, one bounded part; see LUA_CANCEL_JOB. Child batches, callbacks and
 * strangers are left alone.
 *
 * KEYS: registry of dropped jobs.
 * ARGV: key prefix of the batches queue, key prefix of all queues, then per batch id, nonce, cursor, and '1' when a job
 * is known to be outstanding.
 * Returns cursors, of as many batches as it came to; outstanding, of each '1' or ''; flows: id, nonce and key of
 * members that wait for jobs below them.
 */
const CANCEL_MEMBERS = script(
  'cancelMembers',
  1,
  `${LUA_FREES_MEMORY}${LUA_WAKE}${LUA_IS_OWN_CALLBACK}${LUA_IS_STRANGER}${LUA_CANCEL_JOB}${LUA_CANCELLED_REASON}
local batchesQueue, prefix = ARGV[1], ARGV[2]
local used, cursors, outstanding, flows = 0, {}, {}, {}
local function cancelMember(member, batchKey, id, nonce, reason)
  local queueKey, memberId = splitKey(member, prefix)
  local isChild = queueKey == batchesQueue
  if not isChild and not isStranger(member, prefix, batchesQueue, id, nonce)
    and not isOwnCallback(memberId, id, nonce) then
    return cancelJob(member, queueKey, memberId, batchKey, deferralOf(nonce, reason))
  end
end
local function cancelPage(id, nonce, cursor, reason)
  local key = batchesQueue .. id
  local size = math.max(${SMALLEST_PAGE}, ${BUDGET} - used)
  local page = redis.call('SSCAN', key .. ':dependencies', cursor, 'COUNT', size)
  local count, deferred = 0, nil
  for _, member in ipairs(page[2]) do
    -- A key that holds no job, by whatever accident, does not keep the others from being cancelled.
    local _, became = pcall(cancelMember, member, key, id, nonce, reason)
    if became == 'cancelled' then
      count = count + 1
    elseif became == 'running' or became == 'waits' then
      deferred = member
    end
    if became == 'waits' then
      flows[#flows + 1], flows[#flows + 2], flows[#flows + 3] = id, nonce, member
    end
  end
  if deferred then
    redis.call('HSET', key, '${FIELD.deferred}', deferred)
  end
  if count > 0 then
    redis.call('HINCRBY', key, '${FIELD.cancelled}', count)
    wakeIfIdle(batchesQueue, key, id, key .. ':dependencies')
  end
  used = used + #page[2]
  return page[1], deferred ~= nil
end
for i = 3, #ARGV, 4 do
  if used >= ${BUDGET} then
    break
  end
  used = used + ${COST_OF_AN_OWNER}
  local id, nonce, cursor, isOutstanding = ARGV[i], ARGV[i + 1], '0', ARGV[i + 3] == '1'
  local reason = cancelledReason(batchesQueue .. id, nonce)
  if reason then
    local isDeferred
    cursor, isDeferred = cancelPage(id, nonce, ARGV[i + 2], reason)
    isOutstanding = isOutstanding or isDeferred
  end
  cursors[#cursors + 1] = cursor
  outstanding[#outstanding + 1] = isOutstanding and '1' or ''
end
noteDropped(KEYS[1])
return { 'cursors', cursors, 'outstanding', outstanding, 'flows', flows }`,
);

export interface MembersPage extends EmptiedBatch, Page {}

export async function cancelMembers(
  redis: BatchRedis,
  pages: readonly MembersPage[],
): Promise<Advance<MembersPage, FlowNode>> {
  const reply = await redis.run(CANCEL_MEMBERS, [
    ...[droppedKey(redis), batchesKey(redis, ''), redis.prefix],
    ...pages.flatMap((page) => [page.batchId, page.nonce, page.cursor, page.isOutstanding ? '1' : '']),
  ]);
  const { cursors = [], outstanding = [], flows = [] } = named(reply) as Record<string, readonly string[]>;
  return {
    pages: continuedAt(pages, cursors).map((page, i) => ({ ...page, isOutstanding: outstanding[i] === '1' })),
    found: flowRoots(flows),
  };
}

/** Parses a flat list of id, nonce and key. */
export function flowRoots(reply: unknown): FlowNode[] {
  return rowsOf(reply, 3).map(([batchId = '', nonce = '', key = '']) => ({
    ...{ batchId, nonce, key },
    collection: 'dependencies',
  }));
}

/** More levels than a flow can have that was added as one: a deeper chain is a circle made by hand. */
const MOST_LEVELS = 500;

/**
 * Cancels jobs below members of cancelled batches, one bounded part. A job that waits for children is an ordinary
 * BullMQ job at every instant: when its last child is removed, it is removed in the same step; when its last child ends
 * by itself, the job runs into its deferred failure.
 *
 * KEYS: registry of dropped jobs.
 * ARGV: key prefix of the batches queue, key prefix of all queues, then per job of a flow the batch's id and nonce, the
 * key of the job, which of its collections, and the cursor in it.
 * Returns cursors, of as many jobs as it came to; found: batch's id, nonce, key and collection to go on with.
 */
const CANCEL_FLOWS = script(
  'cancelFlows',
  1,
  `${LUA_FREES_MEMORY}${LUA_WAKE}${LUA_CANCEL_JOB}${LUA_CANCELLED_REASON}
local batchesQueue, prefix = ARGV[1], ARGV[2]
local used, cursors, found = 0, {}, {}
local id, nonce, batchKey, deferral
local function goOnWith(key, collection)
  found[#found + 1], found[#found + 2], found[#found + 3], found[#found + 4] = id, nonce, key, collection
end
local function isInBatch(key)
  for _ = 1, ${MOST_LEVELS} do
    key = redis.call('HGET', key, 'parentKey')
    if not key or key == batchKey then
      return key == batchKey
    end
  end
  return false
end
local function count(cancelled)
  redis.call('HINCRBY', batchKey, '${FIELD.cancelled}', cancelled)
  wakeIfIdle(batchesQueue, batchKey, id, batchKey .. ':dependencies')
end
-- Climbs from the job whose last child has gone.
local function removeIdle(key)
  while key and key ~= batchKey and redis.call('SCARD', key .. ':dependencies') == 0 do
    local queueKey, jobId = splitKey(key, prefix)
    local above = redis.call('HGET', key, 'parentKey')
    local set = queueKey and setOf(queueKey, jobId)
    if not set or not above then
      return
    end
    redis.call('ZREM', set, jobId)
    unlinkJob(key)
    if redis.call('SREM', above .. ':dependencies', key) == 1 and above == batchKey then
      count(1)
    end
    key = above
  end
end
-- From now on the job fails by its own deferred failure, not by that of a job below it.
local function keepFromFailing(key)
  local isRead, parent = pcall(cjson.decode, redis.call('HGET', key, 'parent') or '')
  if isRead and type(parent) == 'table' and parent.fpof then
    parent.fpof, parent.rdof = nil, true
    redis.call('HSET', key, 'parent', cjson.encode(parent))
  end
end
local function cancelBelow(key, owner)
  local queueKey, jobId = splitKey(key, prefix)
  if not queueKey or queueKey == batchesQueue then
    return
  end
  local became = cancelJob(key, queueKey, jobId, owner, deferral)
  if became == 'running' or became == 'waits' then
    keepFromFailing(key)
  end
  if became == 'waits' then
    goOnWith(key, 'dependencies')
  end
end
local function lookBelowFailed(key, owner)
  local below = redis.call('EXISTS', key .. ':dependencies', key .. ':unsuccessful', key .. ':failed')
  if below > 0 and redis.call('HGET', key, 'parentKey') == owner then
    goOnWith(key, 'dependencies')
  end
end
local SCAN = { dependencies = { 'SSCAN', 1 }, unsuccessful = { 'ZSCAN', 2 }, failed = { 'HSCAN', 2 } }
local function cancelPage(owner, collection, cursor)
  local command, step = unpack(SCAN[collection])
  local size = collection == 'failed' and ${SMALLEST_PAGE} or math.max(${SMALLEST_PAGE}, ${BUDGET} - used)
  local page = redis.call(command, owner .. ':' .. collection, cursor, 'COUNT', size)
  for i = 1, #page[2], step do
    pcall(collection == 'dependencies' and cancelBelow or lookBelowFailed, page[2][i], owner)
    used = used + 1
  end
  if collection == 'dependencies' and page[1] == '0' then
    for _, other in ipairs({ 'unsuccessful', 'failed' }) do
      if redis.call('EXISTS', owner .. ':' .. other) == 1 then
        goOnWith(owner, other)
      end
    end
    removeIdle(owner)
  end
  return page[1]
end
for i = 3, #ARGV, 5 do
  if used >= ${BUDGET} then
    break
  end
  used = used + ${COST_OF_AN_OWNER}
  id, nonce, batchKey = ARGV[i], ARGV[i + 1], batchesQueue .. ARGV[i]
  local owner, cursor = ARGV[i + 2], '0'
  local reason = cancelledReason(batchKey, nonce)
  if reason and isInBatch(owner) then
    deferral = deferralOf(nonce, reason)
    cursor = cancelPage(owner, ARGV[i + 3], ARGV[i + 4])
  end
  cursors[#cursors + 1] = cursor
end
noteDropped(KEYS[1])
return { 'cursors', cursors, 'found', found }`,
);

export type FlowPage = FlowNode & Page;

export async function cancelFlows(redis: BatchRedis, pages: readonly FlowPage[]): Promise<Advance<FlowPage, FlowNode>> {
  const reply = await redis.run(CANCEL_FLOWS, [
    ...[droppedKey(redis), batchesKey(redis, ''), redis.prefix],
    ...pages.flatMap(({ batchId, nonce, key, collection, cursor }) => [batchId, nonce, key, collection, cursor]),
  ]);
  const { cursors = [], found = [] } = named(reply) as Record<string, readonly string[]>;
  const nodes = rowsOf(found, 4).map(([batchId = '', nonce = '', key = '', collection]) => ({
    ...{ batchId, nonce, key },
    collection: collection as FlowNode['collection'],
  }));
  return { pages: continuedAt(pages, cursors), found: nodes };
}
