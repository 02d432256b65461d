import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD, needsKey } from './keys.js';
import { LUA_NEED } from './needs.js';
import { LUA_LOOK_AT, LUA_NOW, LUA_WAKE, named, script } from './script.js';

/** A closed batch job that is delayed for longer than this is not in the backoff of a failed step. */
const LONGEST_BACKOFF_MS = 60_000;

/** An unfinished batch as a look found it. */
export interface UnfinishedBatch {
  readonly batchId: string;
  /** It is sealed, abandoned or cancelled. */
  readonly isClosed: boolean;
  /** How many dependencies it has. */
  readonly outstanding: number;
  /** Whether any of its members or callbacks has failed. */
  readonly hasFailures: boolean;
  /** Whether the batch job was made to run. */
  readonly woken: boolean;
}

/**
 * A page of the batches that have not finished, of which it mends what a look at the batch itself can tell:
 * - an open batch without a sign of life for its openTimeout is abandoned. A BatchWorker does that when it wakes the
 *   batch; a batch that waits for a dependency without a job is never woken, nor is one that was delayed by a clock which is fast;
 * - a closed batch that is delayed as if it were open, or that waits for nothing, is woken;
 * - a batch in need that is not in the set for it comes back into it.
 *
 * KEYS: the batches queue's delayed, waiting-children, what the keys of the sets begin with.
 * ARGV: from, to (ranks over both, delayed first), key prefix of the batches queue.
 * Returns listed (how many batches the page has), batches (of each its id and outstanding, and '1' or '0' whether it is
 *   closed, any has failed, it was woken), broken (ids, each with what is wrong).
 */
const UNFINISHED = script(
  'unfinished',
  3,
  `${LUA_NOW}${LUA_WAKE}${LUA_NEED}${LUA_LOOK_AT}
local batches = {}
local function isOverdue(key, registeredAt)
  if not registeredAt then
    -- Nothing was added yet, and the creation was timed by a clock that is not Redis's: its time begins now.
    redis.call('HSET', key, '${FIELD.registeredAt}', now())
    return false
  end
  local openTimeout = tonumber(redis.call('HGET', key, '${FIELD.openTimeout}'))
  return openTimeout and now() - tonumber(registeredAt) >= openTimeout
end
local function look(id)
  local key = ARGV[3] .. id
  local batch = redis.call('HMGET', key, 'timestamp', '${FIELD.removal}', '${FIELD.needs}', '${FIELD.sealedAt}',
    '${FIELD.abandonedAt}', '${FIELD.cancelledAt}', '${FIELD.registeredAt}')
  if not batch[1] then
    return
  elseif batch[2] then
    need(key, KEYS[3], id, 'removal')
    return
  elseif batch[3] then
    need(key, KEYS[3], id, '')
  end
  local isClosed = batch[4] or batch[5] or batch[6]
  local isGivenUp = not isClosed and isOverdue(key, batch[7])
  if isGivenUp then
    redis.call('HSET', key, '${FIELD.abandonedAt}', now())
    isClosed = true
  end
  local score = redis.call('ZSCORE', KEYS[1], id)
  local outstanding, woken = redis.call('SCARD', key .. ':dependencies'), 0
  if isClosed then
    local isLate = score and (isGivenUp or tonumber(score) / 4096 > now() + ${LONGEST_BACKOFF_MS})
    woken = (isLate or not score and outstanding == 0) and wake(ARGV[3], key, id) or 0
  end
  for _, fact in ipairs({ id, outstanding, isClosed and 1 or 0, redis.call('EXISTS', key .. ':failed'), woken }) do
    batches[#batches + 1] = fact
  end
end
local from, to = tonumber(ARGV[1]), tonumber(ARGV[2])
local ids = redis.call('ZRANGE', KEYS[1], from, to)
local delayed = redis.call('ZCARD', KEYS[1])
if to >= delayed then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], math.max(0, from - delayed), to - delayed)) do
    ids[#ids + 1] = id
  end
end
for _, id in ipairs(ids) do
  lookAt(look, id)
end
return { 'listed', #ids, 'batches', batches, 'broken', broken }`,
);

/** A page of the batches that have not finished, by rank; nothing is listed past the last one. */
export async function unfinishedBatches(
  redis: BatchRedis,
  from: number,
  to: number,
): Promise<{
  readonly listed: number;
  readonly batches: readonly UnfinishedBatch[];
  readonly broken: ReadonlyMap<string, string>;
}> {
  const keys = [batchesKey(redis, 'delayed'), batchesKey(redis, 'waiting-children'), needsKey(redis)];
  const { listed, batches, broken } = named(await redis.run(UNFINISHED, [...keys, from, to, batchesKey(redis, '')]));
  return {
    listed: Number(listed),
    batches: parseBatches(batches as readonly (string | number)[]),
    broken: new Map(Object.entries(named(broken)).map(([id, problem]) => [id, String(problem)])),
  };
}

function parseBatches(flat: readonly (string | number)[]): UnfinishedBatch[] {
  const batches: UnfinishedBatch[] = [];
  for (let i = 0; i + 4 < flat.length; i += 5) {
    batches.push({
      batchId: String(flat[i]),
      outstanding: Number(flat[i + 1]),
      isClosed: flat[i + 2] === 1,
      hasFailures: flat[i + 3] === 1,
      woken: flat[i + 4] === 1,
    });
  }
  return batches;
}
