import type { BatchDefinition } from '../model/definition.js';
import { stageId } from '../model/workflow.js';
import type { NewJob } from './adding-lua.js';
import type { BatchRedis } from './batch-redis.js';
import { LUA_CANCEL_ABOVE } from './climb.js';
import { batchesKey, batchKeys, FIELD, needsKey, planKey } from './keys.js';
import { LUA_NEED } from './needs.js';
import { LUA_NOW, LUA_WAKE, named, script } from './script.js';
import { LUA_TAKE_BACK } from './take-back.js';

/**
 * Starts a stage, once. 'whole': adds its members and seals it; its batch job waits for them from now on, without being
 * run for it. 'fill': lets its batch job run, which adds the members. 'run': seals it, and lets its batch job run,
 * which begins the stages below it. A stage that was skipped is taken back, also from 'completed': into the
 * dependencies of its run.
 *
 * A stage that it comes after, or a member of that one, may have been retried, and no BatchWorker has taken it up yet:
 * then that one is made to run, and starts this one when it has finished.
 *
 * KEYS: batch job, its dependencies, processed, failed, its plan, the index of needs.
 * ARGV: the jobs, see encodeRequest(). The request is { id, nonce, queueKey (key prefix of the batches queue), how,
 * after (ids of the stages that it comes after) }.
 * Returns state: 'started' | 'past' (it was started before, cancelled, is gone, or waits again for one that was
 * retried) | 'busy' (its batch job runs, because it was skipped, or that of one that was retried; or its run was
 * cancelled since it was found that it can start: look again in a moment) | 'failed', and then error.
 */
const START_STAGE = script(
  'startStage',
  6,
  `${LUA_NOW}${LUA_WAKE}${LUA_NEED}${LUA_TAKE_BACK}${LUA_CANCEL_ABOVE}
local key, id, queueKey = KEYS[1], request.id, request.queueKey
local nonce, isRemoved, isCancelled, isStarted, rule = unpack(redis.call('HMGET', key, '${FIELD.nonce}',
  '${FIELD.removal}', '${FIELD.cancelledAt}', '${FIELD.startedAt}', '${FIELD.when}'))
if nonce ~= request.nonce or isRemoved or isCancelled or isStarted then
  return { 'state', 'past' }
end
-- One that it comes after was retried since it was found that it can start: that one will start it.
if rule and verdictOf(key, rule) ~= 'start' then
  return { 'state', 'past' }
end
-- Nothing starts in a run that was cancelled since. The next look finds this stage cancelled, or cancels it.
if cancelAbove(queueKey, key) then
  return { 'state', 'busy' }
end
local function isIn(state, batchId)
  return redis.call('ZSCORE', queueKey .. state, batchId) ~= false
end
-- What a stage has reported does not hold when it, or one of its members, was retried: 'past' or 'busy'.
local function runsAgain(before)
  local beforeKey = queueKey .. before
  local isOutstanding = redis.call('SCARD', beforeKey .. ':dependencies') > 0
  if not isOutstanding and redis.call('HEXISTS', beforeKey, 'finishedOn') == 1 then
    return nil
  end
  local outcome, wasCancelled, isBeingRemoved, reportedIn, runs = unpack(redis.call('HMGET', beforeKey,
    '${FIELD.outcome}', '${FIELD.cancelledAt}', '${FIELD.removal}', '${FIELD.reportedIn}', 'ats'))
  if not outcome or wasCancelled or isBeingRemoved or isIn('completed', before) then
    return nil
  elseif redis.call('EXISTS', beforeKey .. ':lock') == 1 then
    -- Its batch job runs, and is about to end, unless it has not looked at the batch since it was retried.
    return (isOutstanding or reportedIn ~= runs) and 'busy' or nil
  elseif leaveEnd(queueKey, beforeKey, before, 'failed') then
    redis.call('ZADD', queueKey .. 'delayed', 0, before)
    need(beforeKey, KEYS[6], before, '')
    wake(queueKey, beforeKey, before)
  end
  return 'past'
end
for _, before in ipairs(request.after) do
  local state = runsAgain(before)
  if state then
    return { 'state', state }
  end
end
-- A BatchWorker that runs the batch job has seen it as a stage that does not start, and may be about to end it as such.
if not isIn('delayed', id) and not isIn('waiting-children', id) and not isIn('completed', id) then
  return { 'state', 'busy' }
end
-- Those that were skipped because it was wait again before it starts, however many commands that takes.
recall(queueKey, key)
if not tookBackAll() then
  return { 'state', 'busy' }
end
local function isThere(member)
  return redis.call('SISMEMBER', KEYS[2], member) == 1 or redis.call('HEXISTS', KEYS[3], member) == 1
    or redis.call('HEXISTS', KEYS[4], member) == 1
end
local wanted = {}
for i = 1, jobCount do
  if not isThere(jobKeyAt(i)) then
    wanted[#wanted + 1] = i
  end
end
if #wanted > 0 then
  local stored, failed, problem = storeJobs(wanted)
  redis.call('HINCRBY', key, '${FIELD.total}', stored)
  if failed then
    return { 'state', 'failed', 'error', problem }
  end
end
redis.call('HSET', key, '${FIELD.startedAt}', now(), '${FIELD.registeredAt}', now())
redis.call('HDEL', key, '${FIELD.skippedAt}')
need(key, KEYS[6], id, '')
if request.how == 'fill' then
  redis.call('HDEL', key, '${FIELD.sealedAt}')
else
  redis.call('HSET', key, '${FIELD.sealedAt}', now())
  redis.call('UNLINK', KEYS[5])
end
if leaveEnd(queueKey, key, id, 'completed') then
  redis.call('ZADD', queueKey .. 'delayed', 0, id)
end
if request.how ~= 'whole' or redis.call('SCARD', KEYS[2]) == 0 then
  wake(queueKey, key, id)
else
  waitForMembers(queueKey, key, id)
end
return { 'state', 'started' }`,
);

export interface StageStarted {
  readonly state: 'started' | 'past' | 'busy' | 'failed';
  /** Why it has failed. */
  readonly error?: string;
}

export async function startStage(
  redis: BatchRedis,
  { id, nonce, parentId = '', stage }: BatchDefinition,
  { how, jobs = [] }: { readonly how: 'whole' | 'fill' | 'run'; readonly jobs?: readonly NewJob[] },
): Promise<StageStarted> {
  const { job, dependencies, processed, failed } = batchKeys(redis, id);
  const keys = [job, dependencies, processed, failed, planKey(redis, id), needsKey(redis)];
  const after = (stage?.after ?? []).map((name) => stageId(parentId, name));
  const request = { id, nonce, how, after, queueKey: batchesKey(redis, '') };
  return named(await redis.runAdding(START_STAGE, jobs, keys, request)) as unknown as StageStarted;
}
