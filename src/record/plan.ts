import type { BatchDefinition } from '../model/definition.js';
import type { BatchLife } from './add-members.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD, planKey } from './keys.js';
import { BYTES_PER_COMMAND, LUA_NOW, named, script } from './script.js';

/*
 * The plan of a stage: the jobs that it is to have, kept in a list of small entries until it starts.
 */

/** How many of its jobs are read, or written, at a time. */
export const PLAN_SLICE = 200;

/** Lua: some jobs of a plan, by number and by bytes. Read in small steps, because a job may be large. */
export const LUA_PLAN_SLICE = `
local function planSlice(plan, from, count, bytes)
  local slice, step = {}, 10
  while count > #slice and bytes > 0 and step == 10 do
    local some = redis.call('LRANGE', plan, from + #slice, from + #slice + step - 1)
    for _, job in ipairs(some) do
      slice[#slice + 1] = job
      bytes = bytes - #job
    end
    step = #some
  end
  return slice
end
`;

/**
 * Appends jobs to the plan of a stage that has not started: those from this position on, once.
 *
 * KEYS: batch job, plan. ARGV: nonce, position, jobs.
 */
const EXTEND_PLAN = script(
  'extendPlan',
  2,
  `
local nonce, isStarted = unpack(redis.call('HMGET', KEYS[1], '${FIELD.nonce}', '${FIELD.startedAt}'))
if nonce == ARGV[1] and not isStarted and redis.call('LLEN', KEYS[2]) == tonumber(ARGV[2]) then
  redis.call('RPUSH', KEYS[2], unpack(ARGV, 3))
end`,
);

export async function extendPlan(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  position: number,
  jobs: readonly string[],
): Promise<void> {
  await redis.run(EXTEND_PLAN, [batchKeys(redis, id).job, planKey(redis, id), nonce, position, ...jobs]);
}

/** KEYS: plan. ARGV: position. Returns some jobs of it, from this position on; none at its end. */
const READ_PLAN = script(
  'readPlan',
  1,
  `${LUA_PLAN_SLICE}
return planSlice(KEYS[1], tonumber(ARGV[1]), ${PLAN_SLICE}, ${BYTES_PER_COMMAND})`,
);

export async function readPlan(redis: BatchRedis, batchId: string, position: number): Promise<readonly string[]> {
  return (await redis.run(READ_PLAN, [planKey(redis, batchId), position])) as string[];
}

/**
 * KEYS: batch job. ARGV: lock token.
 * Returns definition and filledTo of a stage that has started and is to be filled by the holder of its batch job; else
 * nothing.
 */
const READ_FILLING = script(
  'readFilling',
  1,
  `
local definition, startedAt, sealedAt, cancelledAt, isRemoved, filledTo = unpack(redis.call('HMGET', KEYS[1],
  '${FIELD.definition}', '${FIELD.startedAt}', '${FIELD.sealedAt}', '${FIELD.cancelledAt}', '${FIELD.removal}',
  '${FIELD.filledTo}'))
if not startedAt or sealedAt or cancelledAt or isRemoved or redis.call('GET', KEYS[1] .. ':lock') ~= ARGV[1] then
  return {}
end
return { 'definition', definition, 'filledTo', filledTo or '0' }`,
);

/** How far the adding of a stage's members has come: a position in its plan, or a cursor of the results. */
export interface Filling {
  readonly definition: BatchDefinition;
  readonly filledTo: string;
}

export async function readFilling(redis: BatchRedis, batchId: string, token: string): Promise<Filling | undefined> {
  const { definition, filledTo } = named(await redis.run(READ_FILLING, [batchKeys(redis, batchId).job, token]));
  return definition === undefined
    ? undefined
    : { definition: JSON.parse(String(definition)), filledTo: String(filledTo) };
}

/**
 * Remembers how far the holder of a stage's batch job has added its members; at the end, '', seals the stage.
 *
 * KEYS: batch job, plan. ARGV: lock token, how far.
 */
const NOTE_FILLED = script(
  'noteFilled',
  2,
  `${LUA_NOW}
if redis.call('GET', KEYS[1] .. ':lock') ~= ARGV[1] then
  return
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], '${FIELD.filledTo}', ARGV[2])
else
  redis.call('HSET', KEYS[1], '${FIELD.sealedAt}', now())
  redis.call('HDEL', KEYS[1], '${FIELD.filledTo}')
  redis.call('UNLINK', KEYS[2])
end`,
);

export async function noteFilled(redis: BatchRedis, batchId: string, token: string, filledTo: string): Promise<void> {
  await redis.run(NOTE_FILLED, [batchKeys(redis, batchId).job, planKey(redis, batchId), token, filledTo]);
}
