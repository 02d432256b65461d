import type { JobFacts, JobState } from '../model/job-facts.js';
import { plainReason } from '../model/rules.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD } from './keys.js';
import { BYTES_PER_COMMAND, LUA_BEGINNING, LUA_SPLIT_KEY, named, REASON_LENGTH, script } from './script.js';

/**
 * Lua: whether a job is in the list 'active' of its queue. A job whose worker died has lost its lock but is still in
 * it. The first 1,000 entries are read, once per queue.
 */
export const LUA_LISTED_AS_ACTIVE = `
local active = {}
local function isListedAsActive(queueKey, id)
  if not active[queueKey] then
    active[queueKey] = {}
    for _, listed in ipairs(redis.call('LRANGE', queueKey .. 'active', 0, 999)) do
      active[queueKey][listed] = true
    end
  end
  return active[queueKey][id]
end
`;

/**
 * Lua: jobState(prefix, key, parentKey) returns the state of the job with this key, and its timestamp and attempts
 * made, if it exists. With a parentKey, a job of another parent counts as none.
 */
export const LUA_JOB_STATE = `${LUA_SPLIT_KEY}${LUA_LISTED_AS_ACTIVE}
local function jobState(prefix, key, parentKey)
  local timestamp, finishedOn, parent, attempts = unpack(redis.call('HMGET', key, 'timestamp', 'finishedOn',
    'parentKey', 'atm'))
  if not timestamp or parentKey and parent ~= parentKey then
    return 'no job'
  end
  local queueKey, id = splitKey(key, prefix)
  local states = finishedOn and { 'completed', 'failed' } or { 'delayed', 'prioritized', 'waiting-children' }
  for _, state in ipairs(states) do
    if redis.call('ZSCORE', queueKey .. state, id) then
      return state, timestamp, attempts
    end
  end
  local isActive = redis.call('EXISTS', key .. ':lock') == 1 or isListedAsActive(queueKey, id)
  return isActive and 'active' or 'waiting', timestamp, attempts
end
`;

/**
 * Reads the facts, or the data, of as many of these jobs as fit into a number of bytes of failure reasons, or of data;
 * of the first one in any case.
 *
 * KEYS: a key of the batch, which only says where in a cluster the jobs are. ARGV: prefix, bytes, 'facts' or 'data',
 * keys of jobs.
 * Returns for each the data, '' without a job; or its facts: state, and name, timestamp, attemptsMade, failedReason and
 * registeredAt, where it has them.
 */
const JOBS = script(
  'jobs',
  1,
  `${LUA_JOB_STATE}${LUA_BEGINNING}
local prefix, bytes, wantsData = ARGV[1], tonumber(ARGV[2]), ARGV[3] == 'data'
local function factsOf(key)
  local state, timestamp, attemptsMade = jobState(prefix, key)
  local name, reason, registeredAt = unpack(redis.call('HMGET', key, 'name', 'failedReason',
    '${FIELD.registeredAt}'))
  return { 'state', state, 'name', name, 'timestamp', timestamp or false, 'attemptsMade', attemptsMade or false,
    'failedReason', beginning(reason, ${REASON_LENGTH}), 'registeredAt', registeredAt }
end
local found = {}
for i = 4, #ARGV do
  bytes = bytes - redis.call('HSTRLEN', ARGV[i], wantsData and 'data' or 'failedReason')
  if bytes < 0 and i > 4 then
    break
  end
  found[#found + 1] = wantsData and (redis.call('HGET', ARGV[i], 'data') or '') or factsOf(ARGV[i])
end
return found`,
);

/** How many jobs one command looks at. */
const JOBS_PER_COMMAND = { data: 200, facts: 50 };

async function readJobs<T>(
  redis: BatchRedis,
  batchId: string,
  keys: readonly string[],
  what: keyof typeof JOBS_PER_COMMAND,
  parse: (reply: unknown) => T,
): Promise<ReadonlyMap<string, T>> {
  const { job } = batchKeys(redis, batchId);
  const found = new Map<string, T>();
  const jobs = [...new Set(keys)];
  for (let from = 0; from < jobs.length; from = found.size) {
    const some = jobs.slice(from, from + JOBS_PER_COMMAND[what]);
    const page = (await redis.run(JOBS, [job, redis.prefix, BYTES_PER_COMMAND, what, ...some])) as unknown[];
    for (const [i, reply] of page.entries()) {
      found.set(some[i] ?? '', parse(reply));
    }
  }
  return found;
}

/** Reads the data of these jobs, as JSON, by their keys; '' of one that does not exist. */
export function jobData(redis: BatchRedis, batchId: string, keys: readonly string[]) {
  return readJobs(redis, batchId, keys, 'data', String);
}

/** Reads the facts of these jobs, by their keys. */
export function jobFacts(redis: BatchRedis, batchId: string, keys: readonly string[]) {
  return readJobs(redis, batchId, keys, 'facts', parseFacts);
}

function parseFacts(reply: unknown): JobFacts {
  const { state, name, timestamp, attemptsMade, failedReason, registeredAt } = named(reply);
  return {
    state: state as JobState,
    name: name === null ? undefined : String(name),
    timestamp: timestamp ? Number(timestamp) : undefined,
    attemptsMade: Number(attemptsMade ?? 0),
    failedReason: failedReason ? plainReason(String(failedReason)) : undefined,
    registeredAt: registeredAt ? Number(registeredAt) : undefined,
  };
}
