import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD, needsKey } from './keys.js';
import { LUA_NEED } from './needs.js';
import { LUA_LOOK_AT, named, script } from './script.js';

/** How many batches are asked together whether they have dependencies. */
const ASKED_TOGETHER = 50;

/**
 * A page of the batches that have failed, latest first: those that may not fail now. Each retry by hand puts the member or
 * callback back into the dependencies, and takes it out of `failed`; when it succeeds before anybody looks, the number of those
 * that failed has changed since the batch was last judged. A batch that is given out counts as judged: should its judge
 * die, the slow look at failed members does it.
 *
 * KEYS: the batches queue's failed, what the keys of the sets begin with. ARGV: from, to (ranks), key prefix of the batches queue.
 * Returns listed (the ids of the page), due (those to be judged), broken (ids, each with what is wrong).
 */
const FAILED = script(
  'failedBatches',
  2,
  `${LUA_NEED}${LUA_LOOK_AT}
local due = {}
local function look(id, runsAgain)
  local key = ARGV[3] .. id
  local failed = tostring(redis.call('HLEN', key .. ':failed'))
  local judged, isCancelled, isRemoved = unpack(redis.call('HMGET', key, '${FIELD.judged}', '${FIELD.cancelledAt}',
    '${FIELD.removal}'))
  if isRemoved then
    need(key, KEYS[2], id, 'removal')
  elseif not isCancelled and (runsAgain or judged ~= failed) then
    due[#due + 1] = id
    if judged ~= failed and redis.call('EXISTS', key) == 1 then
      redis.call('HSET', key, '${FIELD.judged}', failed)
    end
  end
end
local ids = redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[2])
for from = 1, #ids, ${ASKED_TOGETHER} do
  local to, keys = math.min(from + ${ASKED_TOGETHER - 1}, #ids), {}
  for i = from, to do
    keys[#keys + 1] = ARGV[3] .. ids[i] .. ':dependencies'
  end
  local someRun = redis.call('EXISTS', unpack(keys)) > 0
  for i = from, to do
    lookAt(function(id)
      look(id, someRun and redis.call('EXISTS', keys[i - from + 1]) == 1)
    end, ids[i])
  end
end
return { 'listed', ids, 'due', due, 'broken', broken }`,
);

/** A page of the batches that have failed, by rank; nothing is listed past the last one. */
export async function failedBatches(
  redis: BatchRedis,
  from: number,
  to: number,
): Promise<{
  readonly listed: readonly string[];
  readonly due: readonly string[];
  readonly broken: ReadonlyMap<string, string>;
}> {
  const reply = await redis.run(FAILED, [
    batchesKey(redis, 'failed'),
    needsKey(redis),
    from,
    to,
    batchesKey(redis, ''),
  ]);
  const { listed, due, broken } = named(reply);
  return {
    listed: listed as string[],
    due: due as string[],
    broken: new Map(Object.entries(named(broken)).map(([id, problem]) => [id, String(problem)])),
  };
}
