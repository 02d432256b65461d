import type { BatchRedis } from './batch-redis.js';
import { callbackIdStarts } from './definition.js';
import { batchesKey, batchKeys, FIELD, jobKey, memberName } from './keys.js';
import { LUA_NOW, LUA_SPLIT_KEY, LUA_WAKE, luaIsCallback, script } from './script.js';

/** A sealed batch job that is delayed for longer than this is not in the backoff of a failed step. */
const LONGEST_BACKOFF_MS = 60_000;

/** What one slice of a repair found and mended. */
export interface Repair {
  /** Where the next slice of this batch's dependencies starts; '0' when this was the last one. */
  readonly cursor: string;
  /** Dependencies whose job is gone for good: they are missing from now on. */
  readonly missing: number;
  /** Dependencies whose job had finished already: they are settled now. */
  readonly settled: number;
  /** 1 when the batch job was made to run. */
  readonly woken: number;
  /** How many dependencies were looked at. */
  readonly seen: number;
  /** Those that wait for jobs of their own: the roots of flows. */
  readonly flows: readonly string[];
  /** Its removal was cut short: there is nothing to repair. */
  readonly isRemoved: boolean;
  /** How many dependencies there are. */
  readonly outstanding: number;
}

/**
 * Mends one sealed, or abandoned, batch as far as no event tells of the damage, looking at some of its dependencies:
 * - a dependency without a job is released, unless members were registered so recently that its job may be on the way;
 * - a dependency whose job has finished is settled: BullMQ puts a failed or completed job that is added once more (a
 *   command sent twice by a reconnecting client) back into the dependencies, and would wait for it for ever;
 * - a sealed batch that is delayed as if it were open, or that waits for nothing, is woken.
 *
 * KEYS: batch job, its dependencies, processed, failed.
 * ARGV: batch id, key prefix of the batches queue, cursor, how many dependencies to look at, ms for which a dependency
 *       may be without a job, key prefix of all queues, how many dependencies there were at the last look or '', then what the ids of the batch's own callbacks begin with.
 * Returns { cursor, missing, settled, woken, seen, roots of flows, 1 for a batch that is being removed, how many there are }.
 */
const REPAIR = script(
  'repair',
  4,
  `${LUA_NOW}${LUA_WAKE}${LUA_SPLIT_KEY}
local batch = redis.call('HMGET', KEYS[1], '${FIELD.sealedAt}', '${FIELD.registeredAt}', '${FIELD.abandonedAt}',
  '${FIELD.cancelledAt}', '${FIELD.removal}')
if batch[5] then
  return { '0', 0, 0, 0, 0, {}, 1, 0 }
end
local outstanding = redis.call('SCARD', KEYS[2])
if not batch[1] and not batch[3] and not batch[4] then
  return { '0', 0, 0, 0, 0, {}, 0, outstanding }
end
local isQuiet = now() - tonumber(batch[2] or 0) >= tonumber(ARGV[5])
${luaIsCallback(8)}
local missing, settled, flows = 0, 0, {}
-- A batch that goes on is looked at more closely when it stops: what holds it will still be there.
local page = { '0', {} }
if ARGV[3] ~= '0' or ARGV[7] == tostring(outstanding) then
  page = redis.call('SSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
end
for _, key in ipairs(page[2]) do
  local job = redis.call('HMGET', key, 'name', 'finishedOn', 'parentKey')
  local queueKey, id = splitKey(key, ARGV[6])
  if not job[1] or job[3] ~= KEYS[1] then
    if isQuiet then
      local removed = redis.call('SREM', KEYS[2], key)
      -- A callback that is gone is enqueued again: it is due. A member that was never added to a cancelled batch is no loss.
      if not isCallback(id) then
        if batch[4] then
          redis.call('HINCRBY', KEYS[1], '${FIELD.cancelled}', removed)
        else
          missing = missing + removed
        end
      end
    end
  elseif job[2] then
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
  elseif queueKey ~= ARGV[2] and redis.call('ZSCORE', queueKey .. 'waiting-children', id) then
    flows[#flows + 1] = key
  end
end
local woken = wakeIfIdle(ARGV[2], KEYS[1], ARGV[1], KEYS[2])
local score = redis.call('ZSCORE', ARGV[2] .. 'delayed', ARGV[1])
local isStranded = score and tonumber(score) / 4096 > now() + ${LONGEST_BACKOFF_MS}
if isStranded then
  woken = wake(ARGV[2], KEYS[1], ARGV[1])
end
return { page[1], missing, settled, woken, #page[2], flows, 0, outstanding }`,
);

export async function repairSlice(
  redis: BatchRedis,
  batchId: string,
  { cursor, count, graceMs, before }: { cursor: string; count: number; graceMs: number; before: number | undefined },
): Promise<Repair> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  const args = [
    job,
    dependencies,
    processed,
    failed,
    batchId,
    batchesKey(redis, ''),
    cursor,
    count,
    graceMs,
    redis.prefix,
    before ?? '',
    ...callbackIdStarts(batchId),
  ];
  const reply = (await redis.run(REPAIR, args)) as [string, number, number, number, number, string[], number, number];
  const [next, missing, settled, woken, seen, flows, isRemoved, outstanding] = reply;
  return { cursor: next, missing, settled, woken, seen, flows, isRemoved: isRemoved === 1, outstanding };
}

/**
 * Releases a job of a flow from those below it that are gone without a word, as BullMQ does when one is removed; with
 * nothing left to wait for, it runs.
 *
 * KEYS: the job, its dependencies. ARGV: its id, key prefix of its queue, cursor, count, key prefix of all queues.
 * Returns { cursor, how many were gone, 1 when the job was made to run, those below that wait for others }.
 */
const REPAIR_FLOW = script(
  'repairFlow',
  2,
  `${LUA_WAKE}${LUA_SPLIT_KEY}
local page = redis.call('SSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
local gone, flows = 0, {}
for _, key in ipairs(page[2]) do
  local queueKey, id = splitKey(key, ARGV[5])
  if redis.call('EXISTS', key) == 0 then
    gone = gone + redis.call('SREM', KEYS[2], key)
  elseif redis.call('ZSCORE', queueKey .. 'waiting-children', id) then
    flows[#flows + 1] = key
  end
end
local woken = wakeIfIdle(ARGV[2], KEYS[1], ARGV[1], KEYS[2])
return { page[1], gone, woken, flows }`,
);

export async function repairFlowSlice(
  redis: BatchRedis,
  key: string,
  { cursor, count }: { cursor: string; count: number },
): Promise<{ readonly cursor: string; readonly mended: number; readonly flows: readonly string[] }> {
  const { prefix } = redis;
  const { queue, id } = memberName(prefix, key);
  const args = [key, `${key}:dependencies`, id, jobKey(prefix, queue, ''), cursor, count, prefix];
  const [next, gone, woken, flows] = (await redis.run(REPAIR_FLOW, args)) as [string, number, number, string[]];
  return { cursor: next, mended: gone + woken, flows };
}

/**
 * Looks again at members that failed. Usually BullMQ moves one that is retried from `failed` back into the dependencies, in
 * the step that retries it; its `queue.retryJobs()` does not before 6.3.15: then the member runs outside of its batch, and
 * its outcome is never recorded.
 *
 * KEYS: batch job, its dependencies, processed, failed. ARGV: cursor, count, key prefix of all queues.
 * Returns { cursor, how many were put right, how many were looked at }.
 */
const RECHECK = script(
  'recheck',
  4,
  `${LUA_SPLIT_KEY}
local page = redis.call('HSCAN', KEYS[4], ARGV[1], 'COUNT', ARGV[2])
local moved = 0
for i = 1, #page[2], 2 do
  local key = page[2][i]
  if redis.call('HGET', key, 'parentKey') == KEYS[1] then
    local queueKey, id = splitKey(key, ARGV[3])
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
return { page[1], moved, #page[2] / 2 }`,
);

export async function recheckSlice(
  redis: BatchRedis,
  batchId: string,
  { cursor, count }: { cursor: string; count: number },
): Promise<{ readonly cursor: string; readonly moved: number; readonly seen: number }> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  const reply = await redis.run(RECHECK, [job, dependencies, processed, failed, cursor, count, redis.prefix]);
  const [next, moved, seen] = reply as [string, number, number];
  return { cursor: next, moved, seen };
}

/** KEYS: the batches queue's failed. ARGV: from, to (ranks, latest first). Returns ids of batches that have failed. */
const FAILED = script('failed', 1, `return redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[2])`);

/** A page of the batches that have failed, by rank; undefined past the last one. */
export async function failedBatches(redis: BatchRedis, from: number, to: number): Promise<string[] | undefined> {
  return pageOf(await redis.run(FAILED, [batchesKey(redis, 'failed'), from, to]));
}

/**
 * KEYS: the batches queue's delayed and waiting-children. ARGV: from, to (ranks over both, delayed first).
 * Returns ids of unfinished batches.
 */
const UNFINISHED = script(
  'unfinished',
  2,
  `
local from, to = tonumber(ARGV[1]), tonumber(ARGV[2])
local ids = redis.call('ZRANGE', KEYS[1], from, to)
local delayed = redis.call('ZCARD', KEYS[1])
if to >= delayed then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], math.max(0, from - delayed), to - delayed)) do
    ids[#ids + 1] = id
  end
end
return ids`,
);

/** A page of the batches that have not finished, by rank; undefined past the last one. */
export async function unfinishedBatches(redis: BatchRedis, from: number, to: number): Promise<string[] | undefined> {
  const keys = [batchesKey(redis, 'delayed'), batchesKey(redis, 'waiting-children')];
  return pageOf(await redis.run(UNFINISHED, [...keys, from, to]));
}

function pageOf(reply: unknown): string[] | undefined {
  const ids = reply as string[];
  return ids.length === 0 ? undefined : ids;
}
