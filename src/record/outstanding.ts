import type { JobFacts, JobState } from '../model/job-facts.js';
import { plainReason } from '../model/rules.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD } from './keys.js';
import {
  BYTES_PER_COMMAND,
  LUA_BEGINNING,
  LUA_IS_CLOSED,
  LUA_SPLIT_KEY,
  type NamedReply,
  named,
  rowsOf,
  script,
} from './script.js';
import { LUA_IS_STRANGER } from './strangers.js';

/**
 * Dependencies of one batch that are in the same queue and state. A child batch is `open`, or `running` once it is
 * closed.
 */
export interface OutstandingGroup {
  readonly queue: string;
  readonly state: JobState | 'open' | 'running';
  readonly count: number;
  /** How many of them have failed an attempt and will be tried again. */
  readonly failing: number;
  /** The keys of the oldest, oldest first. */
  readonly oldest: readonly { readonly key: string; readonly timestamp: number }[];
}

/** How many jobs of a group are named. */
export const OLDEST = 3;
/** How many jobs at the end of a list are looked at: the ones that have waited longest are there. */
const LOOKED_AT_IN_LIST = 50;

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

/*
 * Lua: jobState(prefix, key, parentKey) returns the state of the job with this key. With a parentKey, a job of another
 * parent counts as none.
 */
const LUA_JOB_STATE = `${LUA_SPLIT_KEY}${LUA_LISTED_AS_ACTIVE}
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
 * Groups a page of a batch's dependencies by queue and state. The first page of a batch that has more of them than are
 * to be looked at also names those that wait longest in the lists of its queues.
 *
 * KEYS: batch job, its dependencies. ARGV: cursor, count, prefix, how many of a group to name, how many dependencies
 * are to be looked at, then the keys of the batch's own callbacks, which are left out.
 * Returns cursor; groups, each with queue, state, count, failing, oldest (key, timestamp, …, oldest first); strangers:
 * keys of jobs that were attached to the batch job by hand.
 */
const OUTSTANDING = script(
  'outstanding',
  2,
  `${LUA_JOB_STATE}${LUA_IS_CLOSED}${LUA_IS_STRANGER}
local prefix, named = ARGV[3], tonumber(ARGV[4])
local batchesQueue = string.match(KEYS[1], '([^:]+):[^:]+$')
local isCallback = {}
for i = 6, #ARGV do
  isCallback[ARGV[i]] = true
end
local function keepOldest(oldest, key, timestamp)
  for _, other in ipairs(oldest) do
    if other.key == key then
      return
    end
  end
  local at = #oldest + 1
  -- Members of one addBulk are equally old.
  local function isYounger(other)
    return other.timestamp > timestamp or other.timestamp == timestamp and other.key > key
  end
  while at > 1 and isYounger(oldest[at - 1]) do
    at = at - 1
  end
  table.insert(oldest, at, { key = key, timestamp = timestamp })
  oldest[named + 1] = nil
end
local groups, order, strangers = {}, {}, {}
local batchesKey, id = string.match(KEYS[1], '^(.*:)([^:]+)$')
local nonce = redis.call('HGET', KEYS[1], '${FIELD.nonce}') or ''
local page = redis.call('SSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
for _, key in ipairs(page[2]) do
  if isStranger(key, prefix, batchesKey, id, nonce) then
    strangers[#strangers + 1] = key
  elseif not isCallback[key] then
    local state, timestamp = jobState(prefix, key, KEYS[1])
    local queue = string.match(key, '^([^:]+):', #prefix + 2)
    local isUnfinished = state ~= 'no job' and state ~= 'completed' and state ~= 'failed'
    if isUnfinished and queue == batchesQueue then
      state = isClosed(key) and 'running' or 'open'
    end
    local name = queue .. ':' .. state
    local group = groups[name]
    if not group then
      group = { queue = queue, state = state, count = 0, failing = 0, oldest = {} }
      groups[name] = group
      order[#order + 1] = group
    end
    group.count = group.count + 1
    if isUnfinished and tonumber(redis.call('HGET', key, 'atm') or 0) > 0 then
      -- A retry by hand keeps the attempts and clears the reason: it starts anew.
      group.failing = group.failing + redis.call('HEXISTS', key, 'failedReason')
    end
    keepOldest(group.oldest, key, tonumber(timestamp or 0))
  end
end
-- A list begins with what was added last.
local function nameLongestWaiting(group)
  local queueKey = prefix .. ':' .. group.queue .. ':'
  for _, id in ipairs(redis.call('LRANGE', queueKey .. 'wait', ${-LOOKED_AT_IN_LIST}, -1)) do
    local key = queueKey .. id
    if redis.call('SISMEMBER', KEYS[2], key) == 1 then
      keepOldest(group.oldest, key, tonumber(redis.call('HGET', key, 'timestamp') or 0))
    end
  end
end
if ARGV[1] == '0' and redis.call('SCARD', KEYS[2]) > tonumber(ARGV[5]) then
  for _, group in ipairs(order) do
    if group.state == 'waiting' then
      nameLongestWaiting(group)
    end
  end
end
local reply = {}
for i, group in ipairs(order) do
  local oldest = {}
  for _, member in ipairs(group.oldest) do
    oldest[#oldest + 1] = member.key
    oldest[#oldest + 1] = tostring(member.timestamp)
  end
  reply[i] = { 'queue', group.queue, 'state', group.state, 'count', group.count, 'failing', group.failing,
    'oldest', oldest }
end
return { 'cursor', page[1], 'groups', reply, 'strangers', strangers }`,
);

/** Reads a page of what a batch waits for, without its own callbacks. The cursor is '0' after the last one. */
export async function outstandingPage(
  redis: BatchRedis,
  batchId: string,
  {
    cursor,
    count,
    most,
    callbackKeys,
  }: { cursor: string; count: number; most: number; callbackKeys: Iterable<string> },
): Promise<{
  readonly cursor: string;
  readonly groups: readonly OutstandingGroup[];
  readonly strangers: readonly string[];
}> {
  const { job, dependencies } = batchKeys(redis, batchId);
  const args = [job, dependencies, cursor, count, redis.prefix, OLDEST, most, ...callbackKeys];
  const { cursor: next, groups, strangers } = named(await redis.run(OUTSTANDING, args));
  return {
    cursor: String(next),
    strangers: strangers as string[],
    groups: (groups as unknown[]).map((reply) => {
      const group = named(reply);
      const oldest = rowsOf(group.oldest, 2).map(([key = '', timestamp]) => ({ key, timestamp: Number(timestamp) }));
      return { ...group, oldest } as unknown as OutstandingGroup;
    }),
  };
}

/** How many bytes of a failure reason are read for people; a reason is as long as an error's message. */
const LONGEST_REASON = 1000;

/**
 * Reads the facts, or the data, of some jobs: of one at least, and of as many as have reasons, or data, of no more
 * bytes than allowed.
 *
 * KEYS: a key of the batch, which only says where in a cluster the jobs are. ARGV: prefix, bytes, 'facts' or 'data',
 * keys of jobs.
 * Returns of each the data, '' without a job; or state and, of those that it has, name, timestamp, attemptsMade,
 * failedReason, registeredAt.
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
      'failedReason', beginning(reason, ${LONGEST_REASON}), 'registeredAt', registeredAt }
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
