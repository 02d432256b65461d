import { type BatchDefinition, OPEN_TIMEOUT_MS } from '../model/definition.js';
import type { Outcome } from '../model/workflow.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, PLAN_END } from './keys.js';
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
 *   and may start after all wait again; those that can never start are skipped: sealed as they are, empty. Returns
 *   those that can start and have not, and the position of the next one to look at, 0 after the last one.
 * - isSkipping(runKey) tells whether nothing starts any more in a run.
 * - reportOutcome(queueKey, key, outcome, from) reports the outcome of a stage to those after it, and looks at them.
 */
export const LUA_REPORT = `${LUA_NOW}${LUA_WAKE}${LUA_TAKE_BACK}
local function look(queueKey, ids, from, isSkipping)
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
      if verdict == 'skip' and not isSkipped then
        redis.call('HSET', key, '${FIELD.skippedAt}', now(), '${FIELD.sealedAt}', now())
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
local function reportOutcome(queueKey, key, outcome, from)
  local ids = tell(queueKey, key, outcome)
  return look(queueKey, ids, from, isSkipping(redis.call('HGET', key, 'parentKey')))
end
`;

/**
 * Reports to the stages after one, for the holder of its batch job, what it has come to, if the batch is as the
 * snapshot has seen it.
 *
 * KEYS: batch job, its dependencies, processed, failed. ARGV: lock token, key prefix of the batches queue, outcome,
 * version of the snapshot, position of the first stage to look at.
 * Returns state: 'changed' (nothing was done) | 'reported', and then startable ({ definition, its jobs }, …) and next
 * (position).
 */
const REPORT = script(
  'report',
  4,
  `${LUA_VERSION}${LUA_REPORT}
local token, queueKey, outcome, version, from = unpack(ARGV)
local isRemoved, total, cancelledAt, skippedAt = unpack(redis.call('HMGET', KEYS[1], '${FIELD.removal}',
  '${FIELD.total}', '${FIELD.cancelledAt}', '${FIELD.skippedAt}'))
local isHeld = redis.call('GET', KEYS[1] .. ':lock') == token
local present = versionOf(redis.call('SCARD', KEYS[2]), redis.call('HLEN', KEYS[3]), redis.call('HLEN', KEYS[4]),
  total, cancelledAt)
if not isHeld or isRemoved or present ~= version or outcome == 'skipped' and not skippedAt then
  return { 'state', 'changed' }
end
local startable, following = reportOutcome(queueKey, KEYS[1], outcome, tonumber(from))
return { 'state', 'reported', 'startable', startable, 'next', following }`,
);

export async function reportOutcome(
  redis: BatchRedis,
  batchId: string,
  report: { readonly token: string; readonly version: string; readonly outcome: Outcome; readonly from: number },
): Promise<StartableStages | 'changed'> {
  const { token, version, outcome, from } = report;
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  const args = [token, batchesKey(redis, ''), outcome, version, from];
  const reply = named(await redis.run(REPORT, [job, dependencies, processed, failed, ...args]));
  return reply.state === 'reported' ? parseStartable(reply) : 'changed';
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
local isRemoved, isCancelled, sealedAt, abandonedAt, roots, registeredAt, openTimeout = unpack(redis.call('HMGET',
  KEYS[1], '${FIELD.removal}', '${FIELD.cancelledAt}', '${FIELD.sealedAt}', '${FIELD.abandonedAt}', '${FIELD.roots}',
  '${FIELD.registeredAt}', '${FIELD.openTimeout}'))
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
local startable, following = look(ARGV[2], idsOf(roots), tonumber(ARGV[3]), isSkipping(KEYS[1]))
return { 'state', 'begun', 'startable', startable, 'next', following }`,
);

/** Begins a run. Returns its first stages, 'over', or for how many ms the run that was not sealed may stay open. */
export async function beginRun(
  redis: BatchRedis,
  batchId: string,
  token: string,
  from: number,
): Promise<StartableStages | 'over' | { readonly openFor: number }> {
  const { job } = batchKeys(redis, batchId);
  const reply = named(await redis.run(BEGIN_RUN, [job, token, batchesKey(redis, ''), from]));
  switch (reply.state) {
    case 'begun':
      return parseStartable(reply);
    case 'open':
      return { openFor: Number(reply.openFor) };
    default:
      return 'over';
  }
}
