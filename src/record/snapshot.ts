import { type BatchDefinition, callbacksOf } from '../model/definition.js';
import { plainReason } from '../model/rules.js';
import type { CallbackSnapshot, CallbackState, Counts, Snapshot } from '../model/snapshot.js';
import type { BatchLife } from './add-members.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, jobKey } from './keys.js';
import { LUA_BEGINNING, LUA_IS_CLOSED, LUA_NOW, LUA_OWN_REASON, named, script } from './script.js';
import { setField } from './set-field.js';
import { sortCancelled } from './sort-cancelled.js';
import { LUA_REPORT, parseStartable, type StartableStage } from './stages.js';
import { LUA_IS_STRANGER } from './strangers.js';

/** How many settled members one step may look at for strangers. */
const SEARCHED_AT_ONCE = 500;

/** How many strangers are kept apart from members; further ones count as members. */
const MOST_STRANGERS = 100;

/** How many bytes of a failure reason are read. */
const REASON_LENGTH = 1000;

/*
 * Lua: readBatch(KEYS, prefix, id) returns nil without a batch, or a table with the fields of the batch's hash, its
 * counts, the state of the callbacks that were enqueued, and what the counts consist of. A callback that was enqueued
 * and is in no collection of the batch was detached from it, if its job exists; otherwise it vanished before it ran,
 * and is due again. Callbacks and known strangers are in none of the counts. `total` is never less than what is there.
 */
const LUA_READ_BATCH = `${LUA_BEGINNING}
local function lines(text)
  return string.gmatch(text or '', '[^\\n]+')
end
local function readBatch(keys, id)
  local values = redis.call('HMGET', keys[1], '${FIELD.definition}', '${FIELD.nonce}', 'timestamp', 'finishedOn',
    'failedReason', '${FIELD.total}', '${FIELD.sealedAt}', '${FIELD.completedAt}', '${FIELD.completedCounts}',
    '${FIELD.abandonedAt}', '${FIELD.removal}', '${FIELD.cancelledAt}', '${FIELD.cancelReason}', '${FIELD.cancelled}',
    '${FIELD.cancelledChildren}', '${FIELD.diedAt}', '${FIELD.attemptedAt}', '${FIELD.enqueued}', '${FIELD.strangers}',
    '${FIELD.deferred}', '${FIELD.childCount}', '${FIELD.startedAt}', '${FIELD.skippedAt}')
  if not values[1] or values[11] then
    return nil
  end
  local batch = { definition = values[1], nonce = values[2], createdAt = values[3], finishedOn = values[4],
    failedReason = values[5], sealedAt = values[7], completedAt = values[8], completedCounts = values[9],
    abandonedAt = values[10], cancelledAt = values[12], cancelReason = values[13], cancelledChildren = values[15],
    diedAt = values[16], attemptedAt = values[17], strangers = values[19], deferred = values[20],
    childCount = values[21],
    startedAt = values[22], skippedAt = values[23], callbacks = {} }
  local pending = redis.call('SCARD', keys[2])
  local succeeded, failed = redis.call('HLEN', keys[3]), redis.call('HLEN', keys[4])
  batch.version = table.concat({ pending, succeeded, failed, values[6] or 0, values[12] or '' }, ' ')
  batch.notMembers = {}
  for key in lines(values[18]) do
    local state, reason
    local failure = redis.call('HGET', keys[4], key)
    if redis.call('HEXISTS', keys[3], key) == 1 then
      succeeded = succeeded - 1
      state = 'succeeded'
    end
    if failure then
      failed = failed - 1
      state, reason = 'failed', failure
    end
    if redis.call('SISMEMBER', keys[2], key) == 1 then
      pending = pending - 1
      state = redis.call('EXISTS', key) == 1 and 'enqueued' or 'pending'
    elseif not state then
      local job = redis.call('HMGET', key, 'timestamp', 'finishedOn', 'returnvalue', 'failedReason')
      state = not job[1] and 'pending' or not job[2] and 'enqueued' or job[3] and 'succeeded' or 'failed'
      reason = job[4]
    end
    batch.notMembers[key] = true
    for _, value in ipairs({ key, state, beginning(reason or '', ${REASON_LENGTH}) }) do
      batch.callbacks[#batch.callbacks + 1] = value
    end
  end
  for key in lines(values[19]) do
    batch.notMembers[key] = true
    pending = pending - redis.call('SISMEMBER', keys[2], key)
    succeeded = succeeded - redis.call('HEXISTS', keys[3], key)
    failed = failed - redis.call('HEXISTS', keys[4], key)
  end
  batch.ended = redis.call('ZSCORE', keys[5], id) and 'completed' or redis.call('ZSCORE', keys[6], id) and 'failed'
  local cancelled = tonumber(values[14] or 0)
  batch.pending, batch.succeeded, batch.failed, batch.cancelled = pending, succeeded, failed, cancelled
  batch.total = math.max(tonumber(values[6] or 0), pending + succeeded + failed + cancelled)
  batch.counts = { batch.total, pending, succeeded, failed, cancelled }
  return batch
end
-- What a caller gets: names and values, without those that are missing.
local function answer(batch)
  local reply = { 'counts', batch.counts, 'callbacks', batch.callbacks }
  for _, name in ipairs({ 'definition', 'createdAt', 'finishedOn', 'failedReason', 'sealedAt', 'completedAt',
    'completedCounts', 'abandonedAt', 'cancelledAt', 'cancelReason', 'cancelledChildren', 'diedAt', 'attemptedAt',
    'strangers', 'deferred', 'startedAt', 'skippedAt', 'version', 'ended', 'openFor', 'anyFailure', 'childCount',
    'startable' }) do
    if batch[name] then
      reply[#reply + 1] = name
      reply[#reply + 1] = batch[name]
    end
  end
  return reply
end
`;

/**
 * KEYS: batch job, its dependencies, processed, failed; the batches queue's completed, failed.
 * ARGV: batch id.
 * Returns nil without a batch, or what answer() returns.
 */
const READ = script(
  'read',
  6,
  `${LUA_READ_BATCH}
local batch = readBatch(KEYS, ARGV[1])
return batch and answer(batch)`,
);

/**
 * The decide step. It reads the batch; when every member is settled, it makes `complete` due, once, and freezes its
 * counts: a process that takes over after a crash gives the callbacks the same numbers. The holder of the batch job's
 * lock calls it with its token, any other process without one. The holder also abandons an open batch whose producer
 * has given no sign of life for too long; and of a stage that is to succeed at once, because it has no callbacks and
 * every member succeeded, the stages after it are told here, which saves a round trip per stage.
 *
 * Before the members of a batch are judged, the settled ones are searched for strangers, each of which would hide a
 * missing member: in this script if they are few, otherwise by SEARCH, which this script then asks for.
 *
 * KEYS: batch job, its dependencies, processed, failed; the batches queue's completed, failed.
 * ARGV: batch id, lock token or '', key prefix of all queues, key prefix of the batches queue.
 * Returns nil without a batch, 'lock lost', 'waiting' for a holder of a batch with anything outstanding, 'no batch' for
 * a job that is none, 'search' or, for the failures of a cancelled batch, 'sort' (nothing was decided), or what answer()
 * says, with openFor (ms), with anyFailure (why a member failed) when all are settled, and with startable, see
 * reportOutcome, of a stage whose success was reported.
 */
const DECIDE = script(
  'decide',
  6,
  `${LUA_NOW}${LUA_READ_BATCH}${LUA_IS_STRANGER}${LUA_IS_CLOSED}${LUA_OWN_REASON}
local id, token, prefix, batchesKey = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if token ~= '' and redis.call('GET', KEYS[1] .. ':lock') ~= token then
  return redis.call('EXISTS', KEYS[1]) == 1 and 'lock lost' or nil
end
if token ~= '' and redis.call('SCARD', KEYS[2]) > 0 then
  return 'waiting'
end
local batch = readBatch(KEYS, id)
if not batch then
  local isRemoved = redis.call('HEXISTS', KEYS[1], '${FIELD.removal}') == 1
  return redis.call('EXISTS', KEYS[1]) == 1 and not isRemoved and 'no batch' or nil
end
local openTimeout = tonumber(redis.call('HGET', KEYS[1], '${FIELD.openTimeout}'))
batch.openFor = tostring(openTimeout)
if token ~= '' and not batch.sealedAt and not batch.abandonedAt and not batch.cancelledAt then
  local since = redis.call('HGET', KEYS[1], '${FIELD.registeredAt}')
  if not since then
    -- Nothing was added yet, and the creation was timed by a clock that is not Redis's: start now.
    since = now()
    redis.call('HSET', KEYS[1], '${FIELD.registeredAt}', since)
  end
  local left = openTimeout - (now() - tonumber(since))
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
if isSettled and redis.call('HGET', KEYS[1], '${FIELD.searchedForStrangers}') ~= tostring(settled) then
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
  redis.call('HSET', KEYS[1], '${FIELD.searchedForStrangers}', batch.succeeded + batch.failed)
end
if isSettled and not batch.completedAt and not batch.skippedAt then
  batch.completedAt = tostring(now())
  batch.completedCounts = cjson.encode(batch.counts)
  redis.call('HSET', KEYS[1], '${FIELD.completedAt}', batch.completedAt,
    '${FIELD.completedCounts}', batch.completedCounts)
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
local function isFlawless()
  return batch.sealedAt and not batch.cancelledAt and not batch.skippedAt and #batch.callbacks == 0
    and batch.succeeded == batch.total and next(cjson.decode(batch.definition).on) == nil
end
if token ~= '' and isSettled and redis.call('HEXISTS', KEYS[1], '${FIELD.when}') == 1 and isFlawless() then
  ${LUA_REPORT}
  batch.startable = reportOutcome(batchesKey, KEYS[1], 'succeeded')
end
return answer(batch)`,
);

/**
 * Searches a page of the settled members of a batch for jobs that were attached to it by hand, and notes them.
 *
 * KEYS: batch job; its processed or failed.
 * ARGV: nonce, cursor, how many to look at, batch id, key prefix of all queues, key prefix of the batches queue.
 * Returns the next cursor.
 */
const SEARCH = script(
  'searchForStrangers',
  2,
  `${LUA_IS_STRANGER}
local batch = redis.call('HMGET', KEYS[1], '${FIELD.nonce}', '${FIELD.enqueued}', '${FIELD.strangers}')
if batch[1] ~= ARGV[1] then
  return '0'
end
local known = '\\n' .. (batch[2] or '') .. '\\n' .. (batch[3] or '') .. '\\n'
local found, _, count = batch[3] or '', string.gsub(batch[3] or '', '\\n', '')
local page = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
  local key = page[2][i]
  if count < ${MOST_STRANGERS} and isStranger(key, ARGV[5], ARGV[6], ARGV[4], ARGV[1])
    and not string.find(known, '\\n' .. key .. '\\n', 1, true) then
    found = found == '' and key or found .. '\\n' .. key
    known = known .. key .. '\\n'
    count = count + 1
  end
end
if found ~= (batch[3] or '') then
  redis.call('HSET', KEYS[1], '${FIELD.strangers}', found)
end
return page[1]`,
);

type CountsReply = readonly [total: number, pending: number, succeeded: number, failed: number, cancelled: number];

export async function readSnapshot(redis: BatchRedis, batchId: string): Promise<Snapshot | undefined> {
  const reply = await redis.run(READ, [...snapshotKeys(redis, batchId), batchId]);
  return reply === null ? undefined : parseSnapshot(redis, named(reply));
}

/** What the decide step has found. */
export interface Decision {
  readonly snapshot: Snapshot;
  /** Of a stage whose success was told to those after it: those that can start now. */
  readonly startable?: readonly StartableStage[] | undefined;
}

export async function decide(
  redis: BatchRedis,
  batchId: string,
  token: string,
): Promise<Decision | 'lock lost' | 'waiting' | 'no batch' | undefined> {
  const args = [...snapshotKeys(redis, batchId), batchId, token, redis.prefix, batchesKey(redis, '')];
  let isSorted = false;
  for (;;) {
    const reply = await redis.run(DECIDE, args);
    if (reply === 'search') {
      await searchForStrangers(redis, batchId);
    } else if (reply === 'sort' && isSorted && token === '') {
      // With this many dependencies beside members, only the wake of the batch job, with nothing outstanding, can judge
      // the batch.
      const snapshot = await readSnapshot(redis, batchId);
      return snapshot && { snapshot };
    } else if (reply === 'sort') {
      await sortCancelled(redis, batchId);
      isSorted = true;
    } else if (typeof reply === 'string') {
      return reply as 'lock lost' | 'waiting' | 'no batch';
    } else if (reply === null) {
      return undefined;
    } else {
      const found = named(reply);
      return {
        snapshot: parseSnapshot(redis, found),
        startable: found.startable === undefined ? undefined : parseStartable(found.startable),
      };
    }
  }
}

/** Runs the decide step without the lock, for a batch that does not wake because callbacks of it are still running. */
export async function settleSnapshot(redis: BatchRedis, batchId: string): Promise<Snapshot | undefined> {
  const decision = await decide(redis, batchId, '');
  return typeof decision === 'object' ? decision.snapshot : undefined;
}

/** Searches all settled members for strangers, and notes that it has, unless members were settled meanwhile. */
async function searchForStrangers(redis: BatchRedis, batchId: string): Promise<void> {
  const before = await readSnapshot(redis, batchId);
  if (before === undefined) {
    return;
  }
  const { processed, failed } = batchKeys(redis, batchId);
  await searchCollection(redis, before.definition, processed);
  await searchCollection(redis, before.definition, failed);
  const after = await readSnapshot(redis, batchId);
  if (after !== undefined && after.version === before.version) {
    await setField(redis, after.definition, 'searchedForStrangers', after.counts.succeeded + after.counts.failed);
  }
}

/** Searches the failed members for jobs that were attached to the batch by hand: their failures do not count. */
export async function searchFailures(redis: BatchRedis, batch: BatchLife): Promise<void> {
  await searchCollection(redis, batch, batchKeys(redis, batch.id).failed);
}

async function searchCollection(redis: BatchRedis, { id, nonce }: BatchLife, collection: string): Promise<void> {
  const { job } = batchKeys(redis, id);
  const place = [id, redis.prefix, batchesKey(redis, '')];
  let cursor = '0';
  do {
    cursor = String(await redis.run(SEARCH, [job, collection, nonce, cursor, SEARCHED_AT_ONCE, ...place]));
  } while (cursor !== '0');
}

function snapshotKeys(redis: BatchRedis, batchId: string): string[] {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  return [job, dependencies, processed, failed, batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
}

function parseSnapshot({ prefix }: BatchRedis, reply: Readonly<Record<string, unknown>>): Snapshot {
  const text = (name: string) => (reply[name] === undefined ? undefined : String(reply[name]));
  const time = (name: string) => (reply[name] === undefined ? undefined : Number(reply[name]));
  const definition: BatchDefinition = JSON.parse(String(reply.definition));
  const counts = parseCounts(reply.counts as CountsReply);
  const completedCounts = text('completedCounts');
  const ended = text('ended') as Snapshot['ended'];
  return {
    definition,
    createdAt: Number(reply.createdAt),
    sealedAt: time('sealedAt'),
    completedAt: time('completedAt'),
    completedCounts: completedCounts === undefined ? undefined : parseCounts(JSON.parse(completedCounts)),
    finishedAt: ended === undefined ? undefined : time('finishedOn'),
    ended,
    failedReason: text('failedReason'),
    anyFailure: text('anyFailure'),
    abandonedAt: time('abandonedAt'),
    openFor: time('openFor') ?? definition.openTimeout,
    cancelledAt: time('cancelledAt'),
    cancelReason: text('cancelReason') || undefined,
    startedAt: time('startedAt'),
    skippedAt: time('skippedAt'),
    diedAt: time('diedAt'),
    attemptedAt: time('attemptedAt'),
    deaths: reply.deferred === undefined ? Math.max(0, counts.failed - (time('cancelledChildren') ?? 0)) : 0,
    isToBeSorted: reply.deferred !== undefined,
    counts,
    childCount: Number(reply.childCount ?? 0),
    callbacks: parseCallbacks(prefix, definition, reply.callbacks as readonly string[]),
    strangers: (text('strangers') ?? '').split('\n').filter((key) => key !== ''),
    version: String(reply.version),
  };
}

/**
 * Returns all callbacks of the definition with their state. The script reports the state of those that were enqueued;
 * the others are pending.
 */
function parseCallbacks(prefix: string, definition: BatchDefinition, flat: readonly string[]): CallbackSnapshot[] {
  const enqueued = new Map<string, { readonly state: CallbackState; readonly reason: string }>();
  for (let i = 0; i + 2 < flat.length; i += 3) {
    enqueued.set(flat[i] ?? '', { state: flat[i + 1] as CallbackState, reason: flat[i + 2] ?? '' });
  }
  return callbacksOf(definition.id, definition).map(({ event, index, callback: { queue, name }, jobId }) => {
    const { state = 'pending', reason = '' } = enqueued.get(jobKey(prefix, queue, jobId)) ?? {};
    return { event, index, queue, name, jobId, state, failedReason: reason === '' ? undefined : plainReason(reason) };
  });
}

function parseCounts([total, pending, succeeded, failed, cancelled]: CountsReply): Counts {
  const missing = total - pending - succeeded - failed - cancelled;
  return { total, pending, succeeded, failed, cancelled, missing };
}
