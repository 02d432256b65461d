import type { BatchEvent, FailurePolicy } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD, needsKey } from './keys.js';
import { type Look, type Page, parseLook } from './look.js';
import { LUA_LOOK_AT, LUA_NOW, named, script } from './script.js';

/*
 * What a batch needs from maintenance while nothing wakes its batch job is a list of words in a field of its hash,
 * written by the script that makes the batch need it. Maintenance reads sorted sets of batch ids, which follow from
 * these words: an id leaves a set when its batch is looked at and has no such need, and an id that is missing in a set
 * comes back in a round through the unfinished batches. A word goes when what it asks for is done. A finished batch
 * leaves the sets and keeps its words, because it may run again.
 */

/**
 * What a batch can need:
 * - `death`: that a first failure is announced, to its own callbacks or to a batch above;
 * - `policy`: that it is cancelled when too many members have failed;
 * - `attempted`: that it is noted when every member has run;
 * - `deadline`: that it is cancelled when its time is over;
 * - `callbacks`: that callbacks are enqueued for which the batch job does not wake, and that `complete` becomes due
 *   although callbacks that are outstanding keep the batch job from waking;
 * - `stages`: of a run, that a stage is skipped whose predecessor was removed and can report no outcome any more;
 * - `cancel`: that its pending members are taken out;
 * - `removal`: that the removal of the batch, which has begun, is continued.
 */
export type Need = 'death' | 'policy' | 'attempted' | 'deadline' | 'callbacks' | 'stages' | 'cancel' | 'removal';

/** The sets, by need. First failures and failure policies share one, because one look sees both. */
const INDEX_OF = {
  death: 'failures',
  policy: 'failures',
  attempted: 'attempted',
  deadline: 'deadlines',
  callbacks: 'callbacks',
  stages: 'stages',
  cancel: 'cancels',
  removal: 'removals',
} as const satisfies Record<Need, string>;

export type NeedIndex = (typeof INDEX_OF)[Need];

export const NEED_INDEXES: readonly NeedIndex[] = [...new Set(Object.values(INDEX_OF))];

export const needIndexKey = (redis: BatchRedis, index: NeedIndex) => `${needsKey(redis)}:${index}`;

/** Returns what a batch with these callbacks and this policy needs. */
export function needsOf(events: readonly BatchEvent[], policy: FailurePolicy | undefined): Need[] {
  const { cancelAfter, cancelAtPercent } = policy ?? {};
  return [
    ...events.filter((event) => event === 'death' || event === 'attempted'),
    ...(cancelAfter === undefined && cancelAtPercent === undefined ? [] : ['policy' as const]),
  ];
}

/**
 * Lua: need(jobKey, needsKey, id, what) adds one word or several to the needs of a batch, and puts the batch into the
 * sets for all of its needs. The script that makes the batch need it calls this: no crash leaves a batch in need that
 * is in no set. unneed(jobKey, …) takes words off; the batch leaves their sets when it is looked at.
 *
 * A mark behind a word says how far it is:
 * - `callbacks?`: a leader is attending to it, or was when it died;
 * - `callbacks!`: only `complete` is still to become due, when the members are settled;
 * - `cancel!`: all members were gone through, and those that are left were running then.
 *
 * `callbacks` is written beside its marked forms when there is something new to enqueue.
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

/** Lua: takes a batch out of all sets, before it is removed. */
export const LUA_FORGET_NEEDS = `
local function forgetNeeds(needsKey, id)
  for _, index in ipairs({ ${NEED_INDEXES.map((index) => `'${index}'`).join(', ')} }) do
    redis.call('ZREM', needsKey .. ':' .. index, id)
  end
end
`;

/** A batch has at most this many callbacks: of more dependencies some are members, and `complete` cannot be due. */
const MOST_CALLBACKS = 100;
/** How many batches one command asks together whether any of their members has failed. */
const ASKED_TOGETHER = 100;
/** How many batches of a page are looked at although nothing has failed in them: the finished ones leave the set. */
const TIDIED_PER_PAGE = 16;

/**
 * Reads a page of one set, and returns the batches that need a step now. Batches that do not need it any more leave the
 * set. All scores in the sets are 0, so that they are sorted by id: such a page costs Redis half of what SSCAN takes.
 *
 * Most of the batches that wait for failures are passed over: Redis keeps a `failed` hash only for a batch with a
 * failure, so that one EXISTS answers for many batches.
 *
 * KEYS: the set, the batches queue's completed, failed.
 * ARGV: cursor, count, key prefix of the batches queue, the need, or 'failures' for `death` and `policy`, and the
 * number of the round, which says whose turn it is to be looked at without failures.
 * Returns cursor ('0' at the end, as for the first page), due, broken (ids, each with what is wrong).
 */
const NEEDING = script(
  'needing',
  3,
  `${LUA_NOW}${LUA_NEED}${LUA_LOOK_AT}
local cursor, count, queueKey, word, due = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], {}
local function hasFailed(key, needs, isCancelled, isSealed)
  local diedAt, cancelledChildren, policy, total = unpack(redis.call('HMGET', key, '${FIELD.diedAt}',
    '${FIELD.cancelledChildren}', '${FIELD.policy}', '${FIELD.total}'))
  local waitsForDeath = hasNeed(needs, 'death') and not diedAt
  local hasPolicy = hasNeed(needs, 'policy') and not isCancelled
  if not waitsForDeath and not hasPolicy then
    return false
  end
  local failed = redis.call('HLEN', key .. ':failed')
  if waitsForDeath and failed > tonumber(cancelledChildren or 0) then
    return true
  end
  local limit, percent = string.match(policy or '', '^([^,]*),([^,]*)')
  limit, percent = tonumber(limit), tonumber(percent)
  return hasPolicy and failed > 0 and (limit and failed >= limit
    or percent and isSealed and failed * 100 >= percent * tonumber(total or 0)) or nil
end
-- Returns false when the batch does not need this any more, true when it needs a step now, and nil when it has to wait.
local function isDue(id, key)
  local isThere, needs, isRemoved, isSealed, isAbandoned, isCancelled, attemptedAt = unpack(redis.call('HMGET', key,
    'timestamp', '${FIELD.needs}', '${FIELD.removal}', '${FIELD.sealedAt}', '${FIELD.abandonedAt}',
    '${FIELD.cancelledAt}', '${FIELD.attemptedAt}'))
  local isNeeded = hasNeed(needs, word) or hasNeed(needs, word .. '?') or word == 'failures'
  local isLeft = hasNeed(needs, word .. '!')
  if not isThere or not (isNeeded or isLeft) or isRemoved and word ~= 'removal' then
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
  if word == 'deadline' then
    -- A batch that is run again after it had been completed is not held to its deadline any more.
    if hasEnded or isCancelled or redis.call('HEXISTS', key, '${FIELD.completed}') == 1 then
      unneed(key, word)
      return false
    end
    return now() >= tonumber(redis.call('HGET', key, '${FIELD.deadline}')) or nil
  end
  if hasEnded then
    return false
  end
  if word == 'failures' then
    return hasFailed(key, needs, isCancelled, isSealed)
  end
  if word == 'attempted' and (attemptedAt or isCancelled) then
    unneed(key, word)
    return false
  end
  return word ~= 'attempted' or isSealed ~= false or nil
end
local function look(id)
  local found = isDue(id, queueKey .. id)
  if found then
    due[#due + 1] = id
  elseif found == false then
    redis.call('ZREM', KEYS[1], id)
  end
end
local ids = redis.call('ZRANGEBYLEX', KEYS[1], cursor == '0' and '-' or '(' .. cursor, '+', 'LIMIT', 0, count)
local firstTidied = tonumber(ARGV[5]) * ${TIDIED_PER_PAGE} % math.max(#ids, 1)
for from = 1, #ids, ${ASKED_TOGETHER} do
  local to, failed = math.min(from + ${ASKED_TOGETHER - 1}, #ids), {}
  for i = from, to do
    failed[#failed + 1] = queueKey .. ids[i] .. ':failed'
  end
  local someFailed = word == 'failures' and redis.call('EXISTS', unpack(failed)) > 0
  for i = from, to do
    if word ~= 'failures' or (i - 1 - firstTidied) % #ids < ${TIDIED_PER_PAGE}
      or someFailed and redis.call('EXISTS', failed[i - from + 1]) == 1 then
      lookAt(look, ids[i])
    end
  end
end
return { 'cursor', #ids == count and ids[#ids] or '0', 'due', due, 'broken', broken }`,
);

/** What can be asked for in one look: one need, or those for which failures are counted. */
export type NeedAskedFor = Exclude<Need, 'death' | 'policy'> | 'failures';

/** Reads a page of the batches with this need, and returns those that are due now. */
export async function batchesNeeding(
  redis: BatchRedis,
  what: NeedAskedFor,
  { cursor, count, round }: Page,
): Promise<Look> {
  const ended = [batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
  const keys = [needIndexKey(redis, indexOf(what)), ...ended];
  return parseLook(named(await redis.run(NEEDING, [...keys, cursor, count, batchesKey(redis, ''), what, round])));
}

/** Returns the set in which the batches with this need are. */
export function indexOf(what: NeedAskedFor): NeedIndex {
  return what === 'failures' ? what : INDEX_OF[what];
}
