import type { BatchRedis } from './batch-redis.js';
import { EARLIER_FAILURES_FIELD } from './keys.js';
import { script } from './script.js';

/*
 * How often a job had failed before its attempts were reset. The ids of what a running job adds depend on how often it
 * has failed, which BullMQ's own fields do not show once a job that keeps only some of its stack traces was retried.
 */

/**
 * Notes the failures of a job that is about to be retried with its attempts reset, as '<how many>@<starts until then>'.
 * Sent again, it changes nothing.
 *
 * KEYS: job.
 */
const NOTE = script(
  'noteEarlierFailures',
  1,
  `
local starts, failures, before = unpack(redis.call('HMGET', KEYS[1], 'ats', 'atm', '${EARLIER_FAILURES_FIELD}'))
local sum, at = string.match(before or '', '^(%d+)@(%d+)$')
if starts and at ~= starts then
  local all = tonumber(sum or 0) + tonumber(failures or 0)
  redis.call('HSET', KEYS[1], '${EARLIER_FAILURES_FIELD}', all .. '@' .. starts)
end`,
);

export async function noteEarlierFailures(redis: BatchRedis, jobKey: string): Promise<void> {
  await redis.run(NOTE, [jobKey]);
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
