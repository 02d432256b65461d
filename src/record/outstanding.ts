import type { JobState } from '../model/job-facts.js';
import type { BatchRedis } from './batch-redis.js';
import { LUA_JOB_STATE } from './job-facts.js';
import { batchKeys, FIELD } from './keys.js';
import { LUA_IS_CLOSED, named, rowsOf, script } from './script.js';
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
