import { OPEN_TIMEOUT_MS } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD, needsKey } from './keys.js';
import { parseBroken, type Ranks } from './look.js';
import { LUA_NEED } from './needs.js';
import { LUA_LOOK_AT, LUA_NOW, LUA_WAKE, named, rowsOf, script } from './script.js';

/** The longest delay, in ms, that a closed batch job can have because of the backoff of a failed step. */
const LONGEST_BACKOFF_MS = 60_000;
/** How many batches one command asks together whether anything has failed in them. */
const ASKED_TOGETHER = 100;
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
 * Returns listed (how many batches the page has), batches (id, outstanding, and the sum of 1 when it is closed, 2 when
 * any has failed, 4 when it was woken, of each), broken (ids, each with what is wrong).
 */
const UNFINISHED = script(
  'unfinished',
  3,
  `${LUA_NOW}${LUA_WAKE}${LUA_NEED}${LUA_LOOK_AT}
local batches = {}
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
local function look(id, score, isIndexed, hasFailures)
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
  local outstanding, woken = redis.call('SCARD', key .. ':dependencies'), 0
  local isLate = score and (isGivenUp or score / 4096 > at + ${LONGEST_BACKOFF_MS})
  if isClosed and (isLate or not score and outstanding == 0) then
    woken = wake(ARGV[3], key, id)
  end
  batches[#batches + 1] = id
  batches[#batches + 1] = outstanding
  batches[#batches + 1] = (isClosed and 1 or 0) + (hasFailures and 2 or 0) + 4 * woken
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
for first = 1, #ids, ${ASKED_TOGETHER} do
  local last, keys = math.min(first + ${ASKED_TOGETHER - 1}, #ids), {}
  for i = first, last do
    keys[#keys + 1] = ARGV[3] .. ids[i] .. ':failed'
  end
  local someFailed = redis.call('EXISTS', unpack(keys)) > 0
  for i = first, last do
    lookAt(function(id)
      local hasFailures = someFailed and redis.call('EXISTS', keys[i - first + 1]) == 1
      look(id, scores[i], (i + ARGV[4]) % ${ROUNDS_TO_COME_BACK} == 0, hasFailures)
    end, ids[i])
  end
end
return { 'listed', #ids, 'batches', batches, 'broken', broken }`,
);

/** Reads a page of the unfinished batches, by rank; `listed` is 0 past the last one. */
export async function unfinishedBatches(
  redis: BatchRedis,
  { from, to, round }: Ranks,
): Promise<{
  readonly listed: number;
  readonly due: readonly UnfinishedBatch[];
  readonly broken: ReadonlyMap<string, string>;
}> {
  const keys = [batchesKey(redis, 'delayed'), batchesKey(redis, 'waiting-children'), needsKey(redis)];
  const { listed, batches, broken } = named(
    await redis.run(UNFINISHED, [...keys, from, to, batchesKey(redis, ''), round]),
  );
  return {
    listed: Number(listed),
    due: parseBatches(batches),
    broken: parseBroken(broken),
  };
}

function parseBatches(reply: unknown): UnfinishedBatch[] {
  return rowsOf(reply, 3).map(([batchId = '', outstanding, sum]) => {
    const facts = Number(sum);
    return {
      batchId,
      outstanding: Number(outstanding),
      isClosed: (facts & 1) > 0,
      hasFailures: (facts & 2) > 0,
      woken: (facts & 4) > 0,
    };
  });
}
