import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD } from './keys.js';
import { parseBroken, type Ranks } from './look.js';
import { LUA_LOOK_AT, named, script } from './script.js';

/** How many batches one command asks together whether they have dependencies, and failures. */
const ASKED_TOGETHER = 50;
/** How many batches of a page are looked at closely even though all of them have failures and no running members. */
const CLOSELY_PER_PAGE = 100;

/**
 * Reads a page of the failed batches, latest first, and returns those that may not fail now. A retry by hand puts the
 * member or callback back into the dependencies, and takes it out of `failed`. If it has succeeded before this look,
 * the batch may succeed when nothing is left in `failed`, or when what is left does not count: the policy tolerates it,
 * or it is not a member. The latter shows only in a close look, which some batches of each page get. A batch is
 * returned once for each number of failures, and then counts as judged. If the process that judges it dies, the slow
 * look at failed members finds it.
 *
 * KEYS: the batches queue's failed. ARGV: from, to (ranks), key prefix of the batches queue, number of the round, which
 * says whose turn it is to be looked at closely.
 * Returns listed (how many batches the page has), due (ids of those to be judged), broken (ids, each with what is
 * wrong).
 */
const FAILED = script(
  'failedBatches',
  1,
  `${LUA_LOOK_AT}
local due = {}
local function judge(id, runsAgain)
  local key = ARGV[3] .. id
  local failed = tostring(redis.call('HLEN', key .. ':failed'))
  local judged, isCancelled, policy, strangers = unpack(redis.call('HMGET', key, '${FIELD.judged}',
    '${FIELD.cancelledAt}', '${FIELD.policy}', '${FIELD.strangers}'))
  local maySucceed = failed == '0' or strangers or policy and string.match(policy, '%d$')
  local isNew = maySucceed and judged ~= failed and redis.call('EXISTS', key) == 1
  if not isCancelled and (runsAgain or isNew) then
    due[#due + 1] = id
  end
  if isNew then
    redis.call('HSET', key, '${FIELD.judged}', failed)
  end
end
local ids = redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[2])
local first = tonumber(ARGV[4]) * ${CLOSELY_PER_PAGE} % math.max(#ids, 1)
for from = 1, #ids, ${ASKED_TOGETHER} do
  local to, dependencies, failures = math.min(from + ${ASKED_TOGETHER - 1}, #ids), {}, {}
  for i = from, to do
    local key = ARGV[3] .. ids[i]
    dependencies[#dependencies + 1] = key .. ':dependencies'
    failures[#failures + 1] = key .. ':failed'
  end
  local someRun = redis.call('EXISTS', unpack(dependencies)) > 0
  local allFail = redis.call('EXISTS', unpack(failures)) == #failures
  for i = from, to do
    local runsAgain = someRun and redis.call('EXISTS', dependencies[i - from + 1]) == 1
    if runsAgain or not allFail or (i - 1 - first) % #ids < ${CLOSELY_PER_PAGE} then
      lookAt(function(id)
        judge(id, runsAgain)
      end, ids[i])
    end
  end
end
return { 'listed', #ids, 'due', due, 'broken', broken }`,
);

/** Reads a page of the failed batches, by rank; `listed` is 0 past the last one. */
export async function failedBatches(
  redis: BatchRedis,
  { from, to, round }: Ranks,
): Promise<{
  readonly listed: number;
  readonly due: readonly string[];
  readonly broken: ReadonlyMap<string, string>;
}> {
  const reply = await redis.run(FAILED, [batchesKey(redis, 'failed'), from, to, batchesKey(redis, ''), round]);
  const { listed, due, broken } = named(reply);
  return {
    listed: Number(listed),
    due: due as string[],
    broken: parseBroken(broken),
  };
}
