import type { BatchDefinition, BatchEvent, FailurePolicy } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, leaseKey, needsKey } from './keys.js';
import { type Look, parseLook } from './look.js';
import { LUA_LOOK_AT, LUA_NOW, script } from './script.js';

/*
 * What a batch needs from maintenance while nothing wakes its batch job stands in the batch: words in a field of its
 * hash, written by the script that makes the batch need it. The sets that maintenance goes round are derived from these
 * words: an id in a set whose batch does not need it leaves the set when it is looked at, and an id that is not in its
 * set comes back when the unfinished batches are looked at. A word goes when what it asks for is done; a batch that has
 * finished leaves the sets and keeps its words, for the case that it runs again.
 */

/**
 * What a batch can need:
 * - `death`: that a first failure is told, to its own callbacks or to a batch above;
 * - `policy`: that it is cancelled when too many members have failed;
 * - `attempted`: that it is noted when every member has run;
 * - `callbacks`: that callbacks are enqueued that no wake of the batch job enqueues, and that `complete` is seen while
 *   some run;
 * - `stages`: of a run, that a stage is skipped whose predecessor is gone, and tells it nothing any more;
 * - `cancel`: that its pending members go; `removal`: that it goes itself.
 */
export type Need = 'death' | 'policy' | 'attempted' | 'callbacks' | 'stages' | 'cancel' | 'removal';

/** The sets, and what their batches need; first failures and policies are seen in one look. */
const INDEX_OF = {
  death: 'failures',
  policy: 'failures',
  attempted: 'attempted',
  callbacks: 'callbacks',
  stages: 'stages',
  cancel: 'cancels',
  removal: 'removals',
} as const satisfies Record<Need, string>;

export type NeedIndex = (typeof INDEX_OF)[Need];

export const NEED_INDEXES: readonly NeedIndex[] = [...new Set(Object.values(INDEX_OF))];

export const needIndexKey = (redis: BatchRedis, index: NeedIndex) => `${needsKey(redis)}:${index}`;

/** What a batch with these callbacks and this policy needs. */
export function needsOf(events: readonly BatchEvent[], policy: FailurePolicy | undefined): Need[] {
  const { cancelAfter, cancelAtPercent } = policy ?? {};
  return [
    ...events.filter((event) => event === 'death' || event === 'attempted'),
    ...(cancelAfter === undefined && cancelAtPercent === undefined ? [] : ['policy' as const]),
  ];
}

/**
 * Lua: need(jobKey, needsKey, id, what) writes what a batch needs, one word or several, and puts the batch into the
 * sets of all that it needs. Called by the script that makes the batch need it, so that a crash cannot leave a batch in
 * need that is in no set. `callbacks?` is a need that a leader is attending to, or was when it died; `callbacks!` one
 * of which only `complete` is left, which is seen when the members are settled. Whoever needs it again writes
 * `callbacks` beside them.
 */
export const LUA_NEED = `
local INDEX_OF = { ${Object.entries(INDEX_OF)
  .map(([word, index]) => `${word} = '${index}'`)
  .join(', ')} }
local function hasNeed(needs, word)
  return needs and string.find(' ' .. needs .. ' ', ' ' .. word .. ' ', 1, true) ~= nil
end
local function index(needsKey, id, needs)
  for word in string.gmatch(needs, '%a+') do
    redis.call('ZADD', needsKey .. ':' .. INDEX_OF[word], 0, id)
  end
end
local function need(jobKey, needsKey, id, what)
  local needs = redis.call('HGET', jobKey, '${FIELD.needs}') or ''
  local before = needs
  for word in string.gmatch(what, '%S+') do
    if not hasNeed(needs, word) then
      needs = needs == '' and word or needs .. ' ' .. word
    end
  end
  if needs ~= before then
    redis.call('HSET', jobKey, '${FIELD.needs}', needs)
  end
  index(needsKey, id, needs)
end
local function unneed(jobKey, ...)
  local done, kept = {}, {}
  for _, word in ipairs({ ... }) do
    done[word] = true
  end
  for word in string.gmatch(redis.call('HGET', jobKey, '${FIELD.needs}') or '', '%S+') do
    kept[#kept + 1] = not done[word] and word or nil
  end
  if #kept > 0 then
    redis.call('HSET', jobKey, '${FIELD.needs}', table.concat(kept, ' '))
  else
    redis.call('HDEL', jobKey, '${FIELD.needs}')
  end
end
`;

/**
 * Lua: a page of one set, and where the next page begins: '0' at the end, and for the first one. The sets are sorted,
 * all with the score 0, so by id: such a page costs Redis half of what SSCAN takes for it.
 */
export const LUA_NEED_PAGE = `
local function needPage(indexKey, cursor, count)
  local from = cursor == '0' and '-' or '(' .. cursor
  local ids = redis.call('ZRANGEBYLEX', indexKey, from, '+', 'LIMIT', 0, count)
  return ids, #ids == tonumber(count) and ids[#ids] or '0'
end
`;

/** Lua: takes a batch out of all sets, before it is removed. */
export const LUA_FORGET_NEEDS = `
local function forgetNeeds(needsKey, id)
  for _, index in ipairs({ ${NEED_INDEXES.map((index) => `'${index}'`).join(', ')} }) do
    redis.call('ZREM', needsKey .. ':' .. index, id)
  end
end
`;

/** KEYS: batch job, what the keys of the sets begin with. ARGV: batch id, what it needs. */
const NEED = script(
  'need',
  2,
  `${LUA_NEED}
local batch = redis.call('HMGET', KEYS[1], 'timestamp', '${FIELD.removal}')
if batch[1] and not batch[2] then
  need(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
end`,
);

/** Says what a batch needs from maintenance, beside what it has needed before. */
export async function needMaintenance(redis: BatchRedis, batchId: string, words: readonly Need[]): Promise<void> {
  await redis.run(NEED, [batchKeys(redis, batchId).job, needsKey(redis), batchId, words.join(' ')]);
}

/**
 * For a batch that runs again after it has finished: what it needed before stands in it, and is seen to again. To be
 * called after the batch job was retried. Should that be missed, the next look at the unfinished batches does it.
 */
export async function needAgain(redis: BatchRedis, batchId: string): Promise<void> {
  await needMaintenance(redis, batchId, []);
}

/** More dependencies than this are no callbacks: members are outstanding, and `complete` cannot be due. */
const MOST_CALLBACKS = 100;

/**
 * A page of one set: which batches are to be attended to now. What needs nothing of the kind any more leaves the set.
 *
 * KEYS: the set, the batches queue's completed, failed. ARGV: cursor, count, key prefix of the batches queue, the word.
 * Returns cursor, due, broken (ids, each with what is wrong).
 */
const NEEDING = script(
  'needing',
  3,
  `${LUA_NEED}${LUA_NEED_PAGE}${LUA_LOOK_AT}
local word, due = ARGV[4], {}
-- Returns false when the batch does not need this any more, true when it is to be attended to, and nil to wait.
local function isDue(id, key, batch)
  local needs, isRemoved, isSealed, isAbandoned, isCancelled = unpack(batch, 2, 6)
  local isNeeded = hasNeed(needs, word) or hasNeed(needs, word .. '?')
  local isLeft = hasNeed(needs, word .. '!')
  if not batch[1] or not (isNeeded or isLeft) or isRemoved and word ~= 'removal' then
    return false
  elseif word == 'removal' then
    return isRemoved ~= false
  end
  local hasEnded = redis.call('ZSCORE', KEYS[2], id) or redis.call('ZSCORE', KEYS[3], id)
  if word == 'callbacks' then
    local isClosed = isSealed or isAbandoned or isCancelled
    -- Complete can be due when only callbacks are outstanding.
    if not isNeeded and not hasEnded
      and not (isClosed and redis.call('SCARD', key .. ':dependencies') <= ${MOST_CALLBACKS}) then
      return nil
    end
    unneed(key, 'callbacks', 'callbacks?', 'callbacks!')
    need(key, string.match(KEYS[1], '^(.*):'), id, 'callbacks?')
    return true
  end
  if hasEnded then
    return false
  end
  if word == 'attempted' and (batch[7] or isCancelled) then
    unneed(key, word)
    return false
  end
  return word ~= 'attempted' or isSealed ~= false or nil
end
local ids, cursor = needPage(KEYS[1], ARGV[1], ARGV[2])
for _, id in ipairs(ids) do
  lookAt(function()
    local key = ARGV[3] .. id
    local found = isDue(id, key, redis.call('HMGET', key, 'timestamp', '${FIELD.needs}', '${FIELD.removal}',
      '${FIELD.sealedAt}', '${FIELD.abandonedAt}', '${FIELD.cancelledAt}', '${FIELD.attemptedAt}'))
    if found then
      due[#due + 1] = id
    elseif found == false then
      redis.call('ZREM', KEYS[1], id)
    end
  end, id)
end
return { 'cursor', cursor, 'due', due, 'broken', broken }`,
);

/** A page of the batches that need this; those that are due now. */
export async function batchesNeeding(
  redis: BatchRedis,
  word: Exclude<Need, 'death' | 'policy'>,
  { cursor, count }: { readonly cursor: string; readonly count: number },
): Promise<Look> {
  const ended = [batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
  const keys = [needIndexKey(redis, INDEX_OF[word]), ...ended];
  return parseLook(await redis.run(NEEDING, [...keys, cursor, count, batchesKey(redis, ''), word]));
}

/**
 * KEYS: batch job, the lease, what the keys of the sets begin with.
 * ARGV: who leads, the batch's nonce, '1' when callbacks run that keep the batch from waking when its members are
 *       settled, so that `complete` is to be seen then, else '0', batch id. Takes 'callbacks' off what the batch needs,
 *       as far as it was attended to by the process that leads: another leader may have taken it up again meanwhile.
 */
const CALLBACKS_DONE = script(
  'callbacksDone',
  3,
  `${LUA_NEED}
local nonce = redis.call('HGET', KEYS[1], '${FIELD.nonce}')
if redis.call('GET', KEYS[2]) == ARGV[1] and nonce == ARGV[2] then
  local needs = redis.call('HGET', KEYS[1], '${FIELD.needs}')
  if hasNeed(needs, 'callbacks?') then
    unneed(KEYS[1], 'callbacks?')
    if ARGV[3] == '1' then
      need(KEYS[1], KEYS[3], ARGV[4], 'callbacks!')
    end
  end
end`,
);

export async function callbacksDone(
  redis: BatchRedis,
  { id, nonce }: Pick<BatchDefinition, 'id' | 'nonce'>,
  { who, isRunning }: { readonly who: string; readonly isRunning: boolean },
): Promise<void> {
  const keys = [batchKeys(redis, id).job, leaseKey(redis), needsKey(redis)];
  await redis.run(CALLBACKS_DONE, [...keys, who, nonce, isRunning ? '1' : '0', id]);
}

/**
 * Notes, once, when something was found to have happened to a batch, and what the batch needs instead of waiting for
 * it: its callbacks for the event are to be enqueued, whoever dies meanwhile.
 *
 * KEYS: batch job, what the keys of the sets begin with.
 * ARGV: batch id, nonce, the event, the field that says when or '' when it cannot happen any more, what the batch needs
 *       then, how many members there were or ''.
 * Returns 1, or 0 when this life of the batch is gone, or it has other members by now.
 */
const NOTE = script(
  'note',
  2,
  `${LUA_NOW}${LUA_NEED}
local batch = redis.call('HMGET', KEYS[1], '${FIELD.nonce}', '${FIELD.removal}', '${FIELD.total}',
  '${FIELD.cancelledAt}')
local nonce, event, field, needed, total = unpack(ARGV, 2)
if batch[1] ~= nonce or batch[2] or total ~= '' and (batch[4] or total ~= (batch[3] or '0')) then
  return 0
end
if field ~= '' then
  redis.call('HSETNX', KEYS[1], field, now())
end
unneed(KEYS[1], event)
need(KEYS[1], KEYS[2], ARGV[1], needed)
return 1`,
);

export async function noteDeath(redis: BatchRedis, definition: BatchDefinition): Promise<void> {
  await note(redis, definition, 'death', { field: FIELD.diedAt });
}

/** Not if members have been added since there were `total`, or the batch has been cancelled. */
export async function noteAttempted(redis: BatchRedis, definition: BatchDefinition, total: string): Promise<void> {
  await note(redis, definition, 'attempted', { field: FIELD.attemptedAt, total });
}

/** A member that may never have run is missing: nothing brings it back, and the event cannot happen any more. */
export async function noteNeverAttempted(redis: BatchRedis, definition: BatchDefinition): Promise<void> {
  await note(redis, definition, 'attempted', { field: '' });
}

async function note(
  redis: BatchRedis,
  { id, nonce, on }: BatchDefinition,
  event: 'death' | 'attempted',
  { field, total = '' }: { readonly field: string; readonly total?: string },
): Promise<void> {
  const keys = [batchKeys(redis, id).job, needsKey(redis)];
  const needed = field === '' || on[event] === undefined ? '' : 'callbacks';
  await redis.run(NOTE, [...keys, id, nonce, event, field, needed, total]);
}
