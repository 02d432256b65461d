import type { BatchRedis } from './batch-redis.js';
import { DROPPED_FIELD, droppedKey } from './keys.js';
import { LUA_FREES_MEMORY, LUA_UNLINK_JOB, named, rowsOf, script } from './script.js';

/*
 * Jobs that a cancel has dropped are settled, but still in the list of their queue, because finding one job in a list
 * takes Redis time in proportion to its length. They are removed together, by reading the list once for all of them. A
 * worker that takes such a job before fails it without running it, and BullMQ removes it: correctness does not depend
 * on this search.
 */

/** How many entries of a list one command reads, and how many jobs it removes at most. */
const SEEN_AT_ONCE = 600;
const REMOVED_AT_ONCE = 120;

/**
 * How far from either end a list is searched. To take a job out, Redis walks to it from the nearer end, which took 3 ms
 * at this distance, and 170 ms in the middle of a list of 4 million. Jobs further inside are left to the workers.
 */
export const DEPTH = 100_000;

/** The lists in which BullMQ keeps waiting jobs; BullMQ 5 moves them to the second while their queue is paused. */
const LISTS = ['wait', 'paused'] as const;

/**
 * Removes dropped jobs from a part of a list. Each is first overwritten in its place, and all of them are then taken
 * out together. At the end of the last list the queue leaves the registry, unless jobs were dropped meanwhile, or
 * another search has removed some. Jobs that were not found have been taken by workers, or are left to them.
 *
 * KEYS: the list, registry of dropped jobs. ARGV: key prefix of the queue, rank to start at, how many jobs are left to
 * be found, '1' for the last list.
 * Returns next, the rank to go on at or -1 when there is nothing left to find, and removed.
 */
const REMOVE_DROPPED = script(
  'removeDropped',
  2,
  `${LUA_FREES_MEMORY}${LUA_UNLINK_JOB}
local length, from = redis.call('LLEN', KEYS[1]), tonumber(ARGV[2])
if from >= ${DEPTH} then
  from = math.max(from, length - ${DEPTH})
end
local ids = redis.call('LRANGE', KEYS[1], from, from + ${SEEN_AT_ONCE - 1})
local seen, removed = 0, 0
for i, id in ipairs(ids) do
  if removed == ${REMOVED_AT_ONCE} then
    break
  end
  seen = i
  local key = ARGV[1] .. id
  if redis.call('HEXISTS', key, '${DROPPED_FIELD}') == 1 then
    redis.call('LSET', KEYS[1], from + i - 1, 'dropped')
    unlinkJob(key)
    removed = removed + 1
  end
end
local isDone = from + seen >= length
if removed > 0 then
  local isNearTail = from > length / 2
  redis.call('LREM', KEYS[1], isNearTail and -removed or removed, 'dropped')
  isDone = redis.call('HINCRBY', KEYS[2], ARGV[1], -removed) <= 0 or isDone
end
local left = math.max(0, tonumber(ARGV[3]) - removed)
local counted = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0)
-- A second search at the same time moves entries past the place of this one: then the queue is searched once more.
-- Below zero this one has found jobs that an earlier search had left: nothing that was counted is left.
if isDone and (left == 0 or ARGV[4] == '1') and (counted == left or counted <= 0) then
  redis.call('HDEL', KEYS[2], ARGV[1])
end
return { 'next', isDone and -1 or from + seen - removed, 'removed', removed }`,
);

/** How far the search of a queue's lists has come. */
export interface DroppedSearch {
  readonly queueKey: string;
  readonly list: (typeof LISTS)[number];
  readonly from: number;
  /** How many of the jobs that were dropped when the search began have not been found yet. */
  readonly left: number;
}

/** Returns the queues with dropped jobs in their lists, as searches that have not begun. */
export async function droppedQueues(redis: BatchRedis): Promise<DroppedSearch[]> {
  const counts = rowsOf(await redis.command('HGETALL', droppedKey(redis)), 2);
  return counts.map(([queueKey = '', left]) => ({ queueKey, list: 'wait', from: 0, left: Number(left) }));
}

/** Continues a search by one command. Returns what is left of it, or undefined at its end. */
export async function searchDropped(redis: BatchRedis, search: DroppedSearch): Promise<DroppedSearch | undefined> {
  const { queueKey, list, from } = search;
  const isLast = list === LISTS.at(-1);
  const reply = await redis.run(REMOVE_DROPPED, [
    ...[`${queueKey}${list}`, droppedKey(redis)],
    ...[queueKey, from, search.left, isLast ? '1' : '0'],
  ]);
  const { next, removed } = named(reply) as { next: number; removed: number };
  const left = search.left - removed;
  if (next !== -1) {
    return { ...search, from: next, left };
  }
  return isLast || left <= 0 ? undefined : { queueKey, list: 'paused', from: 0, left };
}
