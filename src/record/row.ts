import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { script } from './script.js';

/** A line in the log of a batch job. */
export interface LogLine {
  /** When it happened, in ms since the epoch. */
  readonly at: number;
  readonly text: string;
  /**
   * Whether the line is written again although the log has it, if something else has happened since: a batch can finish
   * twice.
   */
  readonly mayRecur: boolean;
}

/**
 * How many lines are kept, and read, at each end of a log: the first ones say how a batch began, the last ones what
 * happened last.
 */
const LINES_AT_EACH_END = 150;

/** How many surplus lines are removed from a log at once. */
const MOST_TAKEN_OUT = 100;

/** The placeholder for a line, until all surplus lines are removed together. */
const TAKEN_OUT = 'b:takenOut';

/** The longest line, in characters: reasons of users are part of it. */
const LONGEST_LINE = 1000;

/**
 * Writes what people read in the row of a batch: the progress of its job, with the event that BullMQ sends for it, and
 * the lines that its log lacks. A log that has grown long by retries loses its middle. The process that holds the batch
 * job may write at any time. Any other process may write only while no process holds the job, and only what it has seen
 * after the job's end, if it has ended: an older snapshot must not overwrite the last one.
 *
 * KEYS: batch job, its lock, its log, the batches queue's events, meta.
 * ARGV: batch id, lock token or '', when the batch job had ended by the snapshot, or '', progress (JSON), then for each
 * line: time as text, text, '1' if it may recur.
 * Returns 1 when anything was written.
 */
const SHOW = script(
  'show',
  5,
  `
local isThere, progress, removed, finishedOn = unpack(redis.call('HMGET', KEYS[1], 'timestamp', 'progress',
  '${FIELD.removal}', 'finishedOn'))
local holder = redis.call('GET', KEYS[2])
if not isThere or removed or (holder or '') ~= ARGV[2] or not holder and (finishedOn or '') ~= ARGV[3] then
  return 0
end
local written = 0
if progress ~= ARGV[4] then
  redis.call('HSET', KEYS[1], 'progress', ARGV[4])
  local length = redis.call('HGET', KEYS[5], 'opts.maxLenEvents') or 10000
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', length, '*', 'event', 'progress', 'jobId', ARGV[1], 'data', ARGV[4])
  written = 1
end
local logged, last = {}, nil
local function read(from, to)
  for _, line in ipairs(redis.call('LRANGE', KEYS[3], from, to)) do
    last = string.match(line, '^%S+ (.*)$') or line
    logged[last] = true
  end
end
read(0, ${LINES_AT_EACH_END - 1})
read(-${LINES_AT_EACH_END}, -1)
for i = 5, #ARGV, 3 do
  local text = ARGV[i + 1]
  if not logged[text] or ARGV[i + 2] == '1' and last ~= text then
    redis.call('RPUSH', KEYS[3], ARGV[i] .. ' ' .. text)
    logged[text], last, written = true, text, 1
  end
end
local surplus = math.min(redis.call('LLEN', KEYS[3]) - ${2 * LINES_AT_EACH_END}, ${MOST_TAKEN_OUT})
if surplus > 0 then
  for i = 0, surplus - 1 do
    redis.call('LSET', KEYS[3], ${LINES_AT_EACH_END} + i, '${TAKEN_OUT}')
  end
  redis.call('LREM', KEYS[3], surplus, '${TAKEN_OUT}')
end
return written`,
);

/** The row of a batch, and as whom it is written. */
export interface BatchRow {
  /** The lock token of the batch job, for the process that holds it; '' for any other. */
  readonly token: string;
  /** When the batch job ended, in ms since the epoch; undefined if it had not when the snapshot was taken. */
  readonly endedAt?: number | undefined;
  readonly progress: object;
  readonly log: readonly LogLine[];
}

/** Writes a row; resolves with whether anything in it has changed. */
export async function showRow(redis: BatchRedis, batchId: string, row: BatchRow): Promise<boolean> {
  const { job } = batchKeys(redis, batchId);
  const written = await redis.run(SHOW, [
    ...[job, `${job}:lock`, `${job}:logs`, batchesKey(redis, 'events'), batchesKey(redis, 'meta')],
    ...[batchId, row.token, row.endedAt ?? '', JSON.stringify(row.progress)],
    ...row.log.flatMap(({ at, text, mayRecur }) => [
      new Date(at).toISOString(),
      text.slice(0, LONGEST_LINE),
      mayRecur ? '1' : '0',
    ]),
  ]);
  return written === 1;
}
