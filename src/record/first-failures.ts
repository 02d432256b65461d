import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD } from './keys.js';
import { type Look, parseLook } from './look.js';
import { LUA_NEED, LUA_NEED_PAGE, needIndexKey } from './needs.js';
import { LUA_LOOK_AT, script } from './script.js';

/** How many batches one command asks together whether any of their members has failed. */
const ASKED_TOGETHER = 100;
/** How many batches of a page without failures are looked at closely: some of them have finished, and leave the set. */
const TIDIED_PER_PAGE = 16;

/**
 * Reads a page of the batches that wait for a first failure, or for a number of failures, and returns those in which it
 * has come. Redis keeps a `failed` hash only for a batch with a failure, so one EXISTS answers for many batches; only
 * those that have one are looked at closely. Of the others, some per page are checked: those that have finished or are
 * gone leave the set.
 *
 * KEYS: the set, the batches queue's completed, failed.
 * ARGV: cursor, count, key prefix of the batches queue, number of the round, which says whose turn it is to be tidied.
 * Returns cursor, due, broken (ids, each with what is wrong).
 */
const FIRST_FAILURES = script(
  'firstFailures',
  3,
  `${LUA_NEED}${LUA_NEED_PAGE}${LUA_LOOK_AT}
local due = {}
local function hasReached(key, failed, isSealed, total)
  local limit, percent = string.match(redis.call('HGET', key, '${FIELD.policy}') or '', '^([^,]*),([^,]*)')
  limit, percent = tonumber(limit), tonumber(percent)
  return limit and failed >= limit or percent and isSealed and failed * 100 >= percent * tonumber(total or 0)
end
local function look(id)
  local key = ARGV[3] .. id
  local needs, isRemoved, diedAt, cancelledAt, cancelledChildren, isSealed, total = unpack(redis.call('HMGET', key,
    '${FIELD.needs}', '${FIELD.removal}', '${FIELD.diedAt}', '${FIELD.cancelledAt}', '${FIELD.cancelledChildren}',
    '${FIELD.sealedAt}', '${FIELD.total}'))
  local waitsForDeath = hasNeed(needs, 'death') and not diedAt
  local hasPolicy = hasNeed(needs, 'policy') and not cancelledAt
  if isRemoved or not waitsForDeath and not hasPolicy
    or redis.call('ZSCORE', KEYS[2], id) or redis.call('ZSCORE', KEYS[3], id) then
    redis.call('ZREM', KEYS[1], id)
    return
  end
  local failed = redis.call('HLEN', key .. ':failed')
  if waitsForDeath and failed > tonumber(cancelledChildren or 0)
    or hasPolicy and failed > 0 and hasReached(key, failed, isSealed, total) then
    due[#due + 1] = id
  end
end
local ids, cursor = needPage(KEYS[1], ARGV[1], ARGV[2])
local first = tonumber(ARGV[4]) * ${TIDIED_PER_PAGE} % math.max(#ids, 1)
for from = 1, #ids, ${ASKED_TOGETHER} do
  local to, keys = math.min(from + ${ASKED_TOGETHER - 1}, #ids), {}
  for i = from, to do
    keys[#keys + 1] = ARGV[3] .. ids[i] .. ':failed'
  end
  local hasFailures = redis.call('EXISTS', unpack(keys)) > 0
  for i = from, to do
    if (i - 1 - first) % #ids < ${TIDIED_PER_PAGE} or hasFailures and redis.call('EXISTS', keys[i - from + 1]) == 1 then
      lookAt(look, ids[i])
    end
  end
end
return { 'cursor', cursor, 'due', due, 'broken', broken }`,
);

export async function firstFailures(
  redis: BatchRedis,
  { cursor, count, round }: { readonly cursor: string; readonly count: number; readonly round: number },
): Promise<Look> {
  const ended = [batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
  const args = [needIndexKey(redis, 'failures'), ...ended, cursor, count, batchesKey(redis, ''), round];
  return parseLook(await redis.run(FIRST_FAILURES, args));
}
