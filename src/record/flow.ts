import type { AttachmentLink } from './add-members.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, jobKey, memberName } from './keys.js';
import { LUA_NOW, rowsOf, script } from './script.js';

/** A flow is not that deep: a longer line is a circle, made by hand. */
const MOST_LEVELS = 1000;

/**
 * Returns the keys of a job, of those above it in its flow, and at last of its batch's job; undefined outside of
 * batches.
 */
export async function pathToBatch(redis: BatchRedis, job: string): Promise<readonly string[] | undefined> {
  const line: string[] = [];
  for (let key: string | null = job; key !== null && line.length < MOST_LEVELS; ) {
    line.push(key);
    if (key.startsWith(batchesKey(redis, ''))) {
      return line;
    }
    key = (await redis.command('HGET', key, 'parentKey')) as string | null;
  }
  return undefined;
}

/**
 * Returns the links that entitle the first of these jobs to add to the batch at the end of the line: each is
 * outstanding in the next.
 */
export function linksAlong(line: readonly string[]): AttachmentLink[] {
  return line.slice(1).map((above, i) => ({ dependencies: `${above}:dependencies`, memberKey: line[i] ?? '' }));
}

const JOBS_PER_COMMAND = 500;

/** Returns the keys of the jobs below a job that made it fail. */
export async function failedBelow(redis: BatchRedis, key: string): Promise<readonly string[]> {
  const below = new Set<string>();
  let cursor = '0';
  do {
    const reply = await redis.command('ZSCAN', `${key}:unsuccessful`, cursor, 'COUNT', JOBS_PER_COMMAND);
    const [next, page] = reply as [string, string[]];
    for (const [job = ''] of rowsOf(page, 2)) {
      below.add(job);
    }
    cursor = next;
  } while (cursor !== '0');
  return [...below];
}

/**
 * Puts a failed job of a flow back to waiting for the jobs below it, which have been retried. BullMQ's own retry would
 * run it at once. As BullMQ does, it puts the job back into the dependencies of the job above it.
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
  if redis.call('ZREM', above .. ':unsuccessful', KEYS[1]) == 1
    or redis.call('HDEL', above .. ':failed', KEYS[1]) == 1 then
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
