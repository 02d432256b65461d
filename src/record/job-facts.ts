import type { JobFacts, JobState } from '../model/job-facts.js';
import { plainReason } from '../model/rules.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD } from './keys.js';
import {
  BYTES_PER_COMMAND,
  LUA_BEGINNING,
  LUA_IS_CLOSED,
  LUA_SPLIT_KEY,
  named,
  REASON_LENGTH,
  script,
} from './script.js';
import { LUA_IS_STRANGER } from './strangers.js';

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
      return state
    end
  end
  if redis.call('EXISTS', key .. ':lock') == 1 or isListedAsActive(queueKey, id) then
    return 'active'
  end
  return 'waiting'
end
`;

/**
 * Reads something of as many of these jobs as fit into a number of bytes of failure reasons, or of data; of the first
 * one in any case.
 *
 * KEYS: the batch job. ARGV: prefix, bytes, what to read, keys of jobs.
 * Returns for each
 * - 'data': the data, '' without a job;
 * - 'facts': state, and name, timestamp, attemptsMade, failedReason and registeredAt, where it has them;
 * - 'standing', of a dependency of the batch: state ('open' or 'running' for a child batch, 'stranger' for a job that was
 *   attached by hand), timestamp, failing (1 when it has failed an attempt and will be tried again, else 0).
 */
const JOBS = script(
  'jobs',
  1,
  `${LUA_JOB_STATE}${LUA_IS_STRANGER}${LUA_IS_CLOSED}${LUA_BEGINNING}
local prefix, bytes, what = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local batchesKey, id = string.match(KEYS[1], '^(.*:)([^:]+)$')
local nonce = redis.call('HGET', KEYS[1], '${FIELD.nonce}') or ''
local LARGE = { data = 'data', facts = 'failedReason' }
local READ = {}
function READ.data(key)
  return redis.call('HGET', key, 'data') or ''
end
function READ.facts(key)
  local name, timestamp, attemptsMade, reason, registeredAt = unpack(redis.call('HMGET', key, 'name', 'timestamp',
    'atm', 'failedReason', '${FIELD.registeredAt}'))
  local state = jobState(prefix, key)
  return { 'state', state, 'name', name, 'timestamp', timestamp, 'attemptsMade', attemptsMade,
    'failedReason', beginning(reason, ${REASON_LENGTH}), 'registeredAt', registeredAt }
end
function READ.standing(key)
  if isStranger(key, prefix, batchesKey, id, nonce) then
    return { 'state', 'stranger' }
  end
  local state = jobState(prefix, key, KEYS[1])
  local timestamp, attempts = unpack(redis.call('HMGET', key, 'timestamp', 'atm'))
  local isUnfinished = state ~= 'no job' and state ~= 'completed' and state ~= 'failed'
  if isUnfinished and splitKey(key, prefix) == batchesKey then
    state = isClosed(key) and 'running' or 'open'
  end
  -- A retry by hand keeps the attempts and clears the reason: it starts anew.
  local isFailing = isUnfinished and tonumber(attempts or 0) > 0 and redis.call('HEXISTS', key, 'failedReason') == 1
  return { 'state', state, 'timestamp', timestamp or 0, 'failing', isFailing and 1 or 0 }
end
local found = {}
for i = 4, #ARGV do
  bytes = bytes - (LARGE[what] and redis.call('HSTRLEN', ARGV[i], LARGE[what]) or 0)
  if bytes < 0 and i > 4 then
    break
  end
  found[#found + 1] = READ[what](ARGV[i])
end
return found`,
);

/** How many jobs one command looks at. */
const JOBS_PER_COMMAND = { data: 200, facts: 50, standing: 300 };

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

/** How a dependency of a batch stands. A child batch is `open`, or `running` once it is closed. */
interface Standing {
  readonly state: JobState | 'open' | 'running' | 'stranger';
  readonly timestamp: number;
  /** 1 when it has failed an attempt and will be tried again, else 0. */
  readonly failing: number;
}

/** Reads how these dependencies of a batch stand, by their keys. */
export function standingsOf(redis: BatchRedis, batchId: string, keys: readonly string[]) {
  return readJobs(redis, batchId, keys, 'standing', (reply): Standing => {
    const { state, timestamp, failing } = named(reply);
    return { state: state as Standing['state'], timestamp: Number(timestamp), failing: Number(failing) };
  });
}
