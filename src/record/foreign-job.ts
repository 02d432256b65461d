import type { BatchRedis } from './batch-redis.js';
import { batchesKey, FIELD } from './keys.js';
import { named, script } from './script.js';

/** A job in the batches queue that is neither a batch nor a copy of one. */
export interface ForeignJob {
  readonly id: string;
  readonly name: string;
}

/**
 * How many jobs of each state are looked at, how many bytes the data of a copy may have, and how many are read in all.
 */
const LOOKED_AT = 10;
const LARGEST_COPY = 100_000;
const MOST_READ = 1_000_000;

/**
 * KEYS: the lists wait, paused, active; the sorted sets delayed, prioritized. ARGV: key prefix of the queue.
 * Returns id, name of a job that is no batch and no copy of one, or nil. What is not read is taken for a copy: the
 * BatchWorker looks at each job once more before it runs it.
 */
const FOREIGN_JOB = script(
  'foreignJob',
  5,
  `
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
for i, list in ipairs(KEYS) do
  local ids = i <= 3 and redis.call('LRANGE', list, ${-LOOKED_AT}, -1)
    or redis.call('ZRANGE', list, 0, ${LOOKED_AT - 1})
  for _, id in ipairs(ids) do
    local key = ARGV[1] .. id
    local name, nonce = unpack(redis.call('HMGET', key, 'name', '${FIELD.nonce}'))
    if name and not nonce and not isCopy(key) then
      return { 'id', id, 'name', name }
    end
  end
end
return nil`,
);

/** Looks among the first jobs that wait or run in the queue that holds the batches for one that is not a batch. */
export async function findForeignJob(redis: BatchRedis): Promise<ForeignJob | undefined> {
  const keys = ['wait', 'paused', 'active', 'delayed', 'prioritized'].map((state) => batchesKey(redis, state));
  const reply = await redis.run(FOREIGN_JOB, [...keys, batchesKey(redis, '')]);
  if (reply === null) {
    return undefined;
  }
  const { id, name } = named(reply);
  return { id: String(id), name: String(name) };
}
