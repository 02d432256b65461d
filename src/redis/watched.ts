import type { BatchRedis } from './batch-redis.js';
import type { BatchEvent, FailurePolicy } from './definition.js';
import { batchesKey, batchKeys, FIELD, leaseKey, watchedKey } from './keys.js';
import { LUA_NOW, script } from './script.js';

/*
 * The list of the batches that a BatchWorker looks after while their members run, because BullMQ does not wake a batch for
 * what they wait for: a first failure, so many failures, first runs. Batches that wait for nothing of the kind are not in
 * it, and cost nothing.
 */

/** What a batch is looked after for. */
export interface Watch {
  /** A first failure, for its own callbacks or those of a batch above. */
  readonly death?: true;
  /** So many failures, or such a percentage of all members once it is sealed. */
  readonly cancelAfter?: number;
  readonly cancelAtPercent?: number;
  /** That every member has run. */
  readonly attempted?: true;
  /** Whatever is to be done: it was cancelled, or was given a callback after the event. */
  readonly always?: true;
}

/**
 * Puts a batch on the list, or adds to what it is looked after for. A child of a batch that waits for a first failure
 * does so too: it is told upwards.
 *
 * KEYS: the list. ARGV: batch id, what for (JSON), a new version of the entry, parent id or ''.
 */
const WATCH = script(
  'watch',
  1,
  `${LUA_NOW}
local what = cjson.decode(ARGV[2])
if ARGV[4] ~= '' then
  local above = redis.call('HGET', KEYS[1], ARGV[4])
  if above and cjson.decode(above).death then
    what.death = true
  end
end
if next(what) == nil then
  return 0
end
local entry = redis.call('HGET', KEYS[1], ARGV[1])
entry = entry and cjson.decode(entry) or {}
for name, value in pairs(what) do
  entry[name] = value
end
entry.version = ARGV[3]
entry.since = now()
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(entry))
return 1`,
);

export async function watchBatch(
  redis: BatchRedis,
  batchId: string,
  watch: Watch,
  { version, parentId = '' }: { readonly version: string; readonly parentId?: string | undefined },
): Promise<void> {
  await redis.run(WATCH, [watchedKey(redis), batchId, JSON.stringify(watch), version, parentId]);
}

/** What a batch with these callbacks and this policy is to be looked after for. */
export function watchFor(events: readonly BatchEvent[], policy: FailurePolicy | undefined): Watch {
  const { cancelAfter, cancelAtPercent } = policy ?? {};
  return {
    ...(events.includes('death') ? { death: true } : {}),
    ...(events.includes('attempted') ? { attempted: true } : {}),
    ...(cancelAfter === undefined ? {} : { cancelAfter }),
    ...(cancelAtPercent === undefined ? {} : { cancelAtPercent }),
  };
}

/** How long an entry may be there before its batch is. */
const CREATION_MS = 60_000;

/**
 * A page of the list, for the one process that sweeps it: which batches need something now. Those that have finished, or
 * are gone, leave the list.
 *
 * KEYS: the lease, the list, the batches queue's completed and failed.
 * ARGV: who asks, for how many ms, cursor, count, key prefix of the batches queue.
 * Returns nil when somebody else sweeps, or { cursor, { id, entry, … } of what is to be done now, the same of those whose
 * members are to be looked at for first runs }.
 */
const SWEEP = script(
  'sweep',
  4,
  `${LUA_NOW}
local sweeper = redis.call('GET', KEYS[1])
if sweeper and sweeper ~= ARGV[1] then
  return nil
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local page = redis.call('HSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
local due, attempted = {}, {}
for i = 1, #page[2], 2 do
  local id, entry = page[2][i], cjson.decode(page[2][i + 1])
  local key = ARGV[5] .. id
  local batch = redis.call('HMGET', key, 'timestamp', '${FIELD.removal}', '${FIELD.sealedAt}', '${FIELD.total}',
    '${FIELD.diedAt}', '${FIELD.abandonedAt}')
  if not batch[1] or batch[2] then
    if now() - entry.since > ${CREATION_MS} then
      redis.call('HDEL', KEYS[2], id)
    end
  else
    local isDue = entry.always
    if not isDue then
      local failed = redis.call('HLEN', key .. ':failed')
      isDue = entry.death and (batch[5] or failed > 0)
        or entry.cancelAfter and failed >= entry.cancelAfter
        or entry.cancelAtPercent and batch[3] and failed > 0
          and failed * 100 >= entry.cancelAtPercent * tonumber(batch[4] or 0)
      if not isDue and entry.attempted and batch[3] then
        attempted[#attempted + 1] = id
        attempted[#attempted + 1] = page[2][i + 1]
      end
    end
    if redis.call('ZSCORE', KEYS[3], id) or redis.call('ZSCORE', KEYS[4], id) then
      if not entry.always and (batch[3] or not batch[6]) then
        -- An abandoned batch may be opened again; any other that runs again is judged by its own wake.
        redis.call('HDEL', KEYS[2], id)
        isDue = false
      end
    end
    if isDue then
      due[#due + 1] = id
      due[#due + 1] = page[2][i + 1]
    end
  end
end
return { page[1], due, attempted }`,
);

export interface WatchedBatch {
  readonly batchId: string;
  readonly watch: Watch & { readonly version: string };
}

export interface SweptPage {
  readonly cursor: string;
  readonly due: readonly WatchedBatch[];
  readonly attempted: readonly WatchedBatch[];
}

export async function sweepPage(
  redis: BatchRedis,
  { who, leaseMs, cursor, count }: { who: string; leaseMs: number; cursor: string; count: number },
): Promise<SweptPage | undefined> {
  const reply = (await redis.run(SWEEP, [
    leaseKey(redis, 'sweeper'),
    watchedKey(redis),
    batchesKey(redis, 'completed'),
    batchesKey(redis, 'failed'),
    who,
    leaseMs,
    cursor,
    count,
    batchesKey(redis, ''),
  ])) as [string, string[], string[]] | null;
  if (reply === null) {
    return undefined;
  }
  const [next, due, attempted] = reply;
  return { cursor: next, due: parseWatched(due), attempted: parseWatched(attempted) };
}

function parseWatched(flat: readonly string[]): WatchedBatch[] {
  const watched: WatchedBatch[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) {
    watched.push({ batchId: flat[i] ?? '', watch: JSON.parse(flat[i + 1] ?? '{}') });
  }
  return watched;
}

/**
 * KEYS: the list. ARGV: batch id, the version that was seen, what is done.
 * Takes what is done off the entry, unless it has changed since.
 */
const UNWATCH = script(
  'unwatch',
  1,
  `
local entry = redis.call('HGET', KEYS[1], ARGV[1])
entry = entry and cjson.decode(entry)
if not entry or entry.version ~= ARGV[2] then
  return 0
end
for i = 3, #ARGV do
  entry[ARGV[i]] = nil
end
if entry.death or entry.cancelAfter or entry.cancelAtPercent or entry.attempted or entry.always then
  redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(entry))
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1`,
);

export async function unwatchBatch(
  redis: BatchRedis,
  { batchId, watch }: WatchedBatch,
  done: readonly (keyof Watch)[],
): Promise<void> {
  await redis.run(UNWATCH, [watchedKey(redis), batchId, watch.version, ...done]);
}

/** KEYS: batch job. ARGV: field. Notes, once, when something was found to have happened to an existing batch. */
const NOTE = script(
  'note',
  1,
  `${LUA_NOW}
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSETNX', KEYS[1], ARGV[1], now())
end`,
);

export async function noteDeath(redis: BatchRedis, batchId: string): Promise<void> {
  await redis.run(NOTE, [batchKeys(redis, batchId).job, FIELD.diedAt]);
}

export async function noteAttempted(redis: BatchRedis, batchId: string): Promise<void> {
  await redis.run(NOTE, [batchKeys(redis, batchId).job, FIELD.attemptedAt]);
}
