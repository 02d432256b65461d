import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { script } from './script.js';

/** A line in the log of a batch job. */
export interface LogLine {
  /** When it happened, in ms since the epoch. */
  readonly at: number;
  readonly text: string;
  /** Whether it is told again although the log has it, if something else has happened since: a batch can finish twice. */
  readonly mayRecur: boolean;
}

/**
 * Writes what people read in the row of a batch: the progress of its job, with the event that BullMQ sends for it, and the
 * lines that its log lacks. Whoever holds the batch job may, and anybody else while nobody holds it and it has not ended:
 * a look that was taken earlier must not overwrite the last one.
 *
 * KEYS: batch job, its lock, its log, the batches queue's events, meta, completed, failed.
 * ARGV: batch id, lock token or '', progress (JSON), then for each line: time as text, text, '1' if it may recur.
 * Returns 1 when anything was written.
 */
const SHOW = script(
  'show',
  7,
  `
local progress, removed = unpack(redis.call('HMGET', KEYS[1], 'progress', '${FIELD.removal}'))
local holder = redis.call('GET', KEYS[2])
if removed or redis.call('EXISTS', KEYS[1]) == 0 or (holder or '') ~= ARGV[2] then
  return 0
end
if not holder and (redis.call('ZSCORE', KEYS[6], ARGV[1]) or redis.call('ZSCORE', KEYS[7], ARGV[1])) then
  return 0
end
local written = 0
if progress ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'progress', ARGV[3])
  local length = redis.call('HGET', KEYS[5], 'opts.maxLenEvents') or 10000
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', length, '*', 'event', 'progress', 'jobId', ARGV[1], 'data', ARGV[3])
  written = 1
end
local told, last = {}, nil
for _, line in ipairs(redis.call('LRANGE', KEYS[3], 0, -1)) do
  last = string.match(line, '^%S+ (.*)$') or line
  told[last] = true
end
for i = 4, #ARGV, 3 do
  local text = ARGV[i + 1]
  if not told[text] or ARGV[i + 2] == '1' and last ~= text then
    redis.call('RPUSH', KEYS[3], ARGV[i] .. ' ' .. text)
    told[text], last, written = true, text, 1
  end
end
return written`,
);

export async function showRow(
  redis: BatchRedis,
  batchId: string,
  { token, progress, log }: { readonly token: string; readonly progress: object; readonly log: readonly LogLine[] },
): Promise<void> {
  const { job } = batchKeys(redis, batchId);
  const queueKeys = ['events', 'meta', 'completed', 'failed'].map((name) => batchesKey(redis, name));
  await redis.run(SHOW, [
    ...[job, `${job}:lock`, `${job}:logs`, ...queueKeys],
    ...[batchId, token, JSON.stringify(progress)],
    ...log.flatMap(({ at, text, mayRecur }) => [new Date(at).toISOString(), text, mayRecur ? '1' : '0']),
  ]);
}
