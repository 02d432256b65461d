import { OPEN_TIMEOUT_MS } from '../model/definition.js';
import { FIELD } from './keys.js';

/*
 * The outcome that a stage of a run has reported holds until the stage runs again. Then the report is taken back from
 * the stages after it, and those of them that were skipped because of it wait again. So no stage starts before all that
 * it comes after have finished, also when some of them are retried.
 */

/**
 * The `when` of a stage that comes after one that is gone: it stays skipped whatever is retried. The number of stages
 * that it comes after does not matter then.
 */
const NEVER = 'never';
export const NEVER_RULE = `${NEVER} 0`;

/** About how many stages one command looks at to take something back. To open one again costs as much as some looks. */
const LOOKS_AT_ONCE = 600;
const LOOKS_PER_OPENED = 2;

/**
 * The outcome of a stage whose report is being taken back: it stands until all stages that were skipped because of the
 * report wait again, which may take several commands.
 */
const RECALLING = 'recalling';

/** Lua: count(key, outcome, by) counts, in a stage, an outcome of one that it comes after, if that has one. */
export const LUA_COUNT_OUTCOME = `
local AFTER = { succeeded = '${FIELD.after.succeeded}', failed = '${FIELD.after.failed}',
  skipped = '${FIELD.after.skipped}' }
local function count(key, outcome, by)
  if AFTER[outcome] then
    redis.call('HINCRBY', key, AFTER[outcome], by)
  end
end
`;

/**
 * Lua, after LUA_NOW:
 * - verdictOf(key, rule) says what is to become of a stage that has not started: 'start', 'skip' or 'wait'. `rule` is
 *   '<when> <how many stages it comes after>'.
 * - tell(queueKey, key, outcome) stores the outcome of a stage and counts it in the stages after it, in place of the
 *   one before. Returns the ids of those stages.
 * - takeBack(queueKey, ids, from, to) lets those of these stages wait again that were skipped and need not be any more,
 *   and recalls their own outcome in turn. A stage whose batch job is just ending as skipped, after it has reported so,
 *   is left skipped; the next report to it opens it. What is too much for one command is left to the next one:
 *   tookBackAll() tells.
 * - recall(queueKey, key) takes back the outcome that a stage has reported, if any.
 * - leaveEnd(queueKey, key, id, state) takes a stage that has ended, 'completed' or 'failed', back into what its run
 *   waits for; returns false for one that is not in that state.
 */
export const LUA_TAKE_BACK = `${LUA_COUNT_OUTCOME}
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
local function idsOf(lines)
  local ids = {}
  for id in string.gmatch(lines or '', '[^\\n]+') do
    ids[#ids + 1] = id
  end
  return ids
end
local function tell(queueKey, key, outcome)
  local before, following = unpack(redis.call('HMGET', key, '${FIELD.outcome}', '${FIELD.next}'))
  local ids = idsOf(following)
  if before ~= outcome then
    for _, id in ipairs(ids) do
      if redis.call('HEXISTS', queueKey .. id, '${FIELD.when}') == 1 then
        count(queueKey .. id, before, -1)
        count(queueKey .. id, outcome, 1)
      end
    end
    redis.call('HSET', key, '${FIELD.outcome}', outcome, '${FIELD.reportedIn}', redis.call('HGET', key, 'ats') or '')
  end
  return ids
end
local takeBack
local looks, steps = 0, 0
-- Each command takes at least one step, so that the next one has less to do.
local function tookBackAll()
  return steps == 0 or looks < ${LOOKS_AT_ONCE}
end
local function recall(queueKey, key)
  local before = redis.call('HGET', key, '${FIELD.outcome}')
  if before then
    local ids = tell(queueKey, key, '${RECALLING}')
    looks = looks + (before == '${RECALLING}' and 0 or #ids)
    takeBack(queueKey, ids, 1, #ids)
    if tookBackAll() then
      redis.call('HDEL', key, '${FIELD.outcome}')
      steps = steps + 1
    end
  end
end
local function leaveEnd(queueKey, key, id, state)
  if redis.call('ZREM', queueKey .. state, id) == 0 then
    return false
  end
  redis.call('HDEL', key, 'finishedOn', 'processedOn', 'returnvalue', 'failedReason')
  local runKey = redis.call('HGET', key, 'parentKey')
  if runKey and redis.call('HDEL', runKey .. (state == 'failed' and ':failed' or ':processed'), key) == 1 then
    redis.call('SADD', runKey .. ':dependencies', key)
  end
  return true
end
local function reopen(queueKey, key, id)
  redis.call('HDEL', key, '${FIELD.skippedAt}', '${FIELD.sealedAt}')
  if leaveEnd(queueKey, key, id, 'completed') then
    local openTimeout = redis.call('HGET', key, '${FIELD.openTimeout}') or ${OPEN_TIMEOUT_MS}
    redis.call('HDEL', key, 'progress')
    redis.call('HSET', key, 'delay', openTimeout)
    redis.call('ZADD', queueKey .. 'delayed', string.format('%.0f', (now() + tonumber(openTimeout)) * 4096), id)
  end
end
takeBack = function(queueKey, ids, from, to)
  for i = from, to do
    if not tookBackAll() then
      return
    end
    looks = looks + 1
    local id = ids[i]
    local key = queueKey .. id
    local rule, isSkipped, isStarted, isRemoved, isCancelled, outcome = unpack(redis.call('HMGET', key,
      '${FIELD.when}', '${FIELD.skippedAt}', '${FIELD.startedAt}', '${FIELD.removal}', '${FIELD.cancelledAt}',
      '${FIELD.outcome}'))
    local isEnding = AFTER[outcome] and not redis.call('ZSCORE', queueKey .. 'completed', id)
    local isOut = not rule or isStarted or isRemoved or isCancelled
    if not isOut and not isSkipped and outcome == '${RECALLING}' then
      recall(queueKey, key)
    elseif not isOut and isSkipped and not isEnding and verdictOf(key, rule) ~= 'skip' then
      steps, looks = steps + 1, looks + ${LOOKS_PER_OPENED}
      reopen(queueKey, key, id)
      recall(queueKey, key)
    end
  end
end
`;
