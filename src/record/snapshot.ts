import { type BatchDefinition, openTimeoutOf } from '../model/definition.js';
import { plainReason } from '../model/rules.js';
import {
  type CallbackSnapshot,
  type CallbackState,
  type MemberCounts,
  pendingCallbacks,
  type Snapshot,
} from '../model/snapshot.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, jobKey } from './keys.js';
import { LUA_BEGINNING, LUA_VERSION, type NamedReply, named, REASON_LENGTH, rowsOf, script } from './script.js';

/** The fields that readBatch() reads, by the names that they get there. */
const FIELDS = {
  definition: FIELD.definition,
  nonce: FIELD.nonce,
  createdAt: 'timestamp',
  finishedOn: 'finishedOn',
  failedReason: 'failedReason',
  progress: 'progress',
  added: FIELD.total,
  sealedAt: FIELD.sealedAt,
  startedAt: FIELD.startedAt,
  skippedAt: FIELD.skippedAt,
  abandonedAt: FIELD.abandonedAt,
  completed: FIELD.completed,
  removal: FIELD.removal,
  cancelledAt: FIELD.cancelledAt,
  cancelReason: FIELD.cancelReason,
  cancelled: FIELD.cancelled,
  cancelledChildren: FIELD.cancelledChildren,
  deferred: FIELD.deferred,
  diedAt: FIELD.diedAt,
  attemptedAt: FIELD.attemptedAt,
  enqueued: FIELD.enqueued,
  strangers: FIELD.strangers,
  childCount: FIELD.childCount,
};

const quoted = (texts: readonly string[]) => texts.map((text) => `'${text}'`).join(', ');

/*
 * Lua: readBatch(keys, id), with the KEYS of READ, returns nil without a batch, or a table with the fields of the
 * batch's hash, its counts, the callbacks that were enqueued with their states, and the keys that are no members. A
 * callback that was enqueued and is in no collection of the batch was detached from it, if its job exists; otherwise it
 * vanished before it ran, and is due again. Callbacks and known strangers are in none of the counts. `total` is never
 * less than the number of members that are there.
 */
export const LUA_READ_BATCH = `${LUA_BEGINNING}${LUA_VERSION}
local function lines(text)
  return string.gmatch(text or '', '[^\\n]+')
end
local NAMES = { ${quoted(Object.keys(FIELDS))} }
local function readBatch(keys, id)
  local batch = { callbacks = {}, notMembers = {} }
  for i, value in ipairs(redis.call('HMGET', keys[1], ${quoted(Object.values(FIELDS))})) do
    batch[NAMES[i]] = value
  end
  if not batch.definition or batch.removal then
    return nil
  end
  batch.completedAt, batch.completedCounts = string.match(batch.completed or '', '^(%d+) (.+)$')
  -- Only of a batch with child batches: it holds the counts of all jobs below.
  batch.progress = batch.childCount and batch.progress
  local pending = redis.call('SCARD', keys[2])
  local succeeded, failed = redis.call('HLEN', keys[3]), redis.call('HLEN', keys[4])
  batch.version = versionOf(pending, succeeded, failed, batch.added, batch.cancelledAt)
  for key in lines(batch.enqueued) do
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
  for key in lines(batch.strangers) do
    batch.notMembers[key] = true
    pending = pending - redis.call('SISMEMBER', keys[2], key)
    succeeded = succeeded - redis.call('HEXISTS', keys[3], key)
    failed = failed - redis.call('HEXISTS', keys[4], key)
  end
  batch.ended = redis.call('ZSCORE', keys[5], id) and 'completed' or redis.call('ZSCORE', keys[6], id) and 'failed'
  local cancelled = tonumber(batch.cancelled or 0)
  batch.pending, batch.succeeded, batch.failed, batch.cancelled = pending, succeeded, failed, cancelled
  batch.total = math.max(tonumber(batch.added or 0), pending + succeeded + failed + cancelled)
  batch.counts = { batch.total, pending, succeeded, failed, cancelled }
  return batch
end
-- Returns the names and values that parseSnapshot() reads, without those that are missing.
local function answer(batch)
  local reply = { 'counts', batch.counts, 'callbacks', batch.callbacks }
  for _, name in ipairs({ 'definition', 'createdAt', 'finishedOn', 'failedReason', 'sealedAt', 'completedAt',
    'completedCounts', 'abandonedAt', 'cancelledAt', 'cancelReason', 'cancelledChildren', 'diedAt', 'attemptedAt',
    'strangers', 'deferred', 'startedAt', 'skippedAt', 'version', 'ended', 'openFor', 'anyFailure', 'childCount',
    'progress', 'startable', 'next' }) do
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

type CountsReply = readonly [total: number, pending: number, succeeded: number, failed: number, cancelled: number];

/** Reads a batch in one round trip. Returns undefined when there is none, or it is being removed. */
export async function readSnapshot(redis: BatchRedis, batchId: string): Promise<Snapshot | undefined> {
  const reply = await redis.run(READ, [...snapshotKeys(redis, batchId), batchId]);
  return reply === null ? undefined : parseSnapshot(redis, named(reply));
}

/** Returns the KEYS of a script that calls readBatch(). */
export function snapshotKeys(redis: BatchRedis, batchId: string): string[] {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  return [job, dependencies, processed, failed, batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
}

export function parseSnapshot({ prefix }: BatchRedis, reply: NamedReply): Snapshot {
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
    openFor: time('openFor') ?? openTimeoutOf(definition),
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
    progress: text('progress'),
    callbacks: parseCallbacks(prefix, definition, reply.callbacks),
    strangers: (text('strangers') ?? '').split('\n').filter((key) => key !== ''),
    version: String(reply.version),
  };
}

/**
 * Returns all callbacks of the definition with their state. The script reports the state of those that were enqueued;
 * the others are pending.
 */
function parseCallbacks(prefix: string, definition: BatchDefinition, reply: unknown): CallbackSnapshot[] {
  const enqueued = new Map(rowsOf(reply, 3).map(([key, state, reason]) => [key, { state, reason }]));
  return pendingCallbacks(definition).map((callback) => {
    const { state, reason } = enqueued.get(jobKey(prefix, callback.queue, callback.jobId)) ?? {};
    return state === undefined
      ? callback
      : { ...callback, state: state as CallbackState, failedReason: reason ? plainReason(reason) : undefined };
  });
}

function parseCounts([total, pending, succeeded, failed, cancelled]: CountsReply): MemberCounts {
  const missing = total - pending - succeeded - failed - cancelled;
  return { total, pending, succeeded, failed, cancelled, missing };
}
