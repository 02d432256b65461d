import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD, jobKey, memberName } from './keys.js';
import { LUA_IS_CLOSED, LUA_IS_OWN_CALLBACK, LUA_NOW, LUA_SPLIT_KEY, LUA_WAKE, named, script } from './script.js';

/** What one slice of a repair has found and mended. */
export interface Repair {
  /** Where the next slice of the same collection starts; '0' when this was the last one. */
  readonly cursor: string;
  /** Dependencies whose job is gone for good: they are missing from now on. */
  readonly missing: number;
  /** Members whose outcome was not recorded, or not any more: it is now. */
  readonly settled: number;
  /** Whether the job was made to run. */
  readonly woken: boolean;
  /** The keys of dependencies that wait for jobs of their own: the roots of flows. */
  readonly flows: readonly string[];
  /** The size of the failure reasons that the slice has read. */
  readonly bytes: number;
}

/**
 * Looks at some of the children of a batch job, or of a job of a flow in the batch, and mends the damage that BullMQ
 * reports by no event. Running it twice does no harm, because it acts on what it finds.
 *
 * Of the dependencies of a closed batch:
 *
 * - One without a job is released, unless members were added so recently that its job may still be on its way.
 * - One whose job has finished is settled. BullMQ puts a failed or completed job that is added once more (a command
 *   that a reconnecting client sends twice) back into the dependencies, and would wait for it for ever.
 * - A child with another prefix, which was attached by hand, is released when its job is gone, and otherwise left.
 *
 * A job of a flow is released from children that vanished, as BullMQ does when a child is removed. A batch job or a job
 * of a flow that waits for nothing then is woken.
 *
 * Of the failed members of a batch:
 *
 * - One that was retried is put back into the dependencies or, if it has succeeded since, recorded so. BullMQ usually
 *   puts it back in the step that retries it. `queue.retryJobs()` does not before 6.3.15: there the member runs outside
 *   of its batch, and its outcome is never recorded.
 *
 * KEYS: the job, its dependencies, processed, failed.
 * ARGV: its id, key prefix of its queue, that of the batches queue, that of all queues, 'dependencies' or 'failed',
 * cursor, how many to look at, ms for which a dependency of a batch may be without a job.
 * Returns cursor, missing, settled, woken, flows (the keys of their roots), bytes.
 */
const REPAIR = script(
  'repair',
  4,
  `${LUA_NOW}${LUA_WAKE}${LUA_SPLIT_KEY}${LUA_IS_CLOSED}${LUA_IS_OWN_CALLBACK}
local id, queueKey, batchesQueue, prefix, collection = unpack(ARGV)
local isBatch = queueKey == batchesQueue
local missing, settled, bytes, flows = 0, 0, 0, {}
local function answer(cursor, woken)
  return { 'cursor', cursor, 'missing', missing, 'settled', settled, 'woken', woken, 'flows', flows, 'bytes', bytes }
end
local registeredAt, sealedAt, cancelledAt, isRemoved, timestamp, nonce = unpack(redis.call('HMGET', KEYS[1],
  '${FIELD.registeredAt}', '${FIELD.sealedAt}', '${FIELD.cancelledAt}', '${FIELD.removal}', 'timestamp',
  '${FIELD.nonce}'))
if not timestamp or isRemoved or isBatch and collection == 'dependencies' and not isClosed(KEYS[1]) then
  return answer('0', 0)
end
local function recordSuccess(key)
  redis.call('HSET', KEYS[3], key, redis.call('HGET', key, 'returnvalue') or 'null')
  redis.call('HDEL', KEYS[4], key)
  redis.call('SREM', KEYS[2], key)
  settled = settled + 1
end

if collection == 'failed' then
  local page = redis.call('HSCAN', KEYS[4], ARGV[6], 'COUNT', ARGV[7])
  for i = 1, #page[2], 2 do
    local key = page[2][i]
    bytes = bytes + #page[2][i + 1]
    local memberQueue, memberId = splitKey(key, prefix)
    -- One with another prefix was attached by hand, and may be on another node of a cluster.
    if memberQueue and redis.call('HGET', key, 'parentKey') == KEYS[1]
      and not redis.call('ZSCORE', memberQueue .. 'failed', memberId) then
      if redis.call('ZSCORE', memberQueue .. 'completed', memberId) then
        recordSuccess(key)
      else
        redis.call('HDEL', KEYS[4], key)
        redis.call('SADD', KEYS[2], key)
        settled = settled + 1
      end
    end
  end
  return answer(page[1], 0)
end

local isQuiet = not isBatch or now() - tonumber(registeredAt or sealedAt or 0) >= tonumber(ARGV[8])
local function release(key, memberId)
  local removed = redis.call('SREM', KEYS[2], key)
  -- A callback that is gone is enqueued again: it is due. A member that was never added to a cancelled batch is no
  -- loss.
  if isBatch and nonce and isOwnCallback(memberId, id, nonce) then
    return
  elseif isBatch and cancelledAt then
    redis.call('HINCRBY', KEYS[1], '${FIELD.cancelled}', removed)
  else
    missing = missing + removed
  end
end
local function settle(key, memberQueue, memberId)
  if redis.call('ZSCORE', memberQueue .. 'completed', memberId) then
    recordSuccess(key)
  elseif redis.call('ZSCORE', memberQueue .. 'failed', memberId) then
    redis.call('SREM', KEYS[2], key)
    redis.call('HSET', KEYS[4], key, redis.call('HGET', key, 'failedReason') or '')
    settled = settled + 1
  end
end
local page = redis.call('SSCAN', KEYS[2], ARGV[6], 'COUNT', ARGV[7])
for _, key in ipairs(page[2]) do
  local memberQueue, memberId = splitKey(key, prefix)
  if not memberQueue then
    -- In a cluster it may be on another node: then it cannot be asked for. It is no member.
    if isQuiet and redis.pcall('EXISTS', key) == 0 then
      missing = missing + (isBatch and 0 or 1) * redis.call('SREM', KEYS[2], key)
    end
  else
    local name, finishedOn, parentKey = unpack(redis.call('HMGET', key, 'name', 'finishedOn', 'parentKey'))
    if not name or isBatch and parentKey ~= KEYS[1] then
      if isQuiet then
        release(key, memberId)
      end
    elseif isBatch and finishedOn then
      settle(key, memberQueue, memberId)
    elseif memberQueue ~= batchesQueue and redis.call('ZSCORE', memberQueue .. 'waiting-children', memberId) then
      flows[#flows + 1] = key
    end
  end
end
return answer(page[1], wakeIfIdle(queueKey, KEYS[1], id, KEYS[2]))`,
);

/** The children of one job that a repair is to look at. */
export interface RepairPage {
  /** The key of the batch job, or of a job of a flow in the batch. */
  readonly key: string;
  readonly collection: 'dependencies' | 'failed';
  readonly cursor: string;
  readonly count: number;
}

/**
 * Repairs one slice.
 *
 * @param graceMs for how long a dependency of a batch may be without a job after members were added.
 */
export async function repairSlice(
  redis: BatchRedis,
  { key, collection, cursor, count }: RepairPage,
  graceMs: number,
): Promise<Repair> {
  const { queue, id } = memberName(redis.prefix, key);
  const place = [id, jobKey(redis.prefix, queue, ''), batchesKey(redis, ''), redis.prefix];
  const found = named(
    await redis.run(REPAIR, [
      ...[key, `${key}:dependencies`, `${key}:processed`, `${key}:failed`],
      ...[...place, collection, cursor, count, graceMs],
    ]),
  );
  return {
    cursor: String(found.cursor),
    missing: Number(found.missing),
    settled: Number(found.settled),
    woken: found.woken === 1,
    flows: found.flows as string[],
    bytes: Number(found.bytes),
  };
}
