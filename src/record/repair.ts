import { callbackIdStarts } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, jobKey, memberName } from './keys.js';
import { LUA_NOW, LUA_SPLIT_KEY, LUA_WAKE, luaIsCallback, named, script } from './script.js';

/** What one slice of a repair has found and mended. */
export interface Repair {
  /** Where the next slice of this batch's dependencies starts; '0' when this was the last one. */
  readonly cursor: string;
  /** Dependencies whose job is gone for good: they are missing from now on. */
  readonly missing: number;
  /** Dependencies whose job had finished already: they are settled now. */
  readonly settled: number;
  /** Whether the batch job was made to run. */
  readonly woken: boolean;
  /** The keys of dependencies that wait for jobs of their own: the roots of flows. */
  readonly flows: readonly string[];
}

/**
 * Mends the damage in one closed batch that no event tells, looking at some of its dependencies:
 *
 * - A dependency without a job is released, unless members were added so recently that its job may be on the way.
 * - A dependency whose job has finished is settled. BullMQ puts a failed or completed job that is added once more (a
 *   command that a reconnecting client sends twice) back into the dependencies, and would wait for it for ever.
 * - A child with another prefix, which was attached by hand, is released when its job is gone, and otherwise left.
 *
 * A batch that waits for nothing then is woken. Running the script twice does no harm, because it acts on what it
 * finds.
 *
 * KEYS: batch job, its dependencies, processed, failed.
 * ARGV: batch id, key prefix of the batches queue, cursor, how many dependencies to look at, ms for which a dependency
 * may be without a job, key prefix of all queues, then what the ids of the batch's own callbacks begin with.
 * Returns cursor, missing, settled, woken, flows (the keys of their roots).
 */
const REPAIR = script(
  'repair',
  4,
  `${LUA_NOW}${LUA_WAKE}${LUA_SPLIT_KEY}${luaIsCallback(7)}
local batch = redis.call('HMGET', KEYS[1], '${FIELD.sealedAt}', '${FIELD.registeredAt}', '${FIELD.abandonedAt}',
  '${FIELD.cancelledAt}', '${FIELD.removal}')
local isClosed = batch[1] or batch[3] or batch[4]
if batch[5] or not isClosed then
  return { 'cursor', '0', 'missing', 0, 'settled', 0, 'woken', 0, 'flows', {} }
end
local isQuiet = now() - tonumber(batch[2] or 0) >= tonumber(ARGV[5])
local missing, settled, flows = 0, 0, {}
local function release(key, id)
  local removed = redis.call('SREM', KEYS[2], key)
  -- A callback that is gone is enqueued again: it is due. A member that was never added to a cancelled batch is no
  -- loss.
  if isCallback(id) then
    return
  elseif batch[4] then
    redis.call('HINCRBY', KEYS[1], '${FIELD.cancelled}', removed)
  else
    missing = missing + removed
  end
end
local function settle(key, queueKey, id)
  if redis.call('ZSCORE', queueKey .. 'completed', id) then
    redis.call('SREM', KEYS[2], key)
    redis.call('HDEL', KEYS[4], key)
    redis.call('HSET', KEYS[3], key, redis.call('HGET', key, 'returnvalue') or 'null')
    settled = settled + 1
  elseif redis.call('ZSCORE', queueKey .. 'failed', id) then
    redis.call('SREM', KEYS[2], key)
    redis.call('HSET', KEYS[4], key, redis.call('HGET', key, 'failedReason') or '')
    settled = settled + 1
  end
end
local page = redis.call('SSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
for _, key in ipairs(page[2]) do
  local queueKey, id = splitKey(key, ARGV[6])
  if not queueKey then
    -- In a cluster it may be on another node: then it cannot be asked for.
    if isQuiet and redis.pcall('EXISTS', key) == 0 then
      redis.call('SREM', KEYS[2], key)
    end
  else
    local job = redis.call('HMGET', key, 'name', 'finishedOn', 'parentKey')
    if not job[1] or job[3] ~= KEYS[1] then
      if isQuiet then
        release(key, id)
      end
    elseif job[2] then
      settle(key, queueKey, id)
    elseif queueKey ~= ARGV[2] and redis.call('ZSCORE', queueKey .. 'waiting-children', id) then
      flows[#flows + 1] = key
    end
  end
end
local woken = wakeIfIdle(ARGV[2], KEYS[1], ARGV[1], KEYS[2])
return { 'cursor', page[1], 'missing', missing, 'settled', settled, 'woken', woken, 'flows', flows }`,
);

export async function repairSlice(
  redis: BatchRedis,
  batchId: string,
  { cursor, count, graceMs }: { readonly cursor: string; readonly count: number; readonly graceMs: number },
): Promise<Repair> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  const args = [batchId, batchesKey(redis, ''), cursor, count, graceMs, redis.prefix, ...callbackIdStarts(batchId)];
  const found = named(await redis.run(REPAIR, [job, dependencies, processed, failed, ...args]));
  return {
    cursor: String(found.cursor),
    missing: Number(found.missing),
    settled: Number(found.settled),
    woken: found.woken === 1,
    flows: found.flows as string[],
  };
}

/**
 * Releases a job of a flow from children that vanished without BullMQ reporting it, as BullMQ does when a child is
 * removed. When nothing is left to wait for, the job runs.
 *
 * KEYS: the job, its dependencies. ARGV: its id, key prefix of its queue, cursor, count, key prefix of all queues.
 * Returns cursor, mended (how many were gone, and 1 when the job was made to run), flows (those below that wait for
 * others).
 */
const REPAIR_FLOW = script(
  'repairFlow',
  2,
  `${LUA_WAKE}${LUA_SPLIT_KEY}
local page = redis.call('SSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
local gone, flows = 0, {}
for _, key in ipairs(page[2]) do
  local queueKey, id = splitKey(key, ARGV[5])
  -- One with another prefix may be on another node of a cluster: then it cannot be asked for.
  if redis.pcall('EXISTS', key) == 0 then
    gone = gone + redis.call('SREM', KEYS[2], key)
  elseif queueKey and redis.call('ZSCORE', queueKey .. 'waiting-children', id) then
    flows[#flows + 1] = key
  end
end
local woken = wakeIfIdle(ARGV[2], KEYS[1], ARGV[1], KEYS[2])
return { 'cursor', page[1], 'mended', gone + woken, 'flows', flows }`,
);

export async function repairFlowSlice(
  redis: BatchRedis,
  key: string,
  { cursor, count }: { cursor: string; count: number },
): Promise<{ readonly cursor: string; readonly mended: number; readonly flows: readonly string[] }> {
  const { prefix } = redis;
  const { queue, id } = memberName(prefix, key);
  const args = [key, `${key}:dependencies`, id, jobKey(prefix, queue, ''), cursor, count, prefix];
  const found = named(await redis.run(REPAIR_FLOW, args));
  return { cursor: String(found.cursor), mended: Number(found.mended), flows: found.flows as string[] };
}

/**
 * Looks again at failed members. BullMQ usually moves a job that is retried from `failed` back into the dependencies,
 * in the step that retries it. `queue.retryJobs()` does not before 6.3.15: then the member runs outside of its batch,
 * and its outcome is never recorded.
 *
 * KEYS: batch job, its dependencies, processed, failed. ARGV: cursor, count, key prefix of all queues.
 * Returns cursor, moved (how many were put right), bytes (how long the reasons were that the page held).
 */
const RECHECK = script(
  'recheck',
  4,
  `${LUA_SPLIT_KEY}
local batch = redis.call('HMGET', KEYS[1], 'timestamp', '${FIELD.removal}')
if not batch[1] or batch[2] then
  return { 'cursor', '0', 'moved', 0, 'bytes', 0 }
end
local page = redis.call('HSCAN', KEYS[4], ARGV[1], 'COUNT', ARGV[2])
local moved, bytes = 0, 0
for i = 1, #page[2], 2 do
  local key = page[2][i]
  bytes = bytes + #page[2][i + 1]
  local queueKey, id = splitKey(key, ARGV[3])
  -- One with another prefix was attached by hand, and may be on another node of a cluster.
  if queueKey and redis.call('HGET', key, 'parentKey') == KEYS[1] then
    if not redis.call('ZSCORE', queueKey .. 'failed', id) then
      redis.call('HDEL', KEYS[4], key)
      if redis.call('ZSCORE', queueKey .. 'completed', id) then
        redis.call('HSET', KEYS[3], key, redis.call('HGET', key, 'returnvalue') or 'null')
        redis.call('SREM', KEYS[2], key)
      else
        redis.call('SADD', KEYS[2], key)
      end
      moved = moved + 1
    end
  end
end
return { 'cursor', page[1], 'moved', moved, 'bytes', bytes }`,
);

export async function recheckSlice(
  redis: BatchRedis,
  batchId: string,
  { cursor, count }: { readonly cursor: string; readonly count: number },
): Promise<{ readonly cursor: string; readonly moved: number; readonly bytes: number }> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  const found = named(await redis.run(RECHECK, [job, dependencies, processed, failed, cursor, count, redis.prefix]));
  return { cursor: String(found.cursor), moved: Number(found.moved), bytes: Number(found.bytes) };
}
