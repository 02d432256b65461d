import { type BatchDefinition, DEFAULT_KEEP } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD } from './keys.js';
import { type Look, LUA_NEXT_RANK, type Page, parseLook, ranksOf } from './look.js';
import { LUA_FREES_MEMORY, LUA_LOOK_AT, LUA_NOW, named, script } from './script.js';

/** Returns how long a finished batch is kept, in the form that expiry reads: see FIELD.keep. */
export function keepField({ age, count, members }: NonNullable<BatchDefinition['keep']>): string {
  return `${age ?? ''},${count ?? ''}${members ? ',members' : ''}`;
}

/**
 * Lua, after LUA_NOW: whether the time to keep a finished batch has passed, or it is being removed already. Its age
 * counts from the moment at which a script first saw it finished: `finishedOn` is written by the clock of the
 * BatchWorker that finished it, which may be an hour slow. A batch that was retried has another `finishedOn`, and its
 * age starts again. A child batch stays as long as its parent.
 */
export const LUA_EXPIRED = `
local function firstSeen(jobKey, finishedOn, finishedAt)
  local on, at = string.match(finishedAt or '', '^(.*):(%d+)$')
  if on ~= finishedOn then
    at = now()
    redis.call('HSET', jobKey, '${FIELD.finishedAt}', finishedOn .. ':' .. at)
  end
  return tonumber(at)
end
local function isExpired(jobKey, id, completed, failed)
  local nonce, removal, finishedOn, parentKey, finishedAt, keep = unpack(redis.call('HMGET', jobKey, '${FIELD.nonce}',
    '${FIELD.removal}', 'finishedOn', 'parentKey', '${FIELD.finishedAt}', '${FIELD.keep}'))
  if removal then
    return true
  end
  if not nonce or not finishedOn or parentKey and redis.call('EXISTS', parentKey) == 1 then
    return false
  end
  local age, count = string.match(keep or '${keepField(DEFAULT_KEEP)}', '^(%d*),(%d*)')
  -- What cannot be read must not keep the others of the page from expiring.
  age, count = age or '', count or ''
  local seen = firstSeen(jobKey, finishedOn, finishedAt)
  if age ~= '' and now() - seen >= tonumber(age) * 1000 then
    return true
  end
  local rank = count ~= '' and (redis.call('ZREVRANK', completed, id) or redis.call('ZREVRANK', failed, id))
  return rank and rank >= tonumber(count)
end
`;

/**
 * Reads a page of the finished batches: notes when each was first seen, and returns those whose time has passed and
 * those that are being removed. It does not read definitions, which can be large.
 *
 * KEYS: the batches queue's completed, failed. ARGV: from, to (ranks in both, oldest first), key prefix of the batches
 * queue.
 * Returns cursor, due (ids of those that are to go), broken (ids, each with what is wrong).
 */
const EXPIRED = script(
  'expired',
  2,
  `${LUA_FREES_MEMORY}${LUA_NOW}${LUA_EXPIRED}${LUA_LOOK_AT}${LUA_NEXT_RANK}
local ids = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2])
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], ARGV[1], ARGV[2])) do
  ids[#ids + 1] = id
end
local due = {}
local function look(id)
  if isExpired(ARGV[3] .. id, id, KEYS[1], KEYS[2]) then
    due[#due + 1] = id
  end
end
for _, id in ipairs(ids) do
  lookAt(look, id)
end
return { 'cursor', nextRank(ARGV[2], #ids), 'due', due, 'broken', broken }`,
);

/**
 * Reads a page of the finished batches, by rank, and returns those that are to be removed. The script that marks a
 * batch decides again.
 */
export async function expiredBatches(redis: BatchRedis, page: Page): Promise<Look> {
  const ended = [batchesKey(redis, 'completed'), batchesKey(redis, 'failed')];
  return parseLook(named(await redis.run(EXPIRED, [...ended, ...ranksOf(page), batchesKey(redis, '')])));
}
