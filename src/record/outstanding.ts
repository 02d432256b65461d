import type { JobState } from '../model/job-facts.js';
import type { BatchRedis } from './batch-redis.js';
import { LUA_JOB_STATE } from './job-facts.js';
import { batchKeys, FIELD } from './keys.js';
import { LUA_IS_CLOSED, LUA_IS_OWN_CALLBACK, named, rowsOf, script } from './script.js';
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

/** Groups, by queue and state. */
export type OutstandingGroups = Map<string, OutstandingGroup>;

/** How many jobs of a group are named. */
const OLDEST = 3;
/** How many jobs at the end of a list are looked at: the ones that have waited longest are there. */
const LOOKED_AT_IN_LIST = 50;
/** How many outstanding members are looked at, at most: in a larger batch they are a sample. */
const MOST_LOOKED_AT = 2000;
const PAGE_SIZE = 250;

/**
 * Groups a page of a batch's dependencies by queue and state. The first page of a batch that has more of them than are
 * to be looked at also names those that wait longest in the lists of its queues.
 *
 * KEYS: batch job, its dependencies. ARGV: cursor, prefix.
 * Returns cursor; groups, each with queue, state, count, failing, oldest (key, timestamp, …, oldest first); strangers:
 * keys of jobs that were attached to the batch job by hand. The batch's own callbacks are left out.
 */
const OUTSTANDING = script(
  'outstanding',
  2,
  `${LUA_JOB_STATE}${LUA_IS_CLOSED}${LUA_IS_STRANGER}${LUA_IS_OWN_CALLBACK}
local cursor, prefix = unpack(ARGV)
local batchesKey, id = string.match(KEYS[1], '^(.*:)([^:]+)$')
local nonce = redis.call('HGET', KEYS[1], '${FIELD.nonce}') or ''
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
  oldest[${OLDEST + 1}] = nil
end
local groups, order, strangers = {}, {}, {}
local page = redis.call('SSCAN', KEYS[2], cursor, 'COUNT', ${PAGE_SIZE})
for _, key in ipairs(page[2]) do
  local queueKey, memberId = splitKey(key, prefix)
  if isStranger(key, prefix, batchesKey, id, nonce) then
    strangers[#strangers + 1] = key
  elseif not isOwnCallback(memberId, id, nonce) then
    local state, timestamp, attempts = jobState(prefix, key, KEYS[1])
    local isUnfinished = state ~= 'no job' and state ~= 'completed' and state ~= 'failed'
    if isUnfinished and queueKey == batchesKey then
      state = isClosed(key) and 'running' or 'open'
    end
    local group = groups[queueKey .. state]
    if not group then
      group = { queueKey = queueKey, state = state, count = 0, failing = 0, oldest = {} }
      groups[queueKey .. state] = group
      order[#order + 1] = group
    end
    group.count = group.count + 1
    if isUnfinished and tonumber(attempts or 0) > 0 then
      -- A retry by hand keeps the attempts and clears the reason: it starts anew.
      group.failing = group.failing + redis.call('HEXISTS', key, 'failedReason')
    end
    keepOldest(group.oldest, key, tonumber(timestamp or 0))
  end
end
-- A list begins with what was added last.
local function nameLongestWaiting(group)
  for _, jobId in ipairs(redis.call('LRANGE', group.queueKey .. 'wait', ${-LOOKED_AT_IN_LIST}, -1)) do
    local key = group.queueKey .. jobId
    if redis.call('SISMEMBER', KEYS[2], key) == 1 then
      keepOldest(group.oldest, key, tonumber(redis.call('HGET', key, 'timestamp') or 0))
    end
  end
end
if cursor == '0' and redis.call('SCARD', KEYS[2]) > ${MOST_LOOKED_AT} then
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
  reply[i] = { 'queue', string.sub(group.queueKey, #prefix + 2, -2), 'state', group.state, 'count', group.count,
    'failing', group.failing, 'oldest', oldest }
end
return { 'cursor', page[1], 'groups', reply, 'strangers', strangers }`,
);

/** Adds to the group of the same queue and state. */
export function addToGroup(groups: OutstandingGroups, group: OutstandingGroup): void {
  const name = `${group.queue}:${group.state}`;
  const { count = 0, failing = 0, oldest = [] } = groups.get(name) ?? {};
  const timestamps = new Map([...oldest, ...group.oldest].map(({ key, timestamp }) => [key, timestamp]));
  // Members of one addBulk are equally old.
  const byAge = [...timestamps].sort(([key, at], [other, otherAt]) => at - otherAt || (key < other ? -1 : 1));
  groups.set(name, {
    ...group,
    count: count + group.count,
    failing: failing + group.failing,
    oldest: byAge.slice(0, OLDEST).map(([key, timestamp]) => ({ key, timestamp })),
  });
}

/** What a batch waits for, without its own callbacks. */
export interface Outstanding {
  readonly groups: OutstandingGroups;
  /** The keys of jobs that were attached to the batch job by hand. */
  readonly strangers: ReadonlySet<string>;
  /** How many members were looked at, when there are too many to look at all; undefined when all were. */
  readonly sampled: number | undefined;
}

/** Finds what a batch waits for; of many members a sample, and those that wait longest in the lists of its queues. */
export async function findOutstanding(redis: BatchRedis, batchId: string): Promise<Outstanding> {
  const { job, dependencies } = batchKeys(redis, batchId);
  const groups: OutstandingGroups = new Map();
  const strangers = new Set<string>();
  let [cursor, looked] = ['0', 0];
  do {
    const page = named(await redis.run(OUTSTANDING, [job, dependencies, cursor, redis.prefix]));
    for (const group of (page.groups as unknown[]).map(parseGroup)) {
      addToGroup(groups, group);
      looked += group.count;
    }
    for (const key of page.strangers as string[]) {
      strangers.add(key);
    }
    cursor = String(page.cursor);
  } while (cursor !== '0' && looked < MOST_LOOKED_AT);
  return { groups, strangers, sampled: cursor === '0' ? undefined : looked };
}

function parseGroup(reply: unknown): OutstandingGroup {
  const group = named(reply);
  const oldest = rowsOf(group.oldest, 2).map(([key = '', timestamp]) => ({ key, timestamp: Number(timestamp) }));
  return { ...group, oldest } as unknown as OutstandingGroup;
}
