import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_WAKE, script } from './script.js';

/**
 * Says which jobs of a flow would not be new. A root that is a member already makes the whole flow a known one: its
 * descendants were added with it.
 *
 * KEYS: batch job, its processed, failed. ARGV: key of the root, then the keys of descendants.
 * Returns the keys of descendants that exist; none for a known root, or without a batch.
 */
const TAKEN = script(
  'taken',
  3,
  `
local root = ARGV[1]
local isKnown = redis.call('HGET', root, 'parentKey') == KEYS[1] or
  redis.call('HEXISTS', KEYS[2], root) == 1 or redis.call('HEXISTS', KEYS[3], root) == 1
local taken = {}
if isKnown or redis.call('EXISTS', KEYS[1]) == 0 then
  return taken
end
for i = 2, #ARGV do
  if redis.call('EXISTS', ARGV[i]) == 1 then
    taken[#taken + 1] = ARGV[i]
  end
end
return taken`,
);

export async function takenKeys(
  redis: BatchRedis,
  batchId: string,
  root: string,
  descendants: readonly string[],
): Promise<ReadonlySet<string>> {
  const { job, processed, failed } = batchKeys(redis.prefix, batchId);
  return new Set((await redis.run(TAKEN, [job, processed, failed, root, ...descendants])) as string[]);
}

/** A job of a flow, and the job above it. */
export interface FlowLink {
  readonly key: string;
  readonly parentKey: string;
}

/**
 * Finds what BullMQ left out of a flow without a word: a job whose id was used elsewhere just before stays where it is, and
 * its parent in the flow would wait for nothing. Such a flow is detached from its batch, whole.
 *
 * KEYS: batch job, its dependencies. ARGV: batch id, key prefix of the batches queue, key of the root, then per descendant
 * its key and its parent's.
 * Returns the keys of the jobs that are not in the flow; when there are any, the root is no member any more.
 */
const DETACH = script(
  'detach',
  2,
  `${LUA_WAKE}
local root, strays = ARGV[3], {}
for i = 4, #ARGV, 2 do
  local parentKey = redis.call('HGET', ARGV[i], 'parentKey')
  if redis.call('EXISTS', ARGV[i]) == 1 and parentKey ~= ARGV[i + 1] then
    strays[#strays + 1] = ARGV[i]
  end
end
if #strays > 0 and redis.call('SREM', KEYS[2], root) == 1 then
  redis.call('HDEL', root, 'parentKey', 'parent')
  redis.call('HINCRBY', KEYS[1], '${FIELD.total}', -1)
  if redis.call('SCARD', KEYS[2]) == 0 and redis.call('ZSCORE', ARGV[2] .. 'waiting-children', ARGV[1]) then
    wake(ARGV[2], KEYS[1], ARGV[1])
  end
end
return strays`,
);

export async function detachIfBroken(
  redis: BatchRedis,
  batchId: string,
  root: string,
  links: readonly FlowLink[],
): Promise<ReadonlySet<string>> {
  const { job, dependencies } = batchKeys(redis.prefix, batchId);
  const args = [job, dependencies, batchId, batchesKey(redis.prefix, ''), root];
  return new Set(
    (await redis.run(DETACH, [...args, ...links.flatMap(({ key, parentKey }) => [key, parentKey])])) as string[],
  );
}
