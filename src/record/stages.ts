import { type BatchDefinition, OPEN_TIMEOUT_MS } from '../model/definition.js';
import type { Outcome } from '../model/workflow.js';
import type { BatchLife } from './add-members.js';
import type { NewJob } from './adding-lua.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, needsKey, PLAN_END, planKey } from './keys.js';
import { LUA_NEED } from './needs.js';
import { LUA_PLAN_SLICE, PLAN_SLICE } from './plan.js';
import { BYTES_PER_COMMAND, LUA_NOW, LUA_VERSION, LUA_WAKE, named, script } from './script.js';
import { LUA_TAKE_BACK, LUA_VERDICT, NEVER_RULE } from './take-back.js';

/*
 * How the stages of a run follow each other. A stage counts, by outcome, its predecessors that have finished. A
 * predecessor reports its outcome to all its successors in one step, before its own batch job ends, and keeps what it
 * has reported: after a crash, or when a command is sent twice, nothing is counted twice, and what it reports after a
 * retry replaces what it reported before. So the last of several predecessors, and only that one, finds that the stage
 * can start; and a run, whose stages are its members, never finishes between two of them.
 */

/** The position of the first stage, from which a report begins. */
export const FIRST_STAGE = 1;

/** How many stages that can start one command returns; the caller starts them, and asks again. */
const STARTED_AT_ONCE = 20;

/** A stage whose predecessors have finished as it asks for, and whose members are to be added. */
export interface StartableStage {
  readonly definition: BatchDefinition;
  /** The first of its jobs, as JSON, and how many there are. */
  readonly plan: readonly string[];
  readonly planLength: number;
}

/** How many stages one command looks at, to let them start, wait or be skipped; the caller asks for the next ones. */
const LOOKED_AT_ONCE = 100;

/*
 * Lua: report(queueKey, ids, before, outcome, isSkipping, from) counts the outcome of a predecessor in these stages, in
 * place of the one that it had reported before, or nil. Then it looks at some of them, those from this position on:
 * those that were skipped and may start after all wait again; those that can never start are skipped: sealed as they
 * are, empty. Returns those that can start and have not, and the position of the next one to look at, 0 after the last
 * one. `isSkipping`: nothing starts any more in this run. reportOutcome(queueKey, key, outcome, from) does this for the
 * successors of a stage.
 */
export const LUA_REPORT = `${LUA_NOW}${LUA_WAKE}${LUA_PLAN_SLICE}${LUA_VERDICT}${LUA_TAKE_BACK}
local function skip(queueKey, key, id)
  redis.call('HSET', key, '${FIELD.skippedAt}', now(), '${FIELD.sealedAt}', now())
  wake(queueKey, key, id)
end
local function report(queueKey, ids, before, outcome, isSkipping, from)
  local startable, some, position = {}, {}, 0
  before = AFTER[before] and before or nil
  for id in string.gmatch(ids or '', '[^\\n]+') do
    local key = queueKey .. id
    if before ~= outcome then
      local rule, isRemoved = unpack(redis.call('HMGET', key, '${FIELD.when}', '${FIELD.removal}'))
      if rule and not isRemoved then
        if before then
          redis.call('HINCRBY', key, AFTER[before], -1)
        end
        redis.call('HINCRBY', key, AFTER[outcome], 1)
      end
    end
    position = position + 1
    if position >= from and position <= from + ${LOOKED_AT_ONCE} then
      some[#some + 1] = id
    end
  end
  if not isSkipping then
    takeBack(queueKey, table.concat(some, '\\n', 1, math.min(#some, ${LOOKED_AT_ONCE})))
  end
  if tookBackAll() then
    for i, id in ipairs(some) do
      if i > ${LOOKED_AT_ONCE} or #startable == ${STARTED_AT_ONCE} then
        return startable, from + i - 1
      end
      local key = queueKey .. id
      local rule, isRemoved, isCancelled, isStarted, isSkipped = unpack(redis.call('HMGET', key, '${FIELD.when}',
        '${FIELD.removal}', '${FIELD.cancelledAt}', '${FIELD.startedAt}', '${FIELD.skippedAt}'))
      if rule and not (isRemoved or isStarted or isCancelled) then
        local verdict = isSkipping and 'skip' or verdictOf(key, rule)
        if verdict == 'skip' and not isSkipped then
          skip(queueKey, key, id)
        elseif verdict == 'start' then
          local plan = key .. '${PLAN_END}'
          startable[#startable + 1] = { redis.call('HGET', key, '${FIELD.definition}'), redis.call('LLEN', plan),
            planSlice(plan, 0, ${PLAN_SLICE}, ${BYTES_PER_COMMAND / STARTED_AT_ONCE}) }
        end
      end
    end
    return startable, 0
  end
  return startable, from
end
local function isSkipping(runKey)
  local run = redis.call('HMGET', runKey, '${FIELD.skippedAt}', '${FIELD.abandonedAt}')
  return (run[1] or run[2]) and true or false
end
local function reportOutcome(queueKey, key, outcome, from)
  local before, nextIds, runKey = unpack(redis.call('HMGET', key, '${FIELD.outcome}', '${FIELD.next}', 'parentKey'))
  redis.call('HSET', key, '${FIELD.outcome}', outcome)
  return report(queueKey, nextIds, before, outcome, isSkipping(runKey), from)
end
`;

/**
 * Reports the outcome of a stage to those after it, for the holder of its batch job, if the batch is as the snapshot
 * has seen it.
 *
 * KEYS: batch job, its dependencies, processed, failed. ARGV: nonce, lock token, version of the snapshot, outcome, key
 * prefix of the batches queue, position of the first stage to look at.
 * Returns state: 'reported' | 'changed' (nothing was done), startable ({ definition, length of the plan, its jobs },
 * …), next (position).
 */
const REPORT_OUTCOME = script(
  'reportOutcome',
  4,
  `${LUA_VERSION}${LUA_REPORT}
local nonce, isRemoved, total, cancelledAt, skippedAt = unpack(redis.call('HMGET', KEYS[1], '${FIELD.nonce}',
  '${FIELD.removal}', '${FIELD.total}', '${FIELD.cancelledAt}', '${FIELD.skippedAt}'))
local version = versionOf(redis.call('SCARD', KEYS[2]), redis.call('HLEN', KEYS[3]), redis.call('HLEN', KEYS[4]),
  total, cancelledAt)

if nonce ~= ARGV[1] or isRemoved or redis.call('GET', KEYS[1] .. ':lock') ~= ARGV[2] or version ~= ARGV[3] then
  return { 'state', 'changed' }
end
if ARGV[4] == 'skipped' and not skippedAt then
  return { 'state', 'changed' }
end
local startable, following = reportOutcome(ARGV[5], KEYS[1], ARGV[4], tonumber(ARGV[6]))
return { 'state', 'reported', 'startable', startable, 'next', following }`,
);

/**
 * Begins a run that was sealed: its first stages can start or, if the run is skipped or was abandoned, are skipped. An
 * open run whose producer has given no sign of life for its openTimeout is abandoned: as its stages are outstanding,
 * nothing else would end it.
 *
 * KEYS: batch job. ARGV: lock token, key prefix of the batches queue, position of the first stage to look at.
 * Returns state: 'begun', startable and next, as above | 'open' and openFor (ms) | 'over' (it was cancelled or removed,
 * or the lock is lost).
 */
const BEGIN_RUN = script(
  'beginRun',
  1,
  `${LUA_REPORT}
local isRemoved, isCancelled, sealedAt, abandonedAt, begun, roots, registeredAt, openTimeout = unpack(redis.call(
  'HMGET', KEYS[1], '${FIELD.removal}', '${FIELD.cancelledAt}', '${FIELD.sealedAt}', '${FIELD.abandonedAt}',
  '${FIELD.begun}', '${FIELD.roots}', '${FIELD.registeredAt}', '${FIELD.openTimeout}'))
if isRemoved or isCancelled or redis.call('GET', KEYS[1] .. ':lock') ~= ARGV[1] then
  return { 'state', 'over' }
end
if not sealedAt and not abandonedAt then
  local left = tonumber(openTimeout or ${OPEN_TIMEOUT_MS}) - (now() - tonumber(registeredAt or now()))
  if left > 0 then
    return { 'state', 'open', 'openFor', left }
  end
  redis.call('HSET', KEYS[1], '${FIELD.abandonedAt}', now())
end
local isOver = isSkipping(KEYS[1])
local outcome = isOver and 'skipped' or 'succeeded'
redis.call('HSET', KEYS[1], '${FIELD.begun}', outcome)
local startable, following = report(ARGV[2], roots, begun or nil, outcome, isOver, tonumber(ARGV[3]))
return { 'state', 'begun', 'startable', startable, 'next', following }`,
);

/**
 * Skips a stage that waits for one that is gone: removed by hand, it has reported no outcome, and is
 * missing in the run. Idempotent.
 *
 * KEYS: the stage's batch job; its run's dependencies, processed, failed. ARGV: its id, key prefix of the batches
 * queue, the ids of the stages that it comes after.
 * Returns 1 when the stage was skipped, else 0.
 */
const SKIP_ORPHAN = script(
  'skipOrphan',
  4,
  `${LUA_REPORT}
local isGone = false
for i = 3, #ARGV do
  local key = ARGV[2] .. ARGV[i]
  isGone = isGone or redis.call('EXISTS', key) == 0 and redis.call('SISMEMBER', KEYS[2], key) == 0
    and redis.call('HEXISTS', KEYS[3], key) == 0 and redis.call('HEXISTS', KEYS[4], key) == 0
end
local rule, isRemoved, isCancelled, isStarted, isSkipped = unpack(redis.call('HMGET', KEYS[1], '${FIELD.when}',
  '${FIELD.removal}', '${FIELD.cancelledAt}', '${FIELD.startedAt}', '${FIELD.skippedAt}'))
if not isGone or not rule or isRemoved or isCancelled or isStarted or isSkipped then
  return 0
end
redis.call('HSET', KEYS[1], '${FIELD.when}', '${NEVER_RULE}')
skip(ARGV[2], KEYS[1], ARGV[1])
return 1`,
);

/** Skips a stage if one that it comes after is gone; whether it did. */
export async function skipOrphan(
  redis: BatchRedis,
  { id, runId, after }: { readonly id: string; readonly runId: string; readonly after: readonly string[] },
): Promise<boolean> {
  const { dependencies, processed, failed } = batchKeys(redis, runId);
  const keys = [batchKeys(redis, id).job, dependencies, processed, failed];
  return (await redis.run(SKIP_ORPHAN, [...keys, id, batchesKey(redis, ''), ...after])) === 1;
}

/** What telling some stages has come to. */
export interface Reported {
  /** Those that can start now. */
  readonly startable: readonly StartableStage[];
  /** The position of the next stage to look at, 0 after the last one. */
  readonly next: number;
}

export async function reportOutcome(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  report: { readonly token: string; readonly version: string; readonly outcome: Outcome; readonly from?: number },
): Promise<Reported | 'changed'> {
  const { job, dependencies, processed, failed } = batchKeys(redis, id);
  const { token, version, outcome, from = FIRST_STAGE } = report;
  const args = [nonce, token, version, outcome, batchesKey(redis, ''), from];
  const reply = named(await redis.run(REPORT_OUTCOME, [job, dependencies, processed, failed, ...args]));
  return reply.state === 'reported' ? parseReported(reply) : 'changed';
}

/** Begins a run; see `Reported`. */
export async function beginRun(
  redis: BatchRedis,
  batchId: string,
  token: string,
  from = FIRST_STAGE,
): Promise<Reported | 'over' | { readonly openFor: number }> {
  const { job } = batchKeys(redis, batchId);
  const reply = named(await redis.run(BEGIN_RUN, [job, token, batchesKey(redis, ''), from]));
  switch (reply.state) {
    case 'begun':
      return parseReported(reply);
    case 'open':
      return { openFor: Number(reply.openFor) };
    default:
      return 'over';
  }
}

export function parseReported({ startable, next }: Readonly<Record<string, unknown>>): Reported {
  const stages = startable as readonly [definition: string, planLength: number, plan: readonly string[]][];
  return {
    startable: stages.map(([definition, planLength, plan]) => ({
      definition: JSON.parse(definition),
      planLength,
      plan,
    })),
    next: Number(next),
  };
}

/**
 * Starts a stage, once. 'whole': adds its members and seals it; its batch job waits for them from now on, without being
 * run for it. 'fill': lets its batch job run, which adds the members. 'run': seals it, and lets its batch job run,
 * which begins the stages below it. A stage that was skipped is taken back, also from 'completed': into the
 * dependencies of its run.
 *
 * KEYS: batch job, its dependencies, processed, failed, the jobs that it was to have, the index of needs.
 * ARGV: the jobs, see encodeRequest(). The request is { id, nonce, queueKey (key prefix of the batches queue), how }.
 * Returns state: 'started' | 'past' (it was started before, cancelled, is gone, or waits again for one that was
 *         retried) | 'busy' (its batch job runs, because it was skipped: try again in a moment) | 'failed', and then
 *         error.
 */
const START_STAGE = script(
  'startStage',
  6,
  `${LUA_NOW}${LUA_WAKE}${LUA_NEED}${LUA_VERDICT}${LUA_TAKE_BACK}
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
local function isIn(state)
  return redis.call('ZSCORE', queueKey .. state, id) ~= false
end
-- A BatchWorker that runs the batch job has seen it as a stage that does not start, and may be about to end it as such.
if not isIn('delayed') and not isIn('waiting-children') and not isIn('completed') then
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
recall(queueKey, key)
need(key, KEYS[6], id, '')
if request.how == 'fill' then
  redis.call('HDEL', key, '${FIELD.sealedAt}')
else
  redis.call('HSET', key, '${FIELD.sealedAt}', now())
  redis.call('UNLINK', KEYS[5])
end
if leaveCompleted(queueKey, key, id) then
  redis.call('ZADD', queueKey .. 'delayed', 0, id)
end
if request.how ~= 'whole' or redis.call('SCARD', KEYS[2]) == 0 then
  wake(queueKey, key, id)
else
  waitForMembers(queueKey, key, id)
end
return { 'state', 'started' }`,
);

export type StageStarted = 'started' | 'past' | 'busy' | { readonly error: string };

export async function startStage(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  { how, jobs = [] }: { readonly how: 'whole' | 'fill' | 'run'; readonly jobs?: readonly NewJob[] },
): Promise<StageStarted> {
  const { job, dependencies, processed, failed } = batchKeys(redis, id);
  const keys = [job, dependencies, processed, failed, planKey(redis, id), needsKey(redis)];
  const request = { id, nonce, how, queueKey: batchesKey(redis, '') };
  const { state, error } = named(await redis.runAdding(START_STAGE, jobs, keys, request, jobs));
  return state === 'failed' ? { error: String(error) } : (state as 'started' | 'past' | 'busy');
}
