import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD } from './keys.js';
import { type Look, LUA_NEXT_RANK, type Page, parseLook, ranksOf } from './look.js';
import { LUA_LOOK_AT, named, script } from './script.js';

/**
 * Reads a page of the failed batches, latest first, and returns those that may not fail now. A retry by hand puts the
 * member or callback back into the dependencies, and takes it out of `failed`. If it has succeeded before this look,
 * the batch may succeed when nothing is left in `failed`, or when what is left does not count: the policy tolerates it,
 * or it is not a member. A batch is returned once for each number of failures, and then counts as judged. If the
 * process that judges it dies, the slow look at failed members finds it.
 *
 * KEYS: the batches queue's failed. ARGV: from, to (ranks), key prefix of the batches queue.
 * Returns cursor, due (ids of those to be judged), broken (ids, each with what is wrong).
 */
const FAILED = script(
  'failedBatches',
  1,
  `${LUA_LOOK_AT}${LUA_NEXT_RANK}
local due = {}
local function look(id)
  local key = ARGV[3] .. id
  local runsAgain, failed = redis.call('EXISTS', key .. ':dependencies') == 1, redis.call('HLEN', key .. ':failed')
  local judged, isCancelled, policy, strangers = unpack(redis.call('HMGET', key, '${FIELD.judged}',
    '${FIELD.cancelledAt}', '${FIELD.policy}', '${FIELD.strangers}'))
  local maySucceed = failed == 0 or strangers or policy and string.match(policy, '%d$')
  local isNew = maySucceed and judged ~= tostring(failed) and redis.call('EXISTS', key) == 1
  if not isCancelled and (runsAgain or isNew) then
    due[#due + 1] = id
  end
  if isNew then
    redis.call('HSET', key, '${FIELD.judged}', failed)
  end
end
local ids = redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[2])
for _, id in ipairs(ids) do
  lookAt(look, id)
end
return { 'cursor', nextRank(ARGV[2], #ids), 'due', due, 'broken', broken }`,
);

/** Reads a page of the failed batches, by rank. */
export async function failedBatches(redis: BatchRedis, page: Page): Promise<Look> {
  const args = [batchesKey(redis, 'failed'), ...ranksOf(page), batchesKey(redis, '')];
  return parseLook(named(await redis.run(FAILED, args)));
}
