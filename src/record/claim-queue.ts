import { DEFAULT_BATCHES_QUEUE } from '../model/place.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesQueueKey, FIELD, leaseKey } from './keys.js';
import { named, script } from './script.js';

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

/** KEYS: the name of the batches queue. ARGV: key prefix, the queue. Returns what LUA_CLAIM does. */
const CLAIM = script('claimQueue', 1, `${LUA_CLAIM}\nreturn claimQueue(KEYS[1], ARGV[1], ARGV[2])`);

/** Makes this the queue that holds the batches of its prefix, or returns the one that does. */
export async function claimQueue(redis: BatchRedis): Promise<KeptElsewhere | undefined> {
  const reply = await redis.run(CLAIM, [batchesQueueKey(redis.prefix), redis.prefix, redis.batchesQueue]);
  return reply === null ? undefined : keptElsewhere(named(reply));
}

/** Parses the answer of LUA_CLAIM. */
export function keptElsewhere({ keptElsewhere: queue, batch }: ReturnType<typeof named>): KeptElsewhere | undefined {
  return queue === undefined ? undefined : { queue: String(queue), batchId: batch === '' ? undefined : String(batch) };
}
