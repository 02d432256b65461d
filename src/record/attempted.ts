import { callbackIdStarts } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_SCAN_PLACE } from './scan-place.js';
import { LUA_SPLIT_KEY, luaIsCallback, named, script } from './script.js';

/**
 * Looks for a member that has not run yet. A member that had not run at the last look is asked first: while it still
 * has not, no other needs to be looked at. A child batch has run when it has finished.
 *
 * KEYS: batch job, its dependencies.
 * ARGV: a member that had not run or '', place in the dependencies, count, key prefix of the batches queue, key prefix of all queues, then
 * what the ids of the batch's own callbacks begin with.
 * Returns notRun (a member that has not run, or ''), cursor (the place to go on at), total.
 */
const FIND_NOT_RUN = script(
  'findMemberNotRun',
  2,
  `${LUA_SPLIT_KEY}${luaIsCallback(6)}${LUA_SCAN_PLACE}
local total = redis.call('HGET', KEYS[1], '${FIELD.total}') or ''
local function hasNotRun(key)
  local queueKey, id = splitKey(key, ARGV[5])
  if queueKey == ARGV[4] then
    return true
  end
  -- A child with another prefix was attached by hand, and is no member.
  return queueKey and not isCallback(id) and tonumber(redis.call('HGET', key, 'atm') or 0) == 0
end
if ARGV[1] ~= '' and redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 and hasNotRun(ARGV[1]) then
  return { 'notRun', ARGV[1], 'cursor', ARGV[2], 'total', total }
end
local page = redis.call('SSCAN', KEYS[2], cursorAt(ARGV[2]), 'COUNT', ARGV[3])
for _, key in ipairs(page[2]) do
  if hasNotRun(key) then
    return { 'notRun', key, 'cursor', ARGV[2], 'total', total }
  end
end
return { 'notRun', '', 'cursor', placeOf(page[1]), 'total', total }`,
);

export interface MemberSearch {
  readonly notRun: string;
  readonly cursor: string;
  readonly total: string;
}

export async function findMemberNotRun(
  redis: BatchRedis,
  batchId: string,
  { notRun, cursor, count }: { notRun: string; cursor: string; count: number },
): Promise<MemberSearch> {
  const { job, dependencies } = batchKeys(redis, batchId);
  const args = [job, dependencies, notRun, cursor, count, batchesKey(redis, ''), redis.prefix];
  const found = named(await redis.run(FIND_NOT_RUN, [...args, ...callbackIdStarts(batchId)]));
  return { notRun: String(found.notRun), cursor: String(found.cursor), total: String(found.total) };
}
