import type { BatchRedis } from './batch-redis.js';
import type { BatchDefinition, BatchEvent } from './definition.js';
import { EVENTS } from './definition.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_KEEP_DEFINITION, LUA_NOW, script } from './script.js';

/** The members of a batch by how they stand; the batch's own callbacks are in none of them. */
export interface Counts {
  readonly total: number;
  readonly pending: number;
  readonly succeeded: number;
  readonly failed: number;
  /** Removed by `cancel()`. */
  readonly cancelled: number;
}

/** `pending`: not enqueued yet; `enqueued`: waiting, running or retrying. */
export type CallbackState = 'pending' | 'enqueued' | 'succeeded' | 'failed';

export interface CallbackSnapshot {
  readonly event: BatchEvent;
  readonly index: number;
  readonly queue: string;
  readonly name: string;
  readonly jobId: string;
  readonly state: CallbackState;
  readonly failedReason: string | undefined;
}

/** Everything that is known of one batch at one instant. */
export interface Snapshot {
  readonly definition: BatchDefinition;
  readonly createdAt: number;
  readonly sealedAt: number | undefined;
  readonly completedAt: number | undefined;
  /** The counts when `complete` became due: what its callbacks are told. */
  readonly completedCounts: Counts | undefined;
  readonly finishedAt: number | undefined;
  /** How the batch job ended in BullMQ. */
  readonly ended: 'completed' | 'failed' | undefined;
  /** When the batch was given up because its producer was: its members settle, and it fails. */
  readonly abandonedAt: number | undefined;
  /** Ms for which it may stay open without a sign of life. */
  readonly openFor: number;
  readonly failedReason: string | undefined;
  /** Why one of its members failed: read when the batch is judged. */
  readonly anyFailure?: string | undefined;
  readonly cancelledAt: number | undefined;
  readonly cancelReason: string | undefined;
  /** When it was found that a member has failed for good, here or further down; that every member has run. */
  readonly diedAt: number | undefined;
  readonly attemptedAt: number | undefined;
  /** How many members failed for good, child batches that were cancelled apart. */
  readonly deaths: number;
  readonly counts: Counts;
  readonly callbacks: readonly CallbackSnapshot[];
}

/*
 * readBatch(jobKey, dependencies, processed, failed, completedSet, failedSet, prefix, id)
 * returns nil without a batch job (or for a job that somebody else put there), otherwise
 * { fields, { total, pending, succeeded, failed, cancelled }, callbacks, ended, openTimeout }.
 * `total` is never less than what is there: a job that somebody attached behind our back counts as a member.
 */
const LUA_READ_BATCH = `
local function readBatch(jobKey, dependencies, processed, failed, completedSet, failedSet, prefix, id)
  local fields = redis.call('HMGET', jobKey, 'data', 'timestamp', 'finishedOn', 'failedReason',
    '${FIELD.total}', '${FIELD.sealedAt}', '${FIELD.completedAt}', '${FIELD.completedCounts}', '${FIELD.abandonedAt}',
    '${FIELD.removed}', '${FIELD.cancelledAt}', '${FIELD.cancelReason}', '${FIELD.cancelled}',
    '${FIELD.cancelledChildren}', '${FIELD.diedAt}', '${FIELD.attemptedAt}', '${FIELD.definition}')
  if not fields[1] or fields[10] then
    return nil
  end
  -- What was put aside, and not twice: it travels with every reply.
  fields[1], fields[17] = fields[17] or fields[1], nil
  local pending = redis.call('SCARD', dependencies)
  local succeeded = redis.call('HLEN', processed)
  local lost = redis.call('HLEN', failed)
  local callbacks = {}
  -- What somebody else has put there may be nested more deeply than cjson reads.
  local isRead, definition = pcall(cjson.decode, fields[1])
  if not isRead or type(definition) ~= 'table' or definition.id ~= id then
    return nil
  end
  for _, event in ipairs({ ${EVENTS.map((event) => `'${event}'`).join(', ')} }) do
    for index, callback in ipairs(definition.on[event] or {}) do
      local jobId = id .. '~' .. event .. '~' .. (index - 1) .. '~' .. definition.nonce
      local key = prefix .. ':' .. callback.queue .. ':' .. jobId
      local state, reason = 'pending', ''
      if redis.call('HEXISTS', processed, key) == 1 then
        succeeded = succeeded - 1
        state = 'succeeded'
      end
      local failure = redis.call('HGET', failed, key)
      if failure then
        lost = lost - 1
        state, reason = 'failed', failure
      end
      if redis.call('SISMEMBER', dependencies, key) == 1 then
        pending = pending - 1
        state = redis.call('EXISTS', key) == 1 and 'enqueued' or 'pending'
      elseif state == 'pending' and redis.call('EXISTS', key) == 1 then
        -- Somebody detached it from its batch: its own outcome is all there is.
        local job = redis.call('HMGET', key, 'finishedOn', 'returnvalue', 'failedReason')
        state = not job[1] and 'enqueued' or job[2] and 'succeeded' or 'failed'
        reason = job[3] or ''
      end
      callbacks[#callbacks + 1] = { event, index - 1, callback.queue, callback.name, jobId, state, reason }
    end
  end
  local ended = redis.call('ZSCORE', completedSet, id) and 'completed' or redis.call('ZSCORE', failedSet, id) and 'failed' or ''
  local cancelled = tonumber(fields[13] or 0)
  local total = math.max(tonumber(fields[5] or 0), pending + succeeded + lost + cancelled)
  return { fields, { total, pending, succeeded, lost, cancelled }, callbacks, ended, definition.openTimeout }
end
`;

/**
 * KEYS: batch job, its dependencies, processed, failed; the batches queue's completed, failed.
 * ARGV: prefix, batch id.
 * Returns nil, or { fields, counts, callbacks, ended, ms that it may stay open }.
 */
const READ = script(
  'read',
  6,
  `${LUA_READ_BATCH}
return readBatch(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], ARGV[2])`,
);

/**
 * The decide step: the same, and `complete` is due, once and with its counts frozen, when every member is settled: whoever
 * takes over after a crash tells the callbacks the same numbers. For the holder of the batch job's lock, or, without a
 * token, for anybody. The holder also abandons an open batch whose producer has given no sign of life for too long.
 *
 * KEYS: as above. ARGV: prefix, batch id, lock token or ''.
 * Returns nil without a batch, 0 when the lock is not held (any more), -1 for a job that is no batch, -2 when the failures of a
 * cancelled batch have to be sorted first, or as above with one more: why a member failed, when all are settled.
 */
const DECIDE = script(
  'decide',
  6,
  `${LUA_NOW}${LUA_READ_BATCH}${LUA_KEEP_DEFINITION}
-- Why a member failed that is none of the batch's own callbacks, of which there are few.
local function anyFailure(failed, prefix, callbacks)
  local isCallback = {}
  for _, callback in ipairs(callbacks) do
    isCallback[prefix .. ':' .. callback[3] .. ':' .. callback[5]] = true
  end
  local cursor = '0'
  repeat
    local page = redis.call('HSCAN', failed, cursor, 'COUNT', 10)
    for i = 1, #page[2], 2 do
      if not isCallback[page[2][i]] then
        return string.sub(page[2][i + 1], 1, 1000)
      end
    end
    cursor = page[1]
  until cursor == '0'
end
if ARGV[3] ~= '' and redis.call('GET', KEYS[1] .. ':lock') ~= ARGV[3] then
  return redis.call('EXISTS', KEYS[1]) == 1 and 0 or nil
end
local batch = readBatch(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], ARGV[2])
if not batch then
  return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[1], '${FIELD.removed}') == 0 and -1 or nil
end
keepDefinition(KEYS[1])
if ARGV[3] ~= '' and not batch[1][6] and not batch[1][9] and not batch[1][11] then
  local since = redis.call('HGET', KEYS[1], '${FIELD.registeredAt}')
  if not since then
    -- Nothing was added yet, and the creation was timed by a clock that is not Redis's: start now.
    since = now()
    redis.call('HSET', KEYS[1], '${FIELD.registeredAt}', since)
  end
  batch[5] = batch[5] - (now() - tonumber(since))
  if batch[5] <= 0 then
    batch[1][9] = tostring(now())
    redis.call('HSET', KEYS[1], '${FIELD.abandonedAt}', batch[1][9])
  end
end
local isClosed = batch[1][6] or batch[1][9] or batch[1][11]
if batch[2][2] == 0 and redis.call('HEXISTS', KEYS[1], '${FIELD.deferred}') == 1 then
  return -2
end
if isClosed and not batch[1][7] and batch[2][2] == 0 then
  local counts = batch[2]
  batch[1][7] = tostring(now())
  batch[1][8] = cjson.encode(counts)
  redis.call('HSET', KEYS[1], '${FIELD.completedAt}', batch[1][7], '${FIELD.completedCounts}', batch[1][8])
end
batch[6] = isClosed and batch[2][2] == 0 and batch[2][4] > 0 and anyFailure(KEYS[4], ARGV[1], batch[3]) or ''
return batch`,
);

type Field = string | null;
type Row = readonly [
  event: BatchEvent,
  index: number,
  queue: string,
  name: string,
  jobId: string,
  CallbackState,
  reason: string,
];
type CountsReply = readonly [total: number, pending: number, succeeded: number, failed: number, cancelled: number];
type Reply = readonly [
  fields: readonly Field[],
  counts: CountsReply,
  callbacks: readonly Row[],
  ended: 'completed' | 'failed' | '',
  openFor: number,
  anyFailure?: string,
];

export async function readSnapshot(redis: BatchRedis, batchId: string): Promise<Snapshot | undefined> {
  const reply = await redis.run(READ, [...snapshotKeys(redis, batchId), redis.prefix, batchId]);
  return reply === null ? undefined : parseSnapshot(reply as Reply);
}

export async function decideSnapshot(
  redis: BatchRedis,
  batchId: string,
  token: string,
): Promise<Snapshot | 'lock lost' | 'no batch' | 'to be sorted' | undefined> {
  const reply = await redis.run(DECIDE, [...snapshotKeys(redis, batchId), redis.prefix, batchId, token]);
  if (reply === 0 || reply === -1) {
    return reply === 0 ? 'lock lost' : 'no batch';
  }
  if (reply === -2) {
    return 'to be sorted';
  }
  return reply === null ? undefined : parseSnapshot(reply as Reply);
}

/** The same without the lock, for a batch that does not wake because callbacks of its are still running. */
export async function settleSnapshot(redis: BatchRedis, batchId: string): Promise<Snapshot | undefined> {
  const snapshot = await decideSnapshot(redis, batchId, '');
  if (snapshot === 'to be sorted') {
    return readSnapshot(redis, batchId);
  }
  return typeof snapshot === 'object' ? snapshot : undefined;
}

function snapshotKeys(redis: BatchRedis, batchId: string): string[] {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  return [job, dependencies, processed, failed, batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
}

function parseSnapshot([fields, counts, callbacks, ended, openFor, anyFailure]: Reply): Snapshot {
  const [data, timestamp, finishedOn, failedReason, , sealedAt, completedAt, completedCounts, abandonedAt] = fields;
  const [cancelledAt, cancelReason, , cancelledChildren, diedAt, attemptedAt] = fields.slice(10);
  const parsedCounts = parseCounts(counts);
  return {
    definition: JSON.parse(data ?? '{}'),
    createdAt: Number(timestamp),
    sealedAt: time(sealedAt),
    completedAt: time(completedAt),
    completedCounts: completedCounts ? parseCounts(JSON.parse(completedCounts)) : undefined,
    finishedAt: ended === '' ? undefined : time(finishedOn),
    ended: ended === '' ? undefined : ended,
    failedReason: failedReason ?? undefined,
    anyFailure: anyFailure || undefined,
    abandonedAt: time(abandonedAt),
    openFor,
    cancelledAt: time(cancelledAt),
    cancelReason: cancelReason || undefined,
    diedAt: time(diedAt),
    attemptedAt: time(attemptedAt),
    deaths: Math.max(0, parsedCounts.failed - Number(cancelledChildren ?? 0)),
    counts: parsedCounts,
    callbacks: callbacks.map(([event, index, queue, name, jobId, state, reason]) => ({
      event,
      index,
      queue,
      name,
      jobId,
      state,
      failedReason: reason === '' ? undefined : reason,
    })),
  };
}

function parseCounts([total, pending, succeeded, failed, cancelled]: CountsReply): Counts {
  return { total, pending, succeeded, failed, cancelled };
}

function time(field: Field | undefined): number | undefined {
  return field ? Number(field) : undefined;
}
