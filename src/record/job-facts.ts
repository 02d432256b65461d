import type { JobFacts, JobState } from '../model/job-facts.js';
import { plainReason } from '../model/rules.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD } from './keys.js';
import {
  BYTES_PER_COMMAND,
  LUA_BEGINNING,
  LUA_SPLIT_KEY,
  type NamedReply,
  named,
  REASON_LENGTH,
  script,
} from './script.js';

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
 * Lua: jobState(prefix, key, parentKey) returns the state of the job with this key. With a parentKey, a job of another
 * parent counts as none.
 */
export const LUA_JOB_STATE = `${LUA_SPLIT_KEY}${LUA_LISTED_AS_ACTIVE}
local function jobState(prefix, key, parentKey)
  local job = redis.call('HMGET', key, 'timestamp', 'finishedOn', 'parentKey')
  if not job[1] or parentKey and job[3] ~= parentKey then
    return 'no job'
  end
  local queueKey, id = splitKey(key, prefix)
  for _, state in ipairs(job[2] and { 'completed', 'failed' } or { 'delayed', 'prioritized', 'waiting-children' }) do
    if redis.call('ZSCORE', queueKey .. state, id) then
      return state, job[1]
    end
  end
  if redis.call('EXISTS', key .. ':lock') == 1 or isListedAsActive(queueKey, id) then
    return 'active', job[1]
  end
  return 'waiting', job[1]
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
local found, bytes, wantsData = {}, tonumber(ARGV[2]), ARGV[3] == 'data'
for i = 4, #ARGV do
  bytes = bytes - redis.call('HSTRLEN', ARGV[i], wantsData and 'data' or 'failedReason')
  if bytes < 0 and i > 4 then
    break
  end
  if wantsData then
    found[#found + 1] = redis.call('HGET', ARGV[i], 'data') or ''
  else
    local name, timestamp, attemptsMade, reason, registeredAt = unpack(redis.call('HMGET', ARGV[i], 'name', 'timestamp',
      'atm', 'failedReason', '${FIELD.registeredAt}'))
    local state = jobState(ARGV[1], ARGV[i])
    found[#found + 1] = { 'state', state, 'name', name, 'timestamp', timestamp, 'attemptsMade', attemptsMade,
      'failedReason', beginning(reason, ${REASON_LENGTH}), 'registeredAt', registeredAt }
  end
end
return found`,
);

/** How many jobs one command looks at. */
const JOBS_PER_COMMAND = { facts: 50, data: 200 };

async function readJobs<T>(
  redis: BatchRedis,
  what: keyof typeof JOBS_PER_COMMAND,
  batchKey: string,
  keys: readonly string[],
): Promise<Map<string, T>> {
  const found = new Map<string, T>();
  const jobs = [...new Set(keys)];
  for (let from = 0; from < jobs.length; from = found.size) {
    const some = jobs.slice(from, from + JOBS_PER_COMMAND[what]);
    const page = (await redis.run(JOBS, [batchKey, redis.prefix, BYTES_PER_COMMAND, what, ...some])) as T[];
    for (const [i, job] of page.entries()) {
      found.set(some[i] ?? '', job);
    }
  }
  return found;
}

/** Reads the facts of these jobs, by their keys. */
export async function jobFacts(
  redis: BatchRedis,
  batchId: string,
  keys: readonly string[],
): Promise<ReadonlyMap<string, JobFacts>> {
  const { job } = batchKeys(redis, batchId);
  const found = await readJobs<unknown>(redis, 'facts', job, keys);
  return new Map([...found].map(([key, reply]) => [key, parseFacts(named(reply))]));
}

/** Reads the data of these jobs, as JSON, by their keys; '' of one that does not exist. */
export function jobData(
  redis: BatchRedis,
  batchKey: string,
  keys: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  return readJobs<string>(redis, 'data', batchKey, keys);
}

function parseFacts({ state, name, timestamp, attemptsMade, failedReason, registeredAt }: NamedReply): JobFacts {
  return {
    state: state as JobState,
    name: name === null ? undefined : String(name),
    timestamp: timestamp ? Number(timestamp) : undefined,
    attemptsMade: Number(attemptsMade ?? 0),
    failedReason: failedReason ? plainReason(String(failedReason)) : undefined,
    registeredAt: registeredAt ? Number(registeredAt) : undefined,
  };
}
