import { DEFAULT_BATCHES_QUEUE } from '../model/place.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchesQueueKey, FIELD, leaseKey } from './keys.js';
import { type NamedReply, named, script } from './script.js';

/** The queue that holds the batches of a prefix, and why it still does. */
export interface KeptElsewhere {
  readonly queue: string;
  /** The id of a batch in that queue; undefined when it has none, and only a BatchWorker of that queue is running. */
  readonly batchId: string | undefined;
}

/** How many jobs of each state are searched for a batch. */
const LOOKED_AT = 100;

/** The end of the key of the BatchWorkers' lease, after the key of the queue. */
const LEASE = leaseKey({ prefix: '', batchesQueue: '' }).slice(1);

/**
 * Lua: makes a queue the one that holds the batches of its prefix, and returns nil. The queue that held them before
 * gives way when it has no batch and no BatchWorker any more; otherwise the answer is keptElsewhere (its name) and
 * batch (an id, or '' when only a BatchWorker is running there). Nothing is stored while it is the default queue.
 */
export const LUA_CLAIM = `
local function batchIn(queueKey)
  local states =
    { 'waiting-children', 'delayed', 'active', 'wait', 'paused', 'prioritized', 'failed', 'completed' }
  for _, state in ipairs(states) do
    local isList = state == 'active' or state == 'wait' or state == 'paused'
    local ids = redis.call(isList and 'LRANGE' or 'ZREVRANGE', queueKey .. state, 0, ${LOOKED_AT - 1})
    for _, id in ipairs(ids) do
      if redis.call('HEXISTS', queueKey .. id, '${FIELD.nonce}') == 1 then
        return id
      end
    end
  end
end
local function claimQueue(nameKey, prefix, queue)
  local holder = redis.call('GET', nameKey) or '${DEFAULT_BATCHES_QUEUE}'
  if holder == queue then
    return nil
  end
  local place = prefix .. ':' .. holder
  local isDriven = redis.call('EXISTS', place .. '${LEASE}') == 1
  local batch = batchIn(place .. ':')
  if batch or isDriven then
    return { 'keptElsewhere', holder, 'batch', batch or '' }
  end
  if queue == '${DEFAULT_BATCHES_QUEUE}' then
    redis.call('DEL', nameKey)
  else
    redis.call('SET', nameKey, queue)
  end
  return nil
end
`;

/** A job in the batches queue that is neither a batch nor a copy of one. */
export interface ForeignJob {
  readonly id: string;
  readonly name: string;
}

/**
 * How many jobs of each state are looked at, how many bytes the data of a copy may have, and how many are read in all.
 */
const EXAMINED = 10;
const LARGEST_COPY = 100_000;
const MOST_READ = 1_000_000;

/**
 * Makes this the queue that holds the batches of its prefix, unless a job that is no batch, and no copy of one, is
 * among the first that wait or run in it: then it belongs to the application. What is not read is taken for a copy: the
 * BatchWorker looks at each job once more before it runs it.
 *
 * KEYS: the name of the batches queue. ARGV: key prefix, the queue, its key prefix.
 * Returns foreign (id, name), what LUA_CLAIM does, or nothing.
 */
const CLAIM = script(
  'claimQueue',
  1,
  `${LUA_CLAIM}
local left = ${MOST_READ}
local function isCopy(key)
  local size = redis.call('HSTRLEN', key, 'data')
  if size > ${LARGEST_COPY} then
    return false
  end
  left = left - size
  if left < 0 then
    return true
  end
  local data = redis.call('HGET', key, 'data') or ''
  return string.find(data, '"nonce":"', 1, true) and string.find(data, '"on":', 1, true)
end
for _, state in ipairs({ 'wait', 'paused', 'active', 'delayed', 'prioritized' }) do
  local isSet = state == 'delayed' or state == 'prioritized'
  local ids = isSet and redis.call('ZRANGE', ARGV[3] .. state, 0, ${EXAMINED - 1})
    or redis.call('LRANGE', ARGV[3] .. state, ${-EXAMINED}, -1)
  for _, id in ipairs(ids) do
    local key = ARGV[3] .. id
    local name, nonce = unpack(redis.call('HMGET', key, 'name', '${FIELD.nonce}'))
    if name and not nonce and not isCopy(key) then
      return { 'foreign', { 'id', id, 'name', name } }
    end
  end
end
return claimQueue(KEYS[1], ARGV[1], ARGV[2]) or {}`,
);

/**
 * Makes this the queue that holds the batches of its prefix, or returns what is in the way: the queue that holds them,
 * or a job of the application.
 */
export async function claimQueue(
  redis: BatchRedis,
): Promise<{ readonly elsewhere: KeptElsewhere } | { readonly foreign: ForeignJob } | undefined> {
  const keys = [batchesQueueKey(redis.prefix), redis.prefix, redis.batchesQueue, batchesKey(redis, '')];
  const reply = named(await redis.run(CLAIM, keys));
  if (reply.foreign !== undefined) {
    return { foreign: named(reply.foreign) as unknown as ForeignJob };
  }
  const elsewhere = keptElsewhere(reply);
  return elsewhere && { elsewhere };
}

/** Parses the answer of LUA_CLAIM. */
export function keptElsewhere({ keptElsewhere: queue, batch }: NamedReply): KeptElsewhere | undefined {
  return queue === undefined ? undefined : { queue: String(queue), batchId: batch === '' ? undefined : String(batch) };
}
