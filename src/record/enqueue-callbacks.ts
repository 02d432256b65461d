import type { BatchLife } from './add-members.js';
import type { NewJob } from './adding-lua.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD } from './keys.js';
import { LUA_SPLIT_KEY, LUA_UNLINK_JOB, LUA_VERSION, named, script } from './script.js';

/** Who enqueues callbacks, and from which snapshot. */
export interface Enqueuing {
  /** The lock token of the batch job, for the BatchWorker that holds it; '' for any other process. */
  readonly token: string;
  /** The version of the snapshot that found the callbacks due. Some of them are due only while nothing has changed. */
  readonly version: string;
}

/**
 * Lua: enqueue(batchKey, enqueued, list) stores the callbacks at these positions, and adds them to `enqueued`, the list
 * in the batch. Returns why one of them could not be stored, or nil.
 */
export const LUA_ENQUEUE = `
local function enqueue(batchKey, enqueued, list)
  if #list == 0 then
    return nil
  end
  local stored, failed, failure = storeJobs(list)
  for n = 1, stored do
    local key = jobKeyAt(list[n])
    if not string.find('\\n' .. enqueued .. '\\n', '\\n' .. key .. '\\n', 1, true) then
      enqueued = enqueued == '' and key or enqueued .. '\\n' .. key
    end
  end
  if stored > 0 then
    redis.call('HSET', batchKey, '${FIELD.enqueued}', enqueued)
  end
  return failed and failure
end
`;

/** How many entries of lists one command searches for ids that are left there: Redis takes 15 ms for a million. */
const SEARCHED_IN_LISTS = 300_000;

/**
 * Enqueues callbacks as further children of the batch job and records so in the batch, in one step. The record stays
 * when the job is trimmed by its queue after it has run. A recorded callback is enqueued again only if it vanished
 * before it ran: then neither a trace in the batch nor a job is left. Its id is taken off the lists where it may be
 * left: a worker would run the new job once for each time that the id is there.
 *
 * KEYS: batch job, its dependencies, processed, failed.
 * ARGV: the jobs, see encodeRequest(); the request is { nonce, token, version, prefix }. The kind of a job is 'firm'
 * when its event, once it has happened, stays so, else 'fragile': due only in the batch as the snapshot has seen it.
 * Returns state: 'enqueued' | 'not found' (no such life of the batch) | 'lock lost' | 'changed' (nothing was done) |
 * 'failed', and then error.
 */
const ENQUEUE_CALLBACKS = script(
  'enqueueCallbacks',
  4,
  `${LUA_VERSION}${LUA_SPLIT_KEY}${LUA_UNLINK_JOB}${LUA_ENQUEUE}
local batch = redis.call('HMGET', KEYS[1], '${FIELD.nonce}', '${FIELD.removal}', '${FIELD.enqueued}', '${FIELD.total}',
  '${FIELD.cancelledAt}')
if batch[1] ~= request.nonce or batch[2] then
  return { 'state', 'not found' }
end
if request.token ~= '' and redis.call('GET', KEYS[1] .. ':lock') ~= request.token then
  return { 'state', 'lock lost' }
end
local version = versionOf(redis.call('SCARD', KEYS[2]), redis.call('HLEN', KEYS[3]), redis.call('HLEN', KEYS[4]),
  batch[4], batch[5])
local function isThere(key)
  if redis.call('HEXISTS', key, 'timestamp') == 1 then
    return true
  end
  return redis.call('HEXISTS', KEYS[3], key) == 1 or redis.call('HEXISTS', KEYS[4], key) == 1
end
local mayStillSearch = ${SEARCHED_IN_LISTS}
local function takeOffLists(key)
  local queueKey, id = splitKey(key, request.prefix)
  for _, list in ipairs({ queueKey .. 'wait', queueKey .. 'paused' }) do
    local length = redis.call('LLEN', list)
    if length <= mayStillSearch then
      mayStillSearch = mayStillSearch - length
      redis.call('LREM', list, 0, id)
    end
  end
end
-- A worker that takes an id from a list whose job has vanished makes a hash for it, without name and data.
local function removeRemains(key)
  local queueKey, id = splitKey(key, request.prefix)
  redis.call('LREM', queueKey .. 'active', 0, id)
  redis.call('ZREM', queueKey .. 'completed', id)
  redis.call('ZREM', queueKey .. 'failed', id)
  unlinkJob(key)
end
local recorded, wanted = '\\n' .. (batch[3] or '') .. '\\n', {}
for i = 1, jobCount do
  if not isThere(jobKeyAt(i)) then
    if jobKindAt(i) == 'fragile' and version ~= request.version then
      return { 'state', 'changed' }
    end
    if string.find(recorded, '\\n' .. jobKeyAt(i) .. '\\n', 1, true) then
      takeOffLists(jobKeyAt(i))
    end
    if redis.call('EXISTS', jobKeyAt(i)) == 1 then
      removeRemains(jobKeyAt(i))
    end
    wanted[#wanted + 1] = i
  end
end
local failure = enqueue(KEYS[1], batch[3] or '', wanted)
if failure then
  return { 'state', 'failed', 'error', failure }
end
return { 'state', 'enqueued' }`,
);

export type Enqueued = 'enqueued' | 'not found' | 'lock lost' | 'changed' | { readonly error: string };

export async function enqueueInBatch(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  { token, version }: Enqueuing,
  jobs: readonly NewJob[],
): Promise<Enqueued> {
  const { job, dependencies, processed, failed } = batchKeys(redis, id);
  const keys = [job, dependencies, processed, failed];
  const request = { nonce, token, version, prefix: redis.prefix };
  const { state, error } = named(await redis.runAdding(ENQUEUE_CALLBACKS, jobs, keys, request));
  return state === 'failed' ? { error: String(error) } : (state as Exclude<Enqueued, object>);
}
