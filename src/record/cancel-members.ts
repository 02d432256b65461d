import type { BatchRedis } from './batch-redis.js';
import { type Advance, type CancelledBatch, continuedAt, type Page } from './cancel.js';
import { LUA_CANCEL_JOB } from './deferral.js';
import { batchesKey, batchKeys, droppedKey, FIELD } from './keys.js';
import { LUA_SCAN_PLACE } from './scan-place.js';
import { LUA_FREES_MEMORY, LUA_IS_OWN_CALLBACK, LUA_WAKE, named, rowsOf, script } from './script.js';
import { LUA_IS_STRANGER } from './strangers.js';

/** How many jobs one command looks at. It takes 2 to 3 ms of Redis's time when all of them are removed. */
const BUDGET = 125;
/** What a batch, or a job of a flow, adds to the cost of a command, in jobs. */
const COST_OF_AN_OWNER = 5;
const SMALLEST_PAGE = 10;
/** More levels than a flow can have that was added as one: a deeper chain is a circle made by hand. */
const MOST_LEVELS = 500;

/** A job whose children are to be cancelled, and one of the collections in which BullMQ keeps them. */
export interface FlowNode extends CancelledBatch {
  /** The key of the batch job, or of a job of a flow in the batch. */
  readonly key: string;
  readonly collection: 'dependencies' | 'unsuccessful' | 'failed';
}

export interface CancelPage extends FlowNode, Page {
  /** Whether a job among those that were looked at has still to end. */
  readonly isOutstanding: boolean;
}

/**
 * Cancels the pending members of cancelled batches, or the jobs below them, one bounded part; see LUA_CANCEL_JOB. Child
 * batches, callbacks and strangers are left alone. A job that waits for children is an ordinary BullMQ job at every
 * instant: when its last child is removed, it is removed in the same step; when its last child ends by itself, the job
 * runs into its deferred failure.
 *
 * KEYS: registry of dropped jobs.
 * ARGV: key prefix of the batches queue, key prefix of all queues, then per job whose children are to be cancelled the
 * batch's id and nonce, the key of the job, which of its collections, the place in it, and '1' when a child is known
 * to be outstanding.
 * Returns cursors, of as many jobs as it came to; outstanding, of each '1' or ''; found: batch's id, nonce, key and
 * collection to go on with.
 */
const CANCEL_MEMBERS = script(
  'cancelMembers',
  1,
  `${LUA_FREES_MEMORY}${LUA_WAKE}${LUA_IS_OWN_CALLBACK}${LUA_IS_STRANGER}${LUA_CANCEL_JOB}${LUA_SCAN_PLACE}
local batchesQueue, prefix = ARGV[1], ARGV[2]
local used, cursors, outstanding, found = 0, {}, {}, {}
local id, nonce, batchKey, deferral
local function goOnWith(key, collection)
  found[#found + 1], found[#found + 2], found[#found + 3], found[#found + 4] = id, nonce, key, collection
end
-- The reason of this life of the batch, '' without one; nil when it is not cancelled.
local function cancelledReason()
  local batch = redis.call('HMGET', batchKey, '${FIELD.nonce}', '${FIELD.cancelledAt}', '${FIELD.cancelReason}')
  return batch[1] == nonce and batch[2] and (batch[3] or '') or nil
end
local function isInBatch(key)
  for _ = 1, ${MOST_LEVELS} do
    if key == batchKey then
      return true
    end
    key = redis.call('HGET', key, 'parentKey')
    if not key then
      return false
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
-- From now on the job above fails by its own deferred failure: neither by that of this job, nor does it wait for ever
-- when this job fails, as it does for one that was added to it by hand.
local function releaseAbove(key)
  local isRead, parent = pcall(cjson.decode, redis.call('HGET', key, 'parent') or '')
  if isRead and type(parent) == 'table' and not (parent.idof or parent.cpof or parent.rdof) then
    parent.fpof, parent.rdof = nil, true
    redis.call('HSET', key, 'parent', cjson.encode(parent))
  end
end
local function cancelChild(key, owner)
  local queueKey, jobId = splitKey(key, prefix)
  local isMember = owner == batchKey
  if not queueKey or queueKey == batchesQueue or isMember
    and (isStranger(key, prefix, batchesQueue, id, nonce) or isOwnCallback(jobId, id, nonce)) then
    return nil
  end
  local became = cancelJob(key, queueKey, jobId, owner, deferral)
  if not isMember and (became == 'running' or became == 'waits') then
    releaseAbove(key)
  elseif not isMember and not became and redis.call('HEXISTS', key, 'finishedOn') == 1 then
    redis.call('SREM', owner .. ':dependencies', key)
  end
  if became == 'waits' then
    goOnWith(key, 'dependencies')
  end
  return became
end
local function lookBelowFailed(key, owner)
  local below = redis.call('EXISTS', key .. ':dependencies', key .. ':unsuccessful', key .. ':failed')
  if below > 0 and redis.call('HGET', key, 'parentKey') == owner then
    goOnWith(key, 'dependencies')
  end
end
local SCAN = { dependencies = { 'SSCAN', 1 }, unsuccessful = { 'ZSCAN', 2 }, failed = { 'HSCAN', 2 } }
local function cancelPage(owner, collection, place)
  local command, step = unpack(SCAN[collection])
  local size = collection == 'failed' and ${SMALLEST_PAGE} or math.max(${SMALLEST_PAGE}, ${BUDGET} - used)
  local page = redis.call(command, owner .. ':' .. collection, cursorAt(place), 'COUNT', size)
  local cancelled, deferred = 0, nil
  for i = 1, #page[2], step do
    -- A key that holds no job, by whatever accident, does not keep the others from being cancelled.
    local _, became = pcall(collection == 'dependencies' and cancelChild or lookBelowFailed, page[2][i], owner)
    if became == 'cancelled' then
      cancelled = cancelled + 1
    elseif became == 'running' or became == 'waits' then
      deferred = page[2][i]
    end
    used = used + 1
  end
  if owner == batchKey then
    if deferred then
      redis.call('HSET', batchKey, '${FIELD.deferred}', deferred)
    end
    if cancelled > 0 then
      count(cancelled)
    end
  elseif collection == 'dependencies' and page[1] == '0' then
    for _, other in ipairs({ 'unsuccessful', 'failed' }) do
      if redis.call('EXISTS', owner .. ':' .. other) == 1 then
        goOnWith(owner, other)
      end
    end
    removeIdle(owner)
  end
  return placeOf(page[1]), deferred ~= nil
end
for i = 3, #ARGV, 6 do
  if used >= ${BUDGET} then
    break
  end
  used = used + ${COST_OF_AN_OWNER}
  id, nonce, batchKey = ARGV[i], ARGV[i + 1], batchesQueue .. ARGV[i]
  local owner, cursor, isOutstanding = ARGV[i + 2], '0', ARGV[i + 5] == '1'
  local reason = cancelledReason()
  if reason and isInBatch(owner) then
    deferral = deferralOf(nonce, reason)
    local isDeferred
    cursor, isDeferred = cancelPage(owner, ARGV[i + 3], ARGV[i + 4])
    isOutstanding = isOutstanding or isDeferred
  end
  cursors[#cursors + 1] = cursor
  outstanding[#outstanding + 1] = isOutstanding and '1' or ''
end
noteDropped(KEYS[1])
return { 'cursors', cursors, 'outstanding', outstanding, 'found', found }`,
);

/** Cancels a further part of the children on these pages, and finds those that wait for jobs below them. */
export async function cancelMembers(
  redis: BatchRedis,
  pages: readonly CancelPage[],
): Promise<Advance<CancelPage, FlowNode>> {
  const reply = await redis.run(CANCEL_MEMBERS, [
    ...[droppedKey(redis), batchesKey(redis, ''), redis.prefix],
    ...pages.flatMap(({ batchId, nonce, key, collection, cursor, isOutstanding }) => [
      ...[batchId, nonce, key, collection, cursor, isOutstanding ? '1' : ''],
    ]),
  ]);
  const { cursors = [], outstanding = [], found = [] } = named(reply) as Record<string, readonly string[]>;
  return {
    pages: continuedAt(pages, cursors).map((page, i) => ({ ...page, isOutstanding: outstanding[i] === '1' })),
    found: flowNodes(found),
  };
}

/** Returns where the members of a batch are. */
export function membersNode(redis: BatchRedis, batch: CancelledBatch): FlowNode {
  return { ...batch, key: batchKeys(redis, batch.batchId).job, collection: 'dependencies' };
}

/** Parses a flat list of id, nonce, key and collection. */
export function flowNodes(reply: unknown): FlowNode[] {
  return rowsOf(reply, 4).map(([batchId = '', nonce = '', key = '', collection]) => ({
    ...{ batchId, nonce, key },
    collection: collection as FlowNode['collection'],
  }));
}
