import { isCallbackId } from '../model/definition.js';
import type { JobState } from '../model/job-facts.js';
import type { BatchRedis } from './batch-redis.js';
import { standingsOf } from './job-facts.js';
import { batchKeys, jobKey, memberName } from './keys.js';

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
  const { dependencies } = batchKeys(redis, batchId);
  const groups: OutstandingGroups = new Map();
  const strangers = new Set<string>();
  let [cursor, looked] = ['0', 0];
  do {
    const reply = await redis.command('SSCAN', dependencies, cursor, 'COUNT', PAGE_SIZE);
    const [next, keys] = reply as [string, string[]];
    for (const [key, { state, timestamp, failing }] of await standings(redis, batchId, keys)) {
      if (state === 'stranger') {
        strangers.add(key);
      } else {
        const { queue } = memberName(redis.prefix, key);
        addToGroup(groups, { queue, state, count: 1, failing, oldest: [{ key, timestamp }] });
        looked++;
      }
    }
    cursor = next;
  } while (cursor !== '0' && looked < MOST_LOOKED_AT);
  if (cursor === '0') {
    return { groups, strangers, sampled: undefined };
  }
  for (const { queue } of [...groups.values()].filter(({ state }) => state === 'waiting')) {
    await nameLongestWaiting(redis, batchId, groups, queue);
  }
  return { groups, strangers, sampled: looked };
}

/** Names the members at the end of a queue's list, which begins with what was added last. */
async function nameLongestWaiting(redis: BatchRedis, batchId: string, groups: OutstandingGroups, queue: string) {
  const list = jobKey(redis.prefix, queue, 'wait');
  const ids = (await redis.command('LRANGE', list, -LOOKED_AT_IN_LIST, -1)) as string[];
  const keys = ids.map((id) => jobKey(redis.prefix, queue, id));
  for (const [key, { state, timestamp }] of await standings(redis, batchId, keys)) {
    if (state === 'waiting') {
      addToGroup(groups, { queue, state, count: 0, failing: 0, oldest: [{ key, timestamp }] });
    }
  }
}

/** Reads how these jobs stand, without the batch's own callbacks. */
function standings(redis: BatchRedis, batchId: string, keys: readonly string[]) {
  const others = keys.filter((key) => !isCallbackId(batchId, memberName(redis.prefix, key).id));
  return standingsOf(redis, batchId, others);
}
