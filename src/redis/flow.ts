import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, jobKey, memberName } from './keys.js';
import { LUA_NOW, LUA_WAKE, script } from './script.js';

/**
 * Says which jobs of a flow would not be new. A root that is a member already makes the whole flow a known one: its
 * descendants were added with it.
 *
 * KEYS: batch job, its processed, failed. ARGV: key of the root, then the keys of descendants.
 * Returns the keys of descendants that exist; none for a known root, or without a batch.
 */
const TAKEN = script(
  'taken',
  3,
  `
local root = ARGV[1]
local isKnown = redis.call('HGET', root, 'parentKey') == KEYS[1] or
  redis.call('HEXISTS', KEYS[2], root) == 1 or redis.call('HEXISTS', KEYS[3], root) == 1
local taken = {}
if isKnown or redis.call('EXISTS', KEYS[1]) == 0 then
  return taken
end
for i = 2, #ARGV do
  if redis.call('EXISTS', ARGV[i]) == 1 then
    taken[#taken + 1] = ARGV[i]
  end
end
return taken`,
);

export async function takenKeys(
  redis: BatchRedis,
  batchId: string,
  root: string,
  descendants: readonly string[],
): Promise<ReadonlySet<string>> {
  const { job, processed, failed } = batchKeys(redis.prefix, batchId);
  return new Set((await redis.run(TAKEN, [job, processed, failed, root, ...descendants])) as string[]);
}

/** A job of a flow, and the job above it. */
export interface FlowLink {
  readonly key: string;
  readonly parentKey: string;
}

/**
 * Finds what BullMQ left out of a flow without a word: a job whose id was used elsewhere just before stays where it is, and
 * its parent in the flow would wait for nothing. Such a flow is detached from its batch, whole.
 *
 * KEYS: batch job, its dependencies. ARGV: batch id, key prefix of the batches queue, key of the root, then per descendant
 * its key and its parent's.
 * Returns the keys of the jobs that are not in the flow; when there are any, the root is no member any more.
 */
const DETACH = script(
  'detach',
  2,
  `${LUA_WAKE}
local root, strays = ARGV[3], {}
for i = 4, #ARGV, 2 do
  local parentKey = redis.call('HGET', ARGV[i], 'parentKey')
  if redis.call('EXISTS', ARGV[i]) == 1 and parentKey ~= ARGV[i + 1] then
    strays[#strays + 1] = ARGV[i]
  end
end
if #strays > 0 and redis.call('SREM', KEYS[2], root) == 1 then
  redis.call('HDEL', root, 'parentKey', 'parent')
  redis.call('HINCRBY', KEYS[1], '${FIELD.total}', -1)
  wakeIfIdle(ARGV[2], KEYS[1], ARGV[1], KEYS[2])
end
return strays`,
);

export async function detachIfBroken(
  redis: BatchRedis,
  batchId: string,
  root: string,
  links: readonly FlowLink[],
): Promise<ReadonlySet<string>> {
  const { job, dependencies } = batchKeys(redis.prefix, batchId);
  const args = [job, dependencies, batchId, batchesKey(redis.prefix, ''), root];
  return new Set(
    (await redis.run(DETACH, [...args, ...links.flatMap(({ key, parentKey }) => [key, parentKey])])) as string[],
  );
}

/** KEYS: a job's unsuccessful. ARGV: cursor, count. Returns { cursor, { key, score, … } } of what made it fail. */
const FAILED_BELOW = script('failedBelow', 1, `return redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])`);

const JOBS_PER_COMMAND = 500;

/** The keys of the jobs below a job that made it fail. */
export async function failedBelow(redis: BatchRedis, key: string): Promise<readonly string[]> {
  const below = new Set<string>();
  let cursor = '0';
  do {
    const reply = await redis.run(FAILED_BELOW, [`${key}:unsuccessful`, cursor, JOBS_PER_COMMAND]);
    const [next, page] = reply as [string, string[]];
    for (const job of page.filter((_, i) => i % 2 === 0)) {
      below.add(job);
    }
    cursor = next;
  } while (cursor !== '0');
  return [...below];
}

/**
 * Puts a failed job of a flow back to waiting for those below it, which have been retried: BullMQ's own retry would run it
 * at once. As BullMQ does, it goes back into the dependencies of what is above it.
 *
 * KEYS: the job, its dependencies, its queue's failed, waiting-children. ARGV: its id.
 * Returns 1, or 0 when it has not failed, or waits for nothing.
 */
const REOPEN = script(
  'reopen',
  4,
  `${LUA_NOW}
if redis.call('SCARD', KEYS[2]) == 0 or redis.call('ZREM', KEYS[3], ARGV[1]) == 0 then
  return 0
end
redis.call('HDEL', KEYS[1], 'finishedOn', 'processedOn', 'failedReason', 'defa', 'atm')
local failedAgain = redis.call('ZRANGE', KEYS[1] .. ':unsuccessful', 0, 0)[1]
if failedAgain then
  -- As BullMQ has it: the worker fails the job for this reason, and does not run it.
  redis.call('HSET', KEYS[1], 'defa', 'child ' .. failedAgain .. ' failed')
end
redis.call('ZADD', KEYS[4], now(), ARGV[1])
local above = redis.call('HGET', KEYS[1], 'parentKey')
if above and redis.call('EXISTS', above) == 1 then
  if redis.call('ZREM', above .. ':unsuccessful', KEYS[1]) == 1 or redis.call('HDEL', above .. ':failed', KEYS[1]) == 1 then
    redis.call('SADD', above .. ':dependencies', KEYS[1])
  end
end
return 1`,
);

export async function reopenFlow(redis: BatchRedis, key: string): Promise<boolean> {
  const { prefix } = redis;
  const { queue, id } = memberName(prefix, key);
  const keys = [key, `${key}:dependencies`, jobKey(prefix, queue, 'failed'), jobKey(prefix, queue, 'waiting-children')];
  return (await redis.run(REOPEN, [...keys, id])) === 1;
}
