import { LUA_COUNT_MEMBERS, LUA_REFUSAL, type NewJob } from './adding-lua.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD } from './keys.js';
import { withWayOut } from './out-of-memory.js';
import { LUA_NOW, named, script } from './script.js';
import { whileJudged } from './while-judged.js';

/**
 * Entitles a caller to add to a sealed batch: `memberKey` must be outstanding in `dependencies`. A caller further down
 * the tree has one link per level, and all of them must hold.
 */
export interface AttachmentLink {
  readonly dependencies: string;
  readonly memberKey: string;
}

/** Why nothing may be added to a batch. */
export type Refusal = 'not found' | 'sealed' | 'finished' | 'cancelled' | 'abandoned';

/** One life of a batch. */
export interface BatchLife {
  readonly id: string;
  readonly nonce: string;
}

export type MembersAdded =
  | { readonly refused: Refusal }
  /** The positions of jobs whose ids belong to jobs outside of this batch; nothing was added. */
  | { readonly taken: readonly number[] }
  | {
      /** The positions of the jobs that were members already. */
      readonly known: ReadonlySet<number>;
      /**
       * Whether the batch had been abandoned and had failed because of it: it is open again, and its job must be
       * retried.
       */
      readonly isToBeRevived: boolean;
      /** The job at which BullMQ's own script failed, and why; the jobs before it were added. */
      readonly failed?: { readonly position: number; readonly error: string };
    };

/**
 * Adds members to a batch. In one step it decides whether the caller may add, finds out which of the jobs are members
 * already, stores the others, and counts them. One id that is taken, or one new member where
 * nothing may be added, refuses all of them before anything is written. Known ids are always accepted, so that a
 * producer that resumes after a crash may send them to a finished batch. A dependency whose job was deleted is stored
 * again without being counted again: it cannot have run to its end.
 *
 * KEYS: batch job, its dependencies, processed, failed.
 * ARGV: the jobs, see encodeRequest(); the kind of a job is 'member', or 'below' in a flow, of which the root comes
 * first. The request is { nonce, links, fresh }: `fresh` ids were made for this call, so that they can be known only if
 * the call is sent a second time, after its reply was lost; then all of them are.
 * Returns refused (why) | taken (positions) | known (positions), revived (0 or 1), failed (position, or 0), error.
 */
const ADD_MEMBERS = script(
  'addMembers',
  4,
  `${LUA_NOW}${LUA_REFUSAL}${LUA_COUNT_MEMBERS}
local function isMember(key)
  return redis.call('HEXISTS', KEYS[3], key) == 1 or redis.call('HEXISTS', KEYS[4], key) == 1
end
local function isStored(key)
  return redis.call('EXISTS', key) == 1 or isMember(key)
end
local refusal = refusalOf(KEYS[1], request.nonce, request.links)
if refusal == 'not found' or refusal == 'judged' then
  return { 'refused', refusal }
end
local isLastMember = jobKindAt(jobCount) == 'member'
if request.fresh and (isStored(jobKeyAt(1)) or isLastMember and isStored(jobKeyAt(jobCount))) then
  return { 'known', {}, 'revived', 0, 'failed', 0 }
end
local known, taken, wanted, lost, seen = {}, {}, {}, {}, {}
-- What the id of a member belongs to: 'known' to a member, 'lost' to one whose job was deleted, 'taken' to another job.
local function statusOf(key)
  if request.fresh then
    return 'new'
  elseif seen[key] then
    return 'known'
  end
  seen[key] = true
  if redis.call('SISMEMBER', KEYS[2], key) == 0 then
    return isMember(key) and 'known' or redis.call('EXISTS', key) == 1 and 'taken' or 'new'
  elseif redis.call('EXISTS', key) == 0 then
    return refusal == 'cancelled' and 'known' or 'lost'
  end
  return redis.call('HGET', key, 'parentKey') == KEYS[1] and 'known' or 'taken'
end
-- Where the last one is a member, all are: new ones, whose ids nobody else makes.
local areNew, isRootKnown = request.fresh and isLastMember, false
if areNew and refusal then
  return { 'refused', refusal }
end
for i = 1, jobCount do
  if areNew then
    wanted[i] = i
  elseif jobKindAt(i) == 'below' then
    if not isRootKnown then
      if redis.call('EXISTS', jobKeyAt(i)) == 1 then
        taken[#taken + 1] = i
      end
      wanted[#wanted + 1] = i
    end
  else
    local status = statusOf(jobKeyAt(i))
    isRootKnown = status == 'known'
    lost[i] = status == 'lost'
    if isRootKnown then
      known[#known + 1] = i
    elseif refusal and not lost[i] then
      return { 'refused', refusal }
    else
      taken[#taken + 1] = status == 'taken' and i or nil
      wanted[#wanted + 1] = i
    end
  end
end
if #taken > 0 then
  return { 'taken', taken }
end
local stored, failed, failure = storeJobs(wanted)
local added = 0
for n = 1, stored do
  local i = wanted[n]
  if jobKindAt(i) ~= 'below' and not lost[i] then
    added = added + 1
  end
end
local revived = #wanted > 0 and countMembers(KEYS[1], added) or 0
return { 'known', known, 'revived', revived, 'failed', failed or 0, 'error', failure or '' }`,
);

export async function addToBatch(
  redis: BatchRedis,
  batch: BatchLife,
  { fresh, links, jobs }: { fresh: boolean; links: readonly AttachmentLink[]; jobs: readonly NewJob[] },
): Promise<MembersAdded> {
  const { job, dependencies, processed, failed } = batchKeys(redis, batch.id);
  const request = { nonce: batch.nonce, fresh, links: flatLinks(links) };
  const keys = [job, dependencies, processed, failed];
  const reply = await whileJudged(
    async (mayWait) => named(await redis.runAdding(ADD_MEMBERS, jobs, keys, { ...request, mayWait })),
    ({ refused }) => refused === 'judged',
  );
  if (reply.refused !== undefined) {
    return { refused: reply.refused as Refusal };
  }
  const positions = (list: unknown) => (list as number[]).map((position) => position - 1);
  if (reply.taken !== undefined) {
    return { taken: positions(reply.taken) };
  }
  const known = new Set(positions(reply.known));
  const isToBeRevived = reply.revived === 1;
  return reply.failed === 0
    ? { known, isToBeRevived }
    : { known, isToBeRevived, failed: { position: Number(reply.failed) - 1, error: withWayOut(String(reply.error)) } };
}

/** Flattens links into the form that LUA_REFUSAL reads. */
export function flatLinks(links: readonly AttachmentLink[]): string[] {
  return links.flatMap(({ dependencies, memberKey }) => [dependencies, memberKey]);
}

/** Whether this life of a batch is in this Redis, also when only a part of it is left. */
export async function isBatchThere(redis: BatchRedis, { id, nonce }: BatchLife): Promise<boolean> {
  return (await redis.command('HGET', batchKeys(redis, id).job, FIELD.nonce)) === nonce;
}
