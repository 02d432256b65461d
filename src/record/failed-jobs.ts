import type { BatchRedis } from './batch-redis.js';
import { batchesKey, EARLIER_FAILURES_FIELD } from './keys.js';
import { LUA_NOW, LUA_SPLIT_KEY, script } from './script.js';

/*
 * How often a job had failed before its attempts were reset. The ids of what a running job adds depend on how often it
 * has failed, which BullMQ's own fields do not show once a job that keeps only some of its stack traces was retried.
 */

/** How many failed jobs below one job a command looks at: a flow that is added as one has fewer. */
const MOST_FAILED_BELOW = 500;

/**
 * Looks at jobs that are about to be retried with their attempts reset. Of those that keep only some of their stack
 * traces it notes the failures, as '<how many>@<starts until then>'. Sent again, it changes nothing.
 *
 * A failed job of a flow, for which the jobs below it were retried, is put back to waiting for them. BullMQ's own retry
 * would run it at once. As BullMQ does, the script puts the job back into the dependencies of the job above it.
 *
 * KEYS: a key of the batches queue, which only says where in a cluster the jobs are.
 * ARGV: key prefix of all queues, '1' to put jobs of flows back, keys of the jobs.
 * Returns for each job 'reopened' if it waits for jobs below it again; 'flow' if there are, or were, jobs below it;
 * else 'failed'; 'failed lifo' if it has failed and goes to the other end of its queue; '' when it has not failed, or
 * is gone.
 */
const LOOK = script(
  'lookAtFailed',
  1,
  `${LUA_NOW}${LUA_SPLIT_KEY}
local function noteFailures(key)
  local starts, failures, before = unpack(redis.call('HMGET', key, 'ats', 'atm', '${EARLIER_FAILURES_FIELD}'))
  local sum, at = string.match(before or '', '^(%d+)@(%d+)$')
  if starts and at ~= starts then
    local all = tonumber(sum or 0) + tonumber(failures or 0)
    redis.call('HSET', key, '${EARLIER_FAILURES_FIELD}', all .. '@' .. starts)
  end
end
-- What queue.retryJobs() of BullMQ 5 retries stays among the failed jobs of the job above: it is put where it belongs.
local function noteRetriedBelow(key)
  for _, below in ipairs(redis.call('ZRANGE', key .. ':unsuccessful', 0, ${MOST_FAILED_BELOW - 1})) do
    local queueKey, id = splitKey(below, ARGV[1])
    if queueKey and redis.call('HGET', below, 'parentKey') == key
      and not redis.call('ZSCORE', queueKey .. 'failed', id) then
      redis.call('ZREM', key .. ':unsuccessful', below)
      if redis.call('ZSCORE', queueKey .. 'completed', id) then
        redis.call('HSET', key .. ':processed', below, redis.call('HGET', below, 'returnvalue') or 'null')
      else
        redis.call('SADD', key .. ':dependencies', below)
      end
    end
  end
end
local function reopen(key, queueKey, id)
  if redis.call('SCARD', key .. ':dependencies') == 0 or redis.call('ZREM', queueKey .. 'failed', id) == 0 then
    return false
  end
  redis.call('HDEL', key, 'finishedOn', 'processedOn', 'failedReason', 'defa', 'atm')
  local failedAgain = redis.call('ZRANGE', key .. ':unsuccessful', 0, 0)[1]
  if failedAgain then
    -- As BullMQ has it: the worker fails the job for this reason, and does not run it.
    redis.call('HSET', key, 'defa', 'child ' .. failedAgain .. ' failed')
  end
  redis.call('ZADD', queueKey .. 'waiting-children', now(), id)
  local above = redis.call('HGET', key, 'parentKey')
  if above and redis.call('EXISTS', above) == 1 then
    if redis.call('ZREM', above .. ':unsuccessful', key) == 1 or redis.call('HDEL', above .. ':failed', key) == 1 then
      redis.call('SADD', above .. ':dependencies', key)
    end
  end
  return true
end
local function look(key)
  local queueKey, id = splitKey(key, ARGV[1])
  -- What is left of a job whose hash was evicted must not become a job without name and data.
  if not queueKey or redis.call('HEXISTS', key, 'timestamp') == 0 then
    return ''
  end
  local hasFailed = redis.call('ZSCORE', queueKey .. 'failed', id)
  if hasFailed and ARGV[2] == '1' then
    noteRetriedBelow(key)
  end
  if redis.call('EXISTS', key .. ':unsuccessful', key .. ':dependencies') > 0 then
    return ARGV[2] == '1' and reopen(key, queueKey, id) and 'reopened' or 'flow'
  elseif not hasFailed then
    return ''
  end
  local opts = redis.call('HGET', key, 'opts') or ''
  if string.find(opts, '"stackTraceLimit":', 1, true) then
    noteFailures(key)
  end
  return string.find(opts, '"lifo":true', 1, true) and 'failed lifo' or 'failed'
end
local found = {}
for i = 3, #ARGV do
  found[#found + 1] = look(ARGV[i])
end
return found`,
);

/** How a job can be retried; '' when it cannot. */
export type Retriable = 'failed' | 'failed lifo' | 'flow' | '';

/** Looks at jobs that are about to be retried, and notes how often they have failed; returns what each is. */
export async function lookAtFailed(redis: BatchRedis, keys: readonly string[]): Promise<readonly Retriable[]> {
  return look<Retriable>(redis, keys, '');
}

/**
 * Puts a failed job of a flow back to waiting for the jobs below it. Returns 'reopened', or what the job is when there
 * is nothing that it could wait for.
 */
export async function reopenFlow(redis: BatchRedis, key: string): Promise<Retriable | 'reopened'> {
  const [found = ''] = await look<Retriable | 'reopened'>(redis, [key], '1');
  return found;
}

async function look<Found>(redis: BatchRedis, keys: readonly string[], reopens: '' | '1'): Promise<readonly Found[]> {
  return (await redis.run(LOOK, [batchesKey(redis, ''), redis.prefix, reopens, ...keys])) as Found[];
}

/**
 * Returns how often a job has failed in all.
 *
 * @param counts BullMQ's counts: `attemptsMade`, which a retry may have reset to 0, and `attemptsStarted`.
 */
export async function failuresOfJob(
  redis: BatchRedis,
  jobKey: string,
  { attemptsMade, attemptsStarted }: { readonly attemptsMade: number; readonly attemptsStarted: number },
): Promise<number> {
  const noted = await redis.command('HGET', jobKey, EARLIER_FAILURES_FIELD);
  const [, sum = 0, starts = 0] = /^(\d+)@(\d+)$/.exec(String(noted ?? '')) ?? [];
  // More failures than starts since then: the process that noted it died before it had reset the attempts.
  const wasReset = attemptsMade <= attemptsStarted - Number(starts);
  return wasReset ? Number(sum) + attemptsMade : attemptsMade;
}
