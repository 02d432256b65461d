import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, needsKey } from './keys.js';
import { LUA_FORGET_NEEDS } from './needs.js';
import { LUA_NOW, script } from './script.js';

/**
 * Marks a finished batch, or any, as removed: from now on nobody finds it, while its parts go one slice after the other. A batch
 * whose removal was cut short is taken up again by the reconciler.
 *
 * KEYS: batch job, its dependencies, the batches queue's completed, failed, what the keys of the sets of batches in need begin with.
 * ARGV: batch id, '1' for any batch.
 * Returns 1, 0 without a batch, -1 when it has not finished.
 */
const MARK_REMOVED = script(
  'markRemoved',
  5,
  `${LUA_FORGET_NEEDS}
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local ended = redis.call('ZSCORE', KEYS[3], ARGV[1]) or redis.call('ZSCORE', KEYS[4], ARGV[1])
if ARGV[2] ~= '1' and (not ended or redis.call('SCARD', KEYS[2]) > 0) then
  return -1
end
redis.call('HSET', KEYS[1], '${FIELD.removed}', 1)
if not ended and redis.call('HDEL', KEYS[1], '${FIELD.toldParent}') == 1 then
  -- It was about to fail in its parent, and does not.
  local above = redis.call('HGET', KEYS[1], 'parentKey')
  if above and redis.call('EXISTS', above) == 1 then
    redis.call('HINCRBY', above, '${FIELD.cancelledChildren}', -1)
  end
end
forgetNeeds(KEYS[5], ARGV[1])
return 1`,
);

export async function markRemoved(
  redis: BatchRedis,
  batchId: string,
  { force }: { readonly force: boolean },
): Promise<'marked' | 'not found' | 'not finished'> {
  const { job, dependencies } = batchKeys(redis, batchId);
  const ended = [batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
  const reply = await redis.run(MARK_REMOVED, [
    ...[job, dependencies, ...ended, needsKey(redis)],
    ...[batchId, force ? '1' : '0'],
  ]);
  return reply === 1 ? 'marked' : reply === 0 ? 'not found' : 'not finished';
}

/** KEYS: processed or failed. ARGV: members' keys. Forgets settled members, so that what is left to delete is small. */
const FORGET = script('forget', 1, `return redis.call('HDEL', KEYS[1], unpack(ARGV))`);

export async function forgetMembers(
  redis: BatchRedis,
  batchId: string,
  which: 'processed' | 'failed',
  memberKeys: readonly string[],
): Promise<void> {
  await redis.run(FORGET, [batchKeys(redis, batchId)[which], ...memberKeys]);
}

/**
 * Which of these finished batches have had their time. Only batches without a living parent do: a child goes with its
 * parent, so that a parent never expires before it.
 *
 * KEYS: the batches queue's completed, failed. ARGV: prefix of the batches' keys, batch ids.
 * Returns the ids.
 */
const EXPIRED = script(
  'expired',
  2,
  `${LUA_NOW}
local expired = {}
for i = 2, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  local batch = redis.call('HMGET', key, 'data', 'finishedOn', 'parentKey', '${FIELD.removed}', '${FIELD.definition}')
  if batch[1] then
    -- A job that somebody else has put into the queue stays, whatever is in it: it must not keep the others from going.
    local isRead, definition = pcall(cjson.decode, batch[5] or batch[1])
    local isBatch = isRead and type(definition) == 'table' and definition.id == ARGV[i]
    local keep = isBatch and definition.keep or {}
    local isRoot = not batch[3] or redis.call('EXISTS', batch[3]) == 0
    local isOld = keep.age and batch[2] and now() - tonumber(batch[2]) >= keep.age * 1000
    local rank = keep.count and (redis.call('ZREVRANK', KEYS[1], ARGV[i]) or redis.call('ZREVRANK', KEYS[2], ARGV[i]))
    local isOneTooMany = rank and rank >= keep.count
    if batch[4] or isRoot and (isOld or isOneTooMany) then
      expired[#expired + 1] = ARGV[i]
    end
  end
end
return expired`,
);

export async function expiredBatches(redis: BatchRedis, batchIds: readonly string[]): Promise<string[]> {
  const ended = [batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
  return (await redis.run(EXPIRED, [...ended, batchesKey(redis, ''), ...batchIds])) as string[];
}

/** KEYS: the batches queue's completed, failed. ARGV: from, to (ranks in both, oldest first). Returns ids of finished batches. */
const FINISHED = script(
  'finished',
  2,
  `
local ids = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2])
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], ARGV[1], ARGV[2])) do
  ids[#ids + 1] = id
end
return ids`,
);

/** A page of the batches that have finished, by rank; undefined past the last one. */
export async function finishedBatches(redis: BatchRedis, from: number, to: number): Promise<string[] | undefined> {
  const ended = [batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
  const ids = (await redis.run(FINISHED, [...ended, from, to])) as string[];
  return ids.length === 0 ? undefined : ids;
}
