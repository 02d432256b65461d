import { OPEN_TIMEOUT_MS } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD, needsKey } from './keys.js';
import { type Look, LUA_NEXT_RANK, type Page, parseLook, ranksOf } from './look.js';
import { LUA_NEED } from './needs.js';
import { LUA_LOOK_AT, LUA_NOW, LUA_WAKE, named, rowsOf, script } from './script.js';

/** The longest delay, in ms, that a closed batch job can have because of the backoff of a failed step. */
const LONGEST_BACKOFF_MS = 60_000;
/** After how many rounds each batch in need has been put back into its sets, in case it was missing there. */
const ROUNDS_TO_COME_BACK = 8;

/** What a look at an unfinished batch has found. */
export interface UnfinishedBatch {
  readonly batchId: string;
  /** Whether it is sealed, abandoned or cancelled. */
  readonly isClosed: boolean;
  /** How many dependencies it has. */
  readonly outstanding: number;
  /** Whether any of its members or callbacks has failed. */
  readonly hasFailures: boolean;
  /** Whether the batch job was made to run. */
  readonly woken: boolean;
}

/**
 * Reads a page of the unfinished batches, and mends what the batch job itself shows:
 *
 * - An open batch without a sign of life for its openTimeout is abandoned. Usually a BatchWorker does so when the batch
 *   wakes; but a batch that waits for a dependency without a job never wakes, nor one that was delayed by a fast clock.
 * - A closed batch that is delayed as if it were open, or that waits for nothing, is woken.
 * - A batch in need that is missing in the set for its need is put back into it.
 *
 * KEYS: the batches queue's delayed, waiting-children, what the keys of the sets begin with.
 * ARGV: from, to (ranks over both, delayed first), key prefix of the batches queue, number of the round, which says
 * whose turn it is to come back into the sets.
 * Returns cursor, due (of each id, how many are outstanding, and '1' or '' for whether it is closed, any has failed,
 * and it was woken), broken (ids, each with what is wrong).
 */
const UNFINISHED = script(
  'unfinished',
  3,
  `${LUA_NOW}${LUA_WAKE}${LUA_NEED}${LUA_LOOK_AT}${LUA_NEXT_RANK}
local due = {}
local function isOverdue(key, registeredAt)
  if not registeredAt then
    -- Nothing was added yet, and the creation was timed by a clock that is not Redis's: its time begins now.
    redis.call('HSET', key, '${FIELD.registeredAt}', now())
    return false
  end
  local nonce, openTimeout = unpack(redis.call('HMGET', key, '${FIELD.nonce}', '${FIELD.openTimeout}'))
  return nonce and now() - tonumber(registeredAt) >= tonumber(openTimeout or ${OPEN_TIMEOUT_MS})
end
local at = now()
local function look(id, score, isIndexed)
  local key = ARGV[3] .. id
  local isRemoved, needs, sealedAt, abandonedAt, cancelledAt, registeredAt = unpack(redis.call('HMGET', key,
    '${FIELD.removal}', '${FIELD.needs}', '${FIELD.sealedAt}', '${FIELD.abandonedAt}', '${FIELD.cancelledAt}',
    '${FIELD.registeredAt}'))
  if isRemoved then
    need(key, KEYS[3], id, 'removal')
    return
  elseif needs and isIndexed then
    index(KEYS[3], id, needs)
  end
  local isClosed = sealedAt or abandonedAt or cancelledAt
  local isGivenUp = not isClosed and redis.call('EXISTS', key) == 1 and isOverdue(key, registeredAt)
  if isGivenUp then
    redis.call('HSET', key, '${FIELD.abandonedAt}', at)
    isClosed = true
  end
  local outstanding, woken = redis.call('SCARD', key .. ':dependencies'), false
  local isLate = score and (isGivenUp or score / 4096 > at + ${LONGEST_BACKOFF_MS})
  if isClosed and (isLate or not score and outstanding == 0) then
    woken = wake(ARGV[3], key, id) == 1
  end
  local hasFailures = redis.call('EXISTS', key .. ':failed') == 1
  for _, value in ipairs({ id, outstanding, isClosed and '1' or '', hasFailures and '1' or '', woken and '1' or '' }) do
    due[#due + 1] = value
  end
end
local from, to = tonumber(ARGV[1]), tonumber(ARGV[2])
local delayed = redis.call('ZCARD', KEYS[1])
local ids, scores = {}, {}
local page = redis.call('ZRANGE', KEYS[1], from, to, 'WITHSCORES')
for i = 1, #page, 2 do
  ids[#ids + 1] = page[i]
  scores[#ids] = tonumber(page[i + 1])
end
if to >= delayed then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], math.max(0, from - delayed), to - delayed)) do
    ids[#ids + 1] = id
  end
end
for i, id in ipairs(ids) do
  lookAt(function()
    look(id, scores[i], (i + ARGV[4]) % ${ROUNDS_TO_COME_BACK} == 0)
  end, id)
end
return { 'cursor', nextRank(to, #ids), 'due', due, 'broken', broken }`,
);

/** Reads a page of the unfinished batches, by rank. */
export async function unfinishedBatches(redis: BatchRedis, page: Page): Promise<Look<UnfinishedBatch>> {
  const keys = [batchesKey(redis, 'delayed'), batchesKey(redis, 'waiting-children'), needsKey(redis)];
  const args = [...keys, ...ranksOf(page), batchesKey(redis, ''), page.round];
  const reply = named(await redis.run(UNFINISHED, args));
  return { ...parseLook(reply), due: parseBatches(reply.due) };
}

function parseBatches(due: unknown): UnfinishedBatch[] {
  return rowsOf(due, 5).map(([batchId = '', outstanding, isClosed, hasFailures, woken]) => ({
    batchId,
    outstanding: Number(outstanding),
    isClosed: isClosed === '1',
    hasFailures: hasFailures === '1',
    woken: woken === '1',
  }));
}
