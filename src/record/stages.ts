import { type BatchDefinition, OPEN_TIMEOUT_MS } from '../model/definition.js';
import type { Outcome } from '../model/workflow.js';
import type { BatchRedis } from './batch-redis.js';
import { LUA_CANCEL_ABOVE } from './climb.js';
import { batchesKey, batchKeys, FIELD, NEEDS, PLAN_END } from './keys.js';
import { LUA_NEED } from './needs.js';
import { BYTES_PER_COMMAND, LUA_NOW, LUA_VERSION, LUA_WAKE, type NamedReply, named, script } from './script.js';
import { LUA_TAKE_BACK } from './take-back.js';

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

/** How many stages one command looks at, to let them start, wait or be skipped; the caller asks for the next ones. */
const LOOKED_AT_ONCE = 100;

/** A stage whose predecessors have finished as it asks for, and whose members are to be added. */
export interface StartableStage {
  readonly definition: BatchDefinition;
  /** Its jobs, as JSON, if its plan is one slice; see record/plan.ts. */
  readonly plan: string | undefined;
}

/** What a look at some of the stages of a run has found. */
export interface StartableStages {
  /** Those that can start now. */
  readonly startable: readonly StartableStage[];
  /** The position of the next stage to look at, 0 after the last one. */
  readonly next: number;
}

/**
 * Lua:
 * - look(queueKey, ids, from, isSkipping) looks at some of these stages, from this position on: those that were skipped
 *   and may start after all wait again; those that can never start are skipped: sealed as they are, empty; those that
 *   could start, but something above them was cancelled, are cancelled, as the cancel itself would do later: a run must
 *   not succeed without them. Returns those that can start and have not, and the position of the next one to look at, 0
 *   after the last one.
 * - isSkipping(runKey) tells whether nothing starts any more in a run.
 * - reportOutcome(queueKey, key, outcome, from) reports the outcome of a stage to those after it, and looks at them.
 */
export const LUA_REPORT = `${LUA_NOW}${LUA_WAKE}${LUA_NEED}${LUA_TAKE_BACK}${LUA_CANCEL_ABOVE}
local function look(queueKey, ids, from, isSkipping)
  local hasClimbed, cancelReason = false, nil
  local startable, bytes, last = {}, 0, math.min(#ids, from + ${LOOKED_AT_ONCE - 1})
  if not isSkipping then
    takeBack(queueKey, ids, from, last)
  end
  if not tookBackAll() then
    return startable, from
  end
  for i = from, last do
    if #startable == ${STARTED_AT_ONCE} or bytes > ${BYTES_PER_COMMAND} then
      return startable, i
    end
    local key = queueKey .. ids[i]
    local rule, isRemoved, isCancelled, isStarted, isSkipped = unpack(redis.call('HMGET', key, '${FIELD.when}',
      '${FIELD.removal}', '${FIELD.cancelledAt}', '${FIELD.startedAt}', '${FIELD.skippedAt}'))
    if rule and not (isRemoved or isStarted or isCancelled) then
      local verdict = isSkipping and 'skip' or verdictOf(key, rule)
      if verdict == 'start' and not hasClimbed then
        hasClimbed, cancelReason = true, cancelAbove(queueKey, key)
      end
      if verdict == 'skip' and not isSkipped then
        redis.call('HSET', key, '${FIELD.skippedAt}', now(), '${FIELD.sealedAt}', now())
        wake(queueKey, key, ids[i])
      elseif verdict == 'start' and cancelReason and not isSkipped then
        redis.call('HSET', key, '${FIELD.cancelledAt}', now(), '${FIELD.cancelReason}', cancelReason)
        need(key, queueKey .. '${NEEDS}', ids[i], 'cancel')
        wake(queueKey, key, ids[i])
      elseif verdict == 'start' then
        local plan = key .. '${PLAN_END}'
        local slice = redis.call('LLEN', plan) == 1 and redis.call('LINDEX', plan, 0) or ''
        bytes = bytes + #slice
        startable[#startable + 1] = { redis.call('HGET', key, '${FIELD.definition}'), slice }
      end
    end
  end
  return startable, last < #ids and last + 1 or 0
end
local function isSkipping(runKey)
  local run = redis.call('HMGET', runKey, '${FIELD.skippedAt}', '${FIELD.abandonedAt}')
  return (run[1] or run[2]) and true or false
end
-- Whether a run has begun: one that is a stage itself when it has started, any other one when it was sealed.
local function hasBegun(runKey)
  local isThere, isStage, startedAt, sealedAt = unpack(redis.call('HMGET', runKey, '${FIELD.nonce}', '${FIELD.when}',
    '${FIELD.startedAt}', '${FIELD.sealedAt}'))
  return not isThere or (isStage and startedAt or not isStage and sealedAt) and true or false
end
-- Lets a run look at these stages, too, when it begins.
local function addRoots(runKey, ids)
  local roots, known = idsOf(redis.call('HGET', runKey, '${FIELD.roots}')), {}
  for _, id in ipairs(roots) do
    known[id] = true
  end
  for _, id in ipairs(ids) do
    roots[#roots + 1] = not known[id] and id or nil
  end
  redis.call('HSET', runKey, '${FIELD.roots}', table.concat(roots, '\\n'))
end
local function reportOutcome(queueKey, key, outcome, from)
  local ids = tell(queueKey, key, outcome)
  -- None for a stage that was detached from its run by hand, with BullMQ's removeChildDependency().
  local runKey = redis.call('HGET', key, 'parentKey')
  local skips, waits = runKey and isSkipping(runKey), runKey and not hasBegun(runKey)
  -- A stage of a run that waits was cancelled by hand, or skipped just before the run was to wait again.
  if waits and not (skips and outcome == 'skipped') then
    addRoots(runKey, ids)
  end
  if waits and not skips then
    return {}, 0
  end
  return look(queueKey, ids, from, skips)
end
`;

/**
 * Lets stages start, for the holder of a batch job: those after a stage, which reports what it has come to, if the
 * batch is as the snapshot has seen it; or the first ones of a run that was sealed. If the run is skipped or was
 * abandoned, they are skipped. An open run whose producer has given no sign of life for its openTimeout is abandoned:
 * as its stages are outstanding, nothing else would end it.
 *
 * KEYS: batch job, its dependencies, processed, failed. ARGV: lock token, key prefix of the batches queue, position of
 * the first stage to look at; of a stage also outcome and version of the snapshot.
 * Returns state: 'found', and then startable ({ definition, its jobs }, …) and next (position); of a stage 'changed'
 * (nothing was done); of a run 'open' and openFor (ms), or 'over' (it was cancelled or removed, or the lock is lost).
 */
const RELEASE = script(
  'release',
  4,
  `${LUA_VERSION}${LUA_REPORT}
local token, queueKey, from, outcome, version = unpack(ARGV)
local nonce, isRemoved, cancelledAt, skippedAt, abandonedAt = unpack(redis.call('HMGET', KEYS[1], '${FIELD.nonce}',
  '${FIELD.removal}', '${FIELD.cancelledAt}', '${FIELD.skippedAt}', '${FIELD.abandonedAt}'))
local isHeld = nonce and not isRemoved and redis.call('GET', KEYS[1] .. ':lock') == token
local function found(startable, following)
  return { 'state', 'found', 'startable', startable, 'next', following }
end
if outcome then
  local present = versionOf(redis.call('SCARD', KEYS[2]), redis.call('HLEN', KEYS[3]), redis.call('HLEN', KEYS[4]),
    redis.call('HGET', KEYS[1], '${FIELD.total}'), cancelledAt)
  if not isHeld or present ~= version or outcome == 'skipped' and not skippedAt then
    return { 'state', 'changed' }
  end
  return found(reportOutcome(queueKey, KEYS[1], outcome, tonumber(from)))
end
if not isHeld or cancelledAt then
  return { 'state', 'over' }
end
local sealedAt, roots, registeredAt, openTimeout = unpack(redis.call('HMGET', KEYS[1], '${FIELD.sealedAt}',
  '${FIELD.roots}', '${FIELD.registeredAt}', '${FIELD.openTimeout}'))
if not sealedAt and not abandonedAt then
  if not registeredAt then
    -- No stage was created yet, and the creation was timed by a clock that is not Redis's: its time begins now.
    registeredAt = now()
    redis.call('HSET', KEYS[1], '${FIELD.registeredAt}', registeredAt)
  end
  local left = tonumber(openTimeout or ${OPEN_TIMEOUT_MS}) - (now() - tonumber(registeredAt))
  if left > 0 then
    return { 'state', 'open', 'openFor', left }
  end
  redis.call('HSET', KEYS[1], '${FIELD.abandonedAt}', now())
end
return found(look(queueKey, idsOf(roots), tonumber(from), isSkipping(KEYS[1])))`,
);

async function release(
  redis: BatchRedis,
  batchId: string,
  {
    token,
    from,
    ofStage = [],
  }: { readonly token: string; readonly from: number; readonly ofStage?: readonly string[] },
): Promise<NamedReply> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  const args = [token, batchesKey(redis, ''), from, ...ofStage];
  return named(await redis.run(RELEASE, [job, dependencies, processed, failed, ...args]));
}

/** Reports the outcome of a stage to those after it; returns those that can start now, or 'changed'. */
export async function reportOutcome(
  redis: BatchRedis,
  batchId: string,
  report: { readonly token: string; readonly version: string; readonly outcome: Outcome; readonly from: number },
): Promise<StartableStages | 'changed'> {
  const { token, version, outcome, from } = report;
  const reply = await release(redis, batchId, { token, from, ofStage: [outcome, version] });
  return reply.state === 'found' ? parseStartable(reply) : 'changed';
}

export function parseStartable({ startable, next }: NamedReply): StartableStages {
  const stages = startable as readonly [definition: string, plan: string][];
  return {
    startable: stages.map(([definition, plan]) => ({
      definition: JSON.parse(definition),
      plan: plan === '' ? undefined : plan,
    })),
    next: Number(next),
  };
}

/** Begins a run. Returns its first stages, 'over', or for how many ms the run that was not sealed may stay open. */
export async function beginRun(
  redis: BatchRedis,
  batchId: string,
  token: string,
  from: number,
): Promise<StartableStages | 'over' | { readonly openFor: number }> {
  const reply = await release(redis, batchId, { token, from });
  switch (reply.state) {
    case 'found':
      return parseStartable(reply);
    case 'open':
      return { openFor: Number(reply.openFor) };
    default:
      return 'over';
  }
}
