import { OPEN_TIMEOUT_MS } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_NOW, script } from './script.js';

/*
 * The outcome that a stage of a run has reported holds until the stage runs again. Then the report is taken back from
 * the stages after it, and those of them that were skipped because of it wait again. So no stage starts before all that
 * it comes after have finished, also when some of them are retried.
 */

/**
 * The `when` of a stage that waited for one that is gone: it stays skipped whatever is retried. A BatchWorker that does
 * not know the word goes by the number, and waits for more stages than there are.
 */
const NEVER = 'never';
export const NEVER_RULE = `${NEVER} 1000000000`;

/**
 * Lua: verdictOf(key, rule) says what is to become of a stage that has not started: 'start', 'skip' or 'wait'. `rule`
 * is '<when> <how many stages it comes after>'.
 */
export const LUA_VERDICT = `
local AFTER = { succeeded = '${FIELD.after.succeeded}', failed = '${FIELD.after.failed}',
  skipped = '${FIELD.after.skipped}' }
local function verdictOf(key, rule)
  local when, awaited = string.match(rule, '^(%a+) (%d+)$')
  local counts = redis.call('HMGET', key, AFTER.succeeded, AFTER.failed, AFTER.skipped)
  local succeeded, failed, skipped = tonumber(counts[1] or 0), tonumber(counts[2] or 0), tonumber(counts[3] or 0)
  if when == '${NEVER}' or when == 'success' and failed + skipped > 0 then
    return 'skip'
  elseif succeeded + failed + skipped < tonumber(awaited) then
    return 'wait'
  end
  return when == 'failure' and failed == 0 and 'skip' or 'start'
end
`;

/** How many skipped stages one command opens again at most. */
const TAKEN_BACK_AT_ONCE = 200;

/**
 * Stands for the outcome of a stage whose report was taken back, until all stages that were skipped because of it wait
 * again.
 */
const RECALLING = 'recalling';

/**
 * Lua, after LUA_NOW and LUA_VERDICT: recall(queueKey, key) takes back the outcome that a stage has reported to those
 * after it, and opens them again by takeBack(). takeBack(queueKey, ids) opens those of these stages that were skipped
 * and need not be any more, and recalls their own outcome in turn. A stage whose batch job is just ending as skipped,
 * after it has reported so, is left skipped; the next report to it opens it. What is too much for one command is left
 * to the next one: tookBackAll() tells.
 */
export const LUA_TAKE_BACK = `
local takeBack
local takenBack = 0
local function tookBackAll()
  return takenBack < ${TAKEN_BACK_AT_ONCE}
end
local function recall(queueKey, key)
  local outcome, nextIds = unpack(redis.call('HMGET', key, '${FIELD.outcome}', '${FIELD.next}'))
  if not outcome then
    return
  end
  for id in string.gmatch(AFTER[outcome] and nextIds or '', '[^\\n]+') do
    if redis.call('HEXISTS', queueKey .. id, '${FIELD.when}') == 1 then
      redis.call('HINCRBY', queueKey .. id, AFTER[outcome], -1)
    end
  end
  redis.call('HSET', key, '${FIELD.outcome}', '${RECALLING}')
  takeBack(queueKey, nextIds)
  if tookBackAll() then
    redis.call('HDEL', key, '${FIELD.outcome}')
  end
end
-- Takes a stage that has ended back into what its run waits for; false for one that has not.
local function leaveCompleted(queueKey, key, id)
  if redis.call('ZREM', queueKey .. 'completed', id) == 0 then
    return false
  end
  redis.call('HDEL', key, 'finishedOn', 'processedOn', 'returnvalue')
  local runKey = redis.call('HGET', key, 'parentKey')
  if runKey and redis.call('HDEL', runKey .. ':processed', key) == 1 then
    redis.call('SADD', runKey .. ':dependencies', key)
  end
  return true
end
local function reopen(queueKey, key, id)
  if leaveCompleted(queueKey, key, id) then
    local openTimeout = redis.call('HGET', key, '${FIELD.openTimeout}') or ${OPEN_TIMEOUT_MS}
    redis.call('HDEL', key, 'progress')
    redis.call('HSET', key, 'delay', openTimeout)
    redis.call('ZADD', queueKey .. 'delayed', string.format('%.0f', (now() + tonumber(openTimeout)) * 4096), id)
  end
end
takeBack = function(queueKey, ids)
  for id in string.gmatch(ids or '', '[^\\n]+') do
    if not tookBackAll() then
      return
    end
    local key = queueKey .. id
    local rule, isSkipped, isStarted, isRemoved, isCancelled, outcome = unpack(redis.call('HMGET', key,
      '${FIELD.when}', '${FIELD.skippedAt}', '${FIELD.startedAt}', '${FIELD.removal}', '${FIELD.cancelledAt}',
      '${FIELD.outcome}'))
    local isEnding = AFTER[outcome] and not redis.call('ZSCORE', queueKey .. 'completed', id)
    local isOut = not rule or isStarted or isRemoved or isCancelled
    if not isOut and not isSkipped and outcome == '${RECALLING}' then
      recall(queueKey, key)
    elseif not isOut and isSkipped and not isEnding and verdictOf(key, rule) ~= 'skip' then
      takenBack = takenBack + 1
      redis.call('HDEL', key, '${FIELD.skippedAt}', '${FIELD.sealedAt}')
      reopen(queueKey, key, id)
      recall(queueKey, key)
    end
  end
end
`;

/**
 * Takes back the outcome of a stage whose batch job runs again, one bounded part.
 *
 * KEYS: batch job. ARGV: lock token, key prefix of the batches queue.
 * Returns 1 when there is more to do, otherwise 0, also without the lock.
 */
const RECALL = script(
  'recall',
  1,
  `${LUA_NOW}${LUA_VERDICT}${LUA_TAKE_BACK}
if redis.call('GET', KEYS[1] .. ':lock') ~= ARGV[1] then
  return 0
end
recall(ARGV[2], KEYS[1])
return redis.call('HEXISTS', KEYS[1], '${FIELD.outcome}')`,
);

/** Takes back, for the holder of its batch job, the outcome that a stage has reported before. */
export async function recallOutcome(redis: BatchRedis, batchId: string, token: string): Promise<void> {
  const args = [batchKeys(redis, batchId).job, token, batchesKey(redis, '')];
  while ((await redis.run(RECALL, args)) === 1) {
    // Each command opens some more of the skipped stages.
  }
}
