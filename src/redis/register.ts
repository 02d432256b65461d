import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_KEEP_DEFINITION, LUA_NOW, LUA_WAKE, script } from './script.js';

/**
 * What entitles a caller to add to a sealed batch: `memberKey` is outstanding in `dependencies`. A caller further down
 * the tree has one link per level, and all of them must hold.
 */
export interface AttachmentLink {
  readonly dependencies: string;
  readonly memberKey: string;
}

/**
 * `new`: registered now; `vacant`: registered earlier, its job was never stored; `known`: a member already, outstanding or
 * settled; `foreign`: a job with this id exists that is no member of this batch.
 */
export type Registration = 'new' | 'vacant' | 'known' | 'foreign';

export type Registered =
  | { readonly refused: 'not found' | 'sealed' | 'finished' | 'cancelled' }
  | { readonly members: readonly Registration[]; readonly toBeRevived: boolean };

const REFUSALS = { '-1': 'not found', '-2': 'sealed', '-3': 'finished', '-4': 'cancelled' } as const;
const REGISTRATIONS: readonly Registration[] = ['new', 'vacant', 'known', 'foreign'];

/**
 * Decides who may add, and counts, in one atomic step: when it has returned, the batch cannot finish without the new
 * members. One foreign id, or one new id where nothing may be added, refuses the whole chunk before anything is written;
 * ids that are known are no addition: a producer that resumes after a crash may send them to a batch that has finished.
 *
 * KEYS: batch job, its dependencies, processed, failed.
 * ARGV: '1' when the ids are fresh (made for this call, so none can be known), the number of links, per link its
 *       dependencies key and member key, then the keys of the members.
 * Returns -1 without a batch, -2 sealed, -3 finished, -4 cancelled, or a list: 1 when the batch had been abandoned and has failed for it
 * (it is open again, its job must be retried) else 0, then per member 0 new, 1 vacant, 2 known, 3 foreign.
 */
const REGISTER = script(
  'register',
  4,
  `${LUA_NOW}${LUA_KEEP_DEFINITION}
local batch = redis.call('HMGET', KEYS[1], 'timestamp', '${FIELD.sealedAt}', 'finishedOn', '${FIELD.cancelledAt}',
  '${FIELD.removal}')
if not batch[1] or batch[5] then
  return -1
end
local links = tonumber(ARGV[2])
local refusal = nil
if batch[4] then
  refusal = -4
elseif batch[2] then
  local attached = links > 0
  for i = 1, links do
    attached = attached and redis.call('SISMEMBER', ARGV[2 * i + 1], ARGV[2 * i + 2]) == 1
  end
  if not attached then
    refusal = batch[3] and -3 or -2
  end
end
local verdicts, new, foreign = { 0 }, {}, false
for i = 3 + 2 * links, #ARGV do
  local key, verdict = ARGV[i], 0
  if ARGV[1] ~= '1' then
    if redis.call('SISMEMBER', KEYS[2], key) == 1 then
      -- Registered by a producer that was killed before it added the job: the id may have been used elsewhere since.
      local exists = redis.call('EXISTS', key) == 1
      verdict = not exists and 1 or redis.call('HGET', key, 'parentKey') == KEYS[1] and 2 or 3
      foreign = foreign or verdict == 3
    elseif redis.call('HEXISTS', KEYS[3], key) == 1 or redis.call('HEXISTS', KEYS[4], key) == 1 then
      verdict = 2
    elseif redis.call('EXISTS', key) == 1 then
      verdict = 3
      foreign = true
    end
  end
  verdicts[#verdicts + 1] = verdict
  if refusal and (verdict == 0 or verdict == 1 and batch[4]) then
    return refusal
  end
  if verdict == 0 then
    new[#new + 1] = key
  end
end
if #new > 0 and not foreign then
  local added = 0
  for from = 1, #new, 5000 do
    added = added + redis.call('SADD', KEYS[2], unpack(new, from, math.min(from + 4999, #new)))
  end
  keepDefinition(KEYS[1])
  redis.call('HINCRBY', KEYS[1], '${FIELD.total}', added)
  redis.call('HSET', KEYS[1], '${FIELD.registeredAt}', now())
  if redis.call('HDEL', KEYS[1], '${FIELD.abandonedAt}') == 1 and batch[3] then
    verdicts[1] = 1
  end
end
return verdicts`,
);

export async function registerMembers(
  redis: BatchRedis,
  batchId: string,
  { fresh, links, memberKeys }: { fresh: boolean; links: readonly AttachmentLink[]; memberKeys: readonly string[] },
): Promise<Registered> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  const reply = (await redis.run(REGISTER, [
    ...[job, dependencies, processed, failed],
    fresh ? '1' : '0',
    links.length,
    ...links.flatMap((link) => [link.dependencies, link.memberKey]),
    ...memberKeys,
  ])) as -1 | -2 | -3 | -4 | number[];
  if (!Array.isArray(reply)) {
    return { refused: REFUSALS[`${reply}`] };
  }
  const [toBeRevived, ...members] = reply;
  return { members: members.map((verdict) => REGISTRATIONS[verdict] ?? 'foreign'), toBeRevived: toBeRevived === 1 };
}

/**
 * Takes back what was registered but is not there: the ids among them whose job was stored stay counted, also when it has
 * run and is gone. Wakes the batch when nothing else is outstanding, for a caller whose own right ended meanwhile.
 *
 * KEYS: batch job, its dependencies, processed, failed. ARGV: batch id, key prefix of the batches queue, member keys.
 * Returns the member keys that are not in the batch.
 */
const UNREGISTER = script(
  'unregister',
  4,
  `${LUA_WAKE}
local absent, removed = {}, 0
for i = 3, #ARGV do
  local key = ARGV[i]
  local hasRun = redis.call('HEXISTS', KEYS[3], key) == 1 or redis.call('HEXISTS', KEYS[4], key) == 1
  if not hasRun and redis.call('HGET', key, 'parentKey') ~= KEYS[1] then
    absent[#absent + 1] = key
    removed = removed + redis.call('SREM', KEYS[2], key)
  end
end
if removed > 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], '${FIELD.total}', -removed)
  wakeIfIdle(ARGV[2], KEYS[1], ARGV[1], KEYS[2])
end
return absent`,
);

export async function unregisterAbsent(
  redis: BatchRedis,
  batchId: string,
  memberKeys: readonly string[],
): Promise<ReadonlySet<string>> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  const args = [job, dependencies, processed, failed, batchId, batchesKey(redis, ''), ...memberKeys];
  return new Set((await redis.run(UNREGISTER, args)) as string[]);
}

/**
 * Takes a member out of a batch that is another's to have: as if it had never been added.
 *
 * KEYS: batch job, its dependencies, processed, failed, the member's job. ARGV: batch id, key prefix of the batches queue.
 */
const DISOWN = script(
  'disown',
  5,
  `${LUA_WAKE}
local removed = redis.call('SREM', KEYS[2], KEYS[5]) + redis.call('HDEL', KEYS[3], KEYS[5]) + redis.call('HDEL', KEYS[4], KEYS[5])
if redis.call('HGET', KEYS[5], 'parentKey') == KEYS[1] then
  redis.call('HDEL', KEYS[5], 'parentKey', 'parent')
end
if removed > 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], '${FIELD.total}', -1)
  wakeIfIdle(ARGV[2], KEYS[1], ARGV[1], KEYS[2])
end`,
);

export async function disownMember(redis: BatchRedis, batchId: string, memberKey: string): Promise<void> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batchId);
  const keys = [job, dependencies, processed, failed, memberKey];
  await redis.run(DISOWN, [...keys, batchId, batchesKey(redis, '')]);
}
