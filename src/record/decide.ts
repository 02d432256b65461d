import { OPEN_TIMEOUT_MS } from '../model/definition.js';
import type { Snapshot } from '../model/snapshot.js';
import type { NewJob } from './adding-lua.js';
import type { BatchRedis } from './batch-redis.js';
import { LUA_ENQUEUE } from './enqueue-callbacks.js';
import { batchesKey, FIELD } from './keys.js';
import { LUA_IS_CLOSED, LUA_NOW, LUA_OWN_REASON, named, REASON_LENGTH, script } from './script.js';
import { SEARCHED_AT_ONCE, SEARCHED_EACH_TIME, searchForStrangers } from './search-strangers.js';
import { LUA_READ_BATCH, parseSnapshot, readSnapshot, snapshotKeys } from './snapshot.js';
import { sortCancelled } from './sort-cancelled.js';
import { FIRST_STAGE, LUA_REPORT, parseStartable, type StartableStages } from './stages.js';
import { LUA_IS_STRANGER } from './strangers.js';
import { LUA_TAKE_BACK } from './take-back.js';

/**
 * The decide step. It reads the batch; when every member is settled, it makes `complete` due, once, and freezes its
 * counts: a process that takes over after a crash gives the callbacks the same numbers. The holder of the batch job's
 * lock calls it with its token, any other process without one. The holder also abandons an open batch whose producer
 * has given no sign of life for its openTimeout.
 *
 * A batch in which everything went well is moved on here, which saves round trips: callbacks that the caller has
 * prepared are enqueued; a stage without callbacks reports its success to the stages after it.
 *
 * Before a batch is judged, its settled dependencies are searched for strangers (jobs that were attached by hand), each
 * of which would hide a missing member: here if they are few, otherwise by searchForStrangers(), for which the script
 * asks.
 *
 * KEYS: batch job, its dependencies, processed, failed; the batches queue's completed, failed.
 * ARGV: the prepared callbacks, see encodeRequest(). The request is { id, token (of the lock, or ''), prefix,
 * batchesKey (key prefix of the batches queue) } and, with callbacks, { definition (the SHA-1 of the definition that
 * they were made from), mark (the text in their data that stands for the number of members) }.
 *
 * Returns nil without a batch, or what answer() returns, with openFor (ms); with anyFailure (why a member failed) when
 * all are settled; and with startable, see reportOutcome(), of a stage whose success was reported. Or it returns a
 * word:
 * - 'lock lost': another process holds the batch job;
 * - 'waiting', to a holder: something is outstanding, if only the callbacks that this script has just enqueued;
 * - 'no batch': the job is none;
 * - nothing was decided, because something has to come first: 'search', a search for strangers; 'sort', that of a
 *   cancelled batch's failures; 'recall', this script once more, which takes back, part by part, what a stage has
 *   reported that had ended and runs again.
 */
const DECIDE = script(
  'decide',
  6,
  `${LUA_NOW}${LUA_READ_BATCH}${LUA_IS_STRANGER}${LUA_IS_CLOSED}${LUA_OWN_REASON}${LUA_ENQUEUE}
local id, token, prefix, batchesKey = request.id, request.token, request.prefix, request.batchesKey
if token ~= '' and redis.call('GET', KEYS[1] .. ':lock') ~= token then
  return redis.call('EXISTS', KEYS[1]) == 1 and 'lock lost' or nil
end
local outcome, openTimeout, searched, registeredAt, when = unpack(redis.call('HMGET', KEYS[1], '${FIELD.outcome}',
  '${FIELD.openTimeout}', '${FIELD.searchedForStrangers}', '${FIELD.registeredAt}', '${FIELD.when}'))
if token ~= '' and outcome then
  -- Here, so that only a stage that has ended before pays for the definition of these functions.
  ${LUA_TAKE_BACK}
  recall(batchesKey, KEYS[1])
  if redis.call('HEXISTS', KEYS[1], '${FIELD.outcome}') == 1 then
    return 'recall'
  end
end
if token ~= '' and redis.call('SCARD', KEYS[2]) > 0 then
  return 'waiting'
end
local batch = readBatch(KEYS, id)
if not batch then
  local isRemoved = redis.call('HEXISTS', KEYS[1], '${FIELD.removal}') == 1
  return redis.call('EXISTS', KEYS[1]) == 1 and not isRemoved and 'no batch' or nil
end
openTimeout = openTimeout or '${OPEN_TIMEOUT_MS}'
batch.openFor = openTimeout
if token ~= '' and not batch.sealedAt and not batch.abandonedAt and not batch.cancelledAt then
  if not registeredAt then
    -- Nothing was added yet, and the creation was timed by a clock that is not Redis's: start now.
    registeredAt = now()
    redis.call('HSET', KEYS[1], '${FIELD.registeredAt}', registeredAt)
  end
  local left = tonumber(openTimeout) - (now() - tonumber(registeredAt))
  batch.openFor = tostring(left)
  if left <= 0 then
    batch.abandonedAt = tostring(now())
    redis.call('HSET', KEYS[1], '${FIELD.abandonedAt}', batch.abandonedAt)
  end
end
if batch.pending == 0 and batch.deferred then
  return 'sort'
end
local isSettled = isClosed(KEYS[1]) and batch.pending == 0
local settled = batch.succeeded + batch.failed
if isSettled and searched ~= tostring(settled) then
  if redis.call('HLEN', KEYS[3]) + redis.call('HLEN', KEYS[4]) > ${SEARCHED_AT_ONCE} then
    return 'search'
  end
  local found = batch.strangers
  for _, collection in ipairs({ KEYS[3], KEYS[4] }) do
    for _, key in ipairs(redis.call('HKEYS', collection)) do
      if not batch.notMembers[key] and isStranger(key, prefix, batchesKey, id, batch.nonce) then
        found = found and found .. '\\n' .. key or key
      end
    end
  end
  if found ~= batch.strangers then
    redis.call('HSET', KEYS[1], '${FIELD.strangers}', found)
    local openFor, abandonedAt = batch.openFor, batch.abandonedAt
    batch = readBatch(KEYS, id)
    batch.openFor, batch.abandonedAt = openFor, abandonedAt
  end
  if settled > ${SEARCHED_EACH_TIME} then
    redis.call('HSET', KEYS[1], '${FIELD.searchedForStrangers}', batch.succeeded + batch.failed)
  end
end
local isSkipped = batch.skippedAt and (not batch.cancelledAt or batch.ended == 'completed')
if isSettled and not batch.completedAt and not isSkipped then
  batch.completedAt = tostring(now())
  batch.completedCounts = cjson.encode(batch.counts)
  redis.call('HSET', KEYS[1], '${FIELD.completed}', batch.completedAt .. ' ' .. batch.completedCounts)
end
if isSettled and batch.failed > 0 then
  local cursor = '0'
  repeat
    local page = redis.call('HSCAN', KEYS[4], cursor, 'COUNT', 1)
    for i = 1, #page[2], 2 do
      if not batch.notMembers[page[2][i]] then
        batch.anyFailure = beginning(ownReason(prefix, page[2][i + 1]), ${REASON_LENGTH})
        break
      end
    end
    cursor = page[1]
  until cursor == '0' or batch.anyFailure
end
local isFlawless = isSettled and batch.sealedAt and not batch.abandonedAt and not batch.cancelledAt
  and not batch.skippedAt and not batch.diedAt and #batch.callbacks == 0 and batch.succeeded == batch.total
local function hasCallbacks()
  return next(cjson.decode(batch.definition).on) ~= nil
end
if token ~= '' and isFlawless and when and not hasCallbacks() then
  -- Here, so that only stages pay for the definition of these functions.
  ${LUA_REPORT}
  batch.startable, batch.next = reportOutcome(batchesKey, KEYS[1], 'succeeded', ${FIRST_STAGE})
end
-- Not if complete became due before members were retried: its callbacks get the counts of that moment.
if jobCount > 0 and isFlawless and batch.completedCounts == cjson.encode(batch.counts)
  and redis.sha1hex(batch.definition) == request.definition then
  local wanted = {}
  for i = 1, jobCount do
    -- The mark has no character that is special in a pattern.
    ARGV[firstJob + 2 * i - 1] = string.gsub(jobDataAt(i), request.mark, string.format('%d', batch.total))
    wanted[i] = i
  end
  -- What could not be stored is still due: the caller enqueues it in its next turn, or reports the error.
  if not enqueue(KEYS[1], '', wanted) then
    return 'waiting'
  end
end
return answer(batch)`,
);

/** What the decide step has found. */
export interface Decision {
  readonly snapshot: Snapshot;
  /** Only if the decide step has reported the success of a stage: the stages that can start by it. */
  readonly reported?: StartableStages | undefined;
}

/** The callbacks that are due first if everything goes well, made before that is known. */
export interface PreparedCallbacks {
  readonly jobs: readonly NewJob[];
  /** The SHA-1 of the definition that they were made from. */
  readonly definition: string;
  /** The text in their data that stands for the number of members. */
  readonly mark: string;
}

/**
 * Runs the decide step until it has decided.
 *
 * @param token the lock token of the batch job; '' for a process that does not hold it.
 * @param prepared callbacks that are enqueued in the same step if everything has gone well.
 * @returns undefined when there is no such batch, or it is being removed.
 */
export async function decide(
  redis: BatchRedis,
  batchId: string,
  token: string,
  prepared?: PreparedCallbacks,
): Promise<Decision | 'lock lost' | 'waiting' | 'no batch' | undefined> {
  let isSorted = false;
  for (;;) {
    const reply = await runDecide(redis, batchId, token, prepared);
    if (reply === 'search') {
      await searchForStrangers(redis, batchId);
    } else if (reply === 'sort' && isSorted && token === '') {
      // Too many dependencies that are no members are outstanding for a look at each: the batch is judged when its job
      // wakes, and nothing is outstanding.
      const snapshot = await readSnapshot(redis, batchId);
      return snapshot && { snapshot };
    } else if (reply === 'sort') {
      await sortCancelled(redis, batchId);
      isSorted = true;
    } else if (typeof reply === 'string' && reply !== 'recall') {
      return reply as 'lock lost' | 'waiting' | 'no batch';
    } else if (reply === null) {
      return undefined;
    } else if (reply !== 'recall') {
      const found = named(reply);
      return {
        snapshot: parseSnapshot(redis, found),
        reported: found.startable === undefined ? undefined : parseStartable(found),
      };
    }
  }
}

function runDecide(
  redis: BatchRedis,
  id: string,
  token: string,
  { jobs = [], ...madeFrom }: Partial<PreparedCallbacks> = {},
): Promise<unknown> {
  const request = { id, token, prefix: redis.prefix, batchesKey: batchesKey(redis, ''), ...madeFrom };
  return redis.runAdding(DECIDE, jobs, snapshotKeys(redis, id), request);
}

/** Runs the decide step without the lock, for a batch that does not wake because callbacks of it are still running. */
export async function settleSnapshot(redis: BatchRedis, batchId: string): Promise<Snapshot | undefined> {
  const decision = await decide(redis, batchId, '');
  return typeof decision === 'object' ? decision.snapshot : undefined;
}
