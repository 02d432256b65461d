import { LUA_LISTED_AS_ACTIVE } from './job-facts.js';
import { DROPPED_FIELD } from './keys.js';
import { LUA_SPLIT_KEY, LUA_UNLINK_JOB } from './script.js';

/** The size up to which Redis stores a value of a small hash compactly. */
const MOST_BYTES = 64;

/**
 * Lua: the deferred failure of a cancelled batch's jobs. The worker that takes a job with the field `defa` fails it for
 * that reason, without running it and whatever attempts are left; BullMQ itself uses it for jobs that have stalled too
 * often, and for parents of failed children. The reason holds the nonce, so that no error of a member's own is mistaken
 * for it. deferralOf(nonce, reason) makes the text, isDeferral(text, nonce) recognizes it; workers in other languages
 * store it as JSON.
 */
export const LUA_DEFERRAL = `
local function deferralOf(nonce, reason)
  local text = 'cancelled (' .. nonce .. ')'
  if reason and reason ~= '' then
    text = text .. ': ' .. reason
  end
  if #text > ${MOST_BYTES} then
    -- Not within a character of several bytes.
    text = string.gsub(string.sub(text, 1, ${MOST_BYTES - 3}), '[\\192-\\247][\\128-\\191]*$', '') .. '…'
  end
  return text
end
local function isDeferral(text, nonce)
  local beginning = 'cancelled (' .. nonce .. ')'
  return string.sub(text, 1, #beginning) == beginning or string.sub(text, 2, #beginning + 1) == beginning
end
`;

/**
 * Lua: defer(key, deferral, opts) gives a job a deferred failure. drop(key, queueKey, deferral, opts) does so with a
 * job in a list, and detaches it from its parent: whichever process meets it in the list removes it.
 * noteDropped(registryKey) must be called at the end.
 */
const LUA_DEFER = `${LUA_DEFERRAL}
local dropped = {}
-- The worker that takes the job fails it, and BullMQ removes it then.
local function defer(key, deferral, opts, ...)
  -- Of two options with one name the last one counts. What was written stays as it is: cjson would change numbers.
  opts = string.match(opts or '', '^(.*)}') or '{'
  opts = opts .. (opts == '{' and '' or ',') .. '"removeOnFail":true}'
  redis.call('HSET', key, 'defa', deferral, 'opts', opts, ...)
end
local function drop(key, queueKey, deferral, opts)
  defer(key, deferral, opts, '${DROPPED_FIELD}', 1)
  redis.call('HDEL', key, 'parentKey', 'parent')
  dropped[queueKey] = (dropped[queueKey] or 0) + 1
end
local function noteDropped(registryKey)
  for queueKey, count in pairs(dropped) do
    redis.call('HINCRBY', registryKey, queueKey, count)
  end
end
`;

/**
 * Lua: isJobRunning(key, queueKey, id): whether a worker has a job, or had it when it died.
 *
 * cancelJob(key, queueKey, id, ownerKey, deferral) takes a pending job out of the dependencies of its owner, a batch or
 * the root of a flow. It returns what became of the job:
 *
 * - 'cancelled': it will not run. From 'delayed', 'prioritized' or 'waiting-children' it was removed. In a list it was
 *   dropped: it has no parent any more, and the worker that takes it, or the search for dropped jobs, removes it.
 * - 'running': it has a deferred failure, so that it is not tried again. Its own options say how it ends by itself.
 * - 'waits': it has a deferred failure, and jobs below it have to be cancelled first.
 * - nil: it is not a job of this owner, or it has finished, or is gone; a repair settles it.
 */
export const LUA_CANCEL_JOB = `${LUA_SPLIT_KEY}${LUA_LISTED_AS_ACTIVE}${LUA_UNLINK_JOB}${LUA_DEFER}
-- The set of its queue that it is in; nil for a job in a list, or in none.
local function setOf(queueKey, id)
  for _, state in ipairs({ 'delayed', 'prioritized', 'waiting-children' }) do
    if redis.call('ZSCORE', queueKey .. state, id) then
      return queueKey .. state
    end
  end
end
-- Whether a worker has the job, or had it when it died; and the set that the job is in otherwise, if any.
local function isJobRunning(key, queueKey, id)
  if redis.call('EXISTS', key .. ':lock') == 1 then
    return true
  end
  local set = setOf(queueKey, id)
  return not set and isListedAsActive(queueKey, id), set
end
local function cancelJob(key, queueKey, id, ownerKey, deferral)
  local timestamp, parentKey, finishedOn, defa, opts =
    unpack(redis.call('HMGET', key, 'timestamp', 'parentKey', 'finishedOn', 'defa', 'opts'))
  if not timestamp or parentKey ~= ownerKey or finishedOn then
    return nil
  end
  local isRunning, set = isJobRunning(key, queueKey, id)
  if isRunning or redis.call('SCARD', key .. ':dependencies') > 0 then
    if defa ~= deferral then
      defer(key, deferral, opts)
    end
    return isRunning and 'running' or 'waits'
  end
  if set then
    redis.call('ZREM', set, id)
    unlinkJob(key)
  else
    drop(key, queueKey, deferral, opts)
  end
  redis.call('SREM', ownerKey .. ':dependencies', key)
  return 'cancelled'
end
`;
