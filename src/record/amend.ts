import type { BatchDefinition } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, leaseKey, needsKey, PLAN_END } from './keys.js';
import { LUA_NEED, type Need } from './needs.js';
import { LUA_FREES_MEMORY, LUA_NOW, script } from './script.js';

/** A change of the fields and needs of one batch, made in one step if everything is as expected. */
export interface Amendment {
  readonly id: string;
  /** The life of the batch that is meant. Default: the one that exists. */
  readonly nonce?: string;
  /** Fields with the values that they must have; '' for those that must be absent. */
  readonly expect?: Readonly<Record<string, string>>;
  /** A word that must be among the batch's needs, see record/needs.ts. */
  readonly having?: string;
  /** The name of the process that must lead maintenance. */
  readonly leader?: string;
  /** The new definition, as JSON. The data of the batch job, which people read, is a copy of it. */
  readonly definition?: string;
  /** A slice for the plan of a stage, which must end at the position `from`; see record/plan.ts. */
  readonly plan?: { readonly from: number; readonly slice: string };
  /** Fields with their new values. */
  readonly set?: Readonly<Record<string, string>>;
  /** A field of another batch that is counted up by one, if that batch exists. */
  readonly increment?: { readonly of: string; readonly field: string };
  /** A field that is set to the present time, by Redis's clock. */
  readonly time?: string;
  /** A field that is set to the present time, unless it has a value. */
  readonly timeOnce?: string;
  /** The needs that the batch loses: words, separated by spaces. */
  readonly unneed?: string;
  /** The needs that the batch gets, after it has lost the others: words, separated by spaces. */
  readonly need?: string | undefined;
}

/** `gone`: there is no such life of the batch, or it is being removed. `changed`: the batch is not as expected. */
export type Amended = 'done' | 'gone' | 'changed';

/**
 * Amends batches, each by itself. When a client sends it twice, the second run makes the same amendment once more, or
 * finds that the batch is not as expected any more.
 *
 * KEYS: a batch job, which only says where in a cluster the others are; what the keys of the sets of needs begin with;
 * the lease of maintenance.
 * ARGV: key prefix of the batches queue, then the amendments, as JSON.
 * Returns what became of each, as Amended.
 */
const AMEND = script(
  'amend',
  3,
  `${LUA_FREES_MEMORY}${LUA_NOW}${LUA_NEED}
local function planEnd(plan)
  return tonumber(string.match(redis.call('LINDEX', plan, -1) or '', '^{"from":%d+,"to":(%d+)') or 0)
end
local function isExpected(key, change)
  for field, value in pairs(change.expect or {}) do
    if (redis.call('HGET', key, field) or '') ~= value then
      return false
    end
  end
  return (not change.having or hasNeed(redis.call('HGET', key, '${FIELD.needs}'), change.having))
    and (not change.leader or redis.call('GET', KEYS[3]) == change.leader)
    and (not change.plan or planEnd(key .. '${PLAN_END}') == change.plan.from)
end
local function amend(change)
  local key = ARGV[1] .. change.id
  local nonce, isRemoved = unpack(redis.call('HMGET', key, '${FIELD.nonce}', '${FIELD.removal}'))
  if not nonce or isRemoved or change.nonce and change.nonce ~= nonce then
    return 'gone'
  elseif not isExpected(key, change) then
    return 'changed'
  end
  for field, value in pairs(change.set or {}) do
    redis.call('HSET', key, field, value)
  end
  if change.plan then
    redis.call('RPUSH', key .. '${PLAN_END}', change.plan.slice)
  end
  if change.increment and redis.call('EXISTS', ARGV[1] .. change.increment.of) == 1 then
    redis.call('HINCRBY', ARGV[1] .. change.increment.of, change.increment.field, 1)
  end
  if change.definition then
    redis.call('HSET', key, '${FIELD.definition}', change.definition, 'data', change.definition)
  end
  if change.time then
    redis.call('HSET', key, change.time, now())
  end
  if change.timeOnce then
    redis.call('HSETNX', key, change.timeOnce, now())
  end
  for word in string.gmatch(change.unneed or '', '%S+') do
    unneed(key, word)
  end
  if change.need then
    need(key, KEYS[2], change.id, change.need)
  end
  return 'done'
end
local amended = {}
for i = 2, #ARGV do
  amended[#amended + 1] = amend(cjson.decode(ARGV[i]))
end
return amended`,
);

/** Amends batches, and returns what became of each. */
export async function amendAll(redis: BatchRedis, changes: readonly Amendment[]): Promise<readonly Amended[]> {
  const keys = [batchKeys(redis, changes[0]?.id ?? '').job, needsKey(redis), leaseKey(redis)];
  const args = [batchesKey(redis, ''), ...changes.map((change) => JSON.stringify(change))];
  return (await redis.run(AMEND, [...keys, ...args])) as Amended[];
}

export async function amend(redis: BatchRedis, change: Amendment): Promise<Amended> {
  const [amended = 'gone'] = await amendAll(redis, [change]);
  return amended;
}

/**
 * Adds to what a batch needs from maintenance. Without words it only puts the batch back into the sets for its needs,
 * which a finished batch has left. To be called when its batch job was retried; if the process dies in between, the
 * next round through the unfinished batches does the same.
 */
export async function needMaintenance(redis: BatchRedis, id: string, words: readonly Need[] = []): Promise<void> {
  await amend(redis, { id, need: words.join(' ') });
}

/**
 * Takes `callbacks` off the needs of a batch that this process has attended to, if it still leads maintenance: another
 * leader may be attending to the batch by now.
 *
 * @param who the name under which this process leads.
 * @param isRunning whether callbacks are outstanding, which keep the batch job from waking when the members are
 * settled: then maintenance has to see that `complete` is due.
 */
export async function callbacksDone(
  redis: BatchRedis,
  { id, nonce }: Pick<BatchDefinition, 'id' | 'nonce'>,
  { who, isRunning }: { readonly who: string; readonly isRunning: boolean },
): Promise<void> {
  const need = isRunning ? 'callbacks!' : undefined;
  await amend(redis, { id, nonce, leader: who, having: 'callbacks?', unneed: 'callbacks?', need });
}

/** Notes a first failure, once, and replaces the need for it by the need for its callbacks. */
export async function noteDeath(redis: BatchRedis, { id, nonce, on }: BatchDefinition): Promise<void> {
  await amend(redis, { id, nonce, timeOnce: FIELD.diedAt, unneed: 'death', need: on.death && 'callbacks' });
}

/**
 * Notes that every member has run, and that its callbacks are needed, unless the number of members is not `total` any
 * more, or the batch was cancelled.
 */
export async function noteAttempted(
  redis: BatchRedis,
  { id, nonce, on }: BatchDefinition,
  total: string,
): Promise<void> {
  const need = on.attempted && 'callbacks';
  const expect = { [FIELD.total]: total, [FIELD.cancelledAt]: '' };
  await amend(redis, { id, nonce, expect, timeOnce: FIELD.attemptedAt, unneed: 'attempted', need });
}

/**
 * Notes that `attempted` cannot happen any more: a member that may never have run is missing, and nothing brings it
 * back.
 */
export async function noteNeverAttempted(redis: BatchRedis, { id, nonce }: BatchDefinition): Promise<void> {
  await amend(redis, { id, nonce, unneed: 'attempted' });
}
