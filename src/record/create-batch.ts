import type { BatchDefinition, FailurePolicy } from '../model/definition.js';
import type { When } from '../model/workflow.js';
import { type AttachmentLink, type BatchLife, flatLinks, type Refusal } from './add-members.js';
import { LUA_COUNT_MEMBERS, LUA_REFUSAL, type NewJob } from './adding-lua.js';
import type { BatchRedis } from './batch-redis.js';
import { LUA_LIST_CHILD } from './children.js';
import { type KeptElsewhere, keptElsewhere, LUA_CLAIM } from './claim-queue.js';
import { keepField } from './expiry.js';
import { batchesQueueKey, batchKeys, FIELD, needsKey, planKey } from './keys.js';
import { LUA_NEED, type Need } from './needs.js';
import { withWayOut } from './out-of-memory.js';
import { LUA_NOW, type NamedReply, named, script } from './script.js';
import { LUA_COUNT_OUTCOME } from './take-back.js';
import { whileJudged } from './while-judged.js';

/**
 * The batch that a new one becomes a member of, and the links that entitle the caller to add to it once it is sealed.
 */
export interface ParentOfBatch extends BatchLife {
  readonly links: readonly AttachmentLink[];
}

/** What the scripts that lead a run from stage to stage need of it, and of its stages; see record/stages.ts. */
export interface PlaceInRun {
  /** Of a run: the ids of its first stages. */
  readonly roots?: readonly string[];
  /** Of a stage: when it starts, and the ids of those that it waits for, and of those that wait for it. */
  readonly stage?: { readonly when: When; readonly after: readonly string[]; readonly next: readonly string[] };
  /** The first slice of the stage's plan, as JSON; see record/plan.ts. */
  readonly plan?: string | undefined;
}

export type BatchCreated =
  /** What is stored under this id now: the given definition, or the one of the batch that existed. */
  | {
      readonly definition: BatchDefinition;
      readonly isParentToBeRevived: boolean;
      /** What became of the members that it was to be created with; undefined for a batch that existed. */
      readonly filled: Filled | undefined;
    }
  /** Jobs with the ids of these members exist: there is no batch. */
  | { readonly taken: readonly number[] }
  /**
   * `taken`: the id belongs to a job that is not a batch; `used`: the parent had this member before, and it was
   * removed.
   */
  | { readonly refused: Refusal | 'being removed' | 'taken' | 'used' }
  | { readonly keptElsewhere: KeptElsewhere }
  | { readonly error: string };

/** What became of the members that a batch was created with, by their positions. */
export interface Filled {
  /** How many had the id of one before them. */
  readonly known: number;
  /** The job at which BullMQ's own script failed: the jobs before it were added, and the batch is open. */
  readonly failed?: { readonly position: number; readonly error: string };
}

/**
 * Creates a batch, or finds the one that has the id, in one step. BullMQ's own script stores the batch job as a delayed
 * job; this script adds the fields of the batch, and its place among the members of its parent. With all of its
 * members, it is sealed in the same step, and its job waits for its children from the start.
 *
 * KEYS: batch job; the parent's job, dependencies, processed, failed (or the batch's own key four times); the index of
 * needs; the name of the batches queue; the batch's plan, if it is a stage.
 * ARGV: the batch job, whose data is the definition, and its members, see encodeRequest(). The request is { id, nonce,
 * fields (further ones of the batch), needs, prefix, queue (that of the batches), deadlineIn? (ms) or deadline?,
 * parent?: { nonce, links }, fresh (no job can have the id of a member), plan?, after (keys of the stages that a stage
 * comes after) }.
 * Returns definition (as it is stored), revived (the parent, 0 or 1), and of a new one known (how many members had the
 * id of another), failed (position, or 0) and error | taken (positions) | refused (why) | keptElsewhere, … as LUA_CLAIM
 * | error.
 */
const CREATE_BATCH = script(
  'createBatch',
  8,
  `${LUA_NOW}${LUA_REFUSAL}${LUA_COUNT_MEMBERS}${LUA_NEED}${LUA_CLAIM}${LUA_LIST_CHILD}${LUA_COUNT_OUTCOME}
local elsewhere = claimQueue(KEYS[7], request.prefix, request.queue)
if elsewhere then
  return elsewhere
end
local existing = redis.call('HMGET', KEYS[1], '${FIELD.definition}', '${FIELD.removal}', '${FIELD.nonce}',
  '${FIELD.sealedAt}')
if existing[2] then
  return { 'refused', 'being removed' }
elseif existing[1] and existing[3] == request.nonce and jobCount > 1 then
  -- The command was sent again, because its reply was lost.
  return { 'definition', existing[1], 'revived', 0, 'known', 0, 'failed', existing[4] and 0 or 1,
    'error', 'the reply was lost' }
elseif existing[1] then
  return { 'definition', existing[1], 'revived', 0 }
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  return { 'refused', 'taken' }
end
local parent, needs = request.parent, request.needs
if parent then
  local refusal = refusalOf(KEYS[2], parent.nonce, parent.links)
  if refusal then
    return { 'refused', refusal }
  end
  if redis.call('HEXISTS', KEYS[4], KEYS[1]) == 1 or redis.call('HEXISTS', KEYS[5], KEYS[1]) == 1 then
    return { 'refused', 'used' }
  end
  -- A first failure is announced upwards, to every batch above that waits for one.
  if hasNeed(redis.call('HGET', KEYS[2], '${FIELD.needs}'), 'death') then
    needs = needs .. ' death'
  end
end
local members, taken, seen = {}, {}, {}
for i = 2, jobCount do
  local key = jobKeyAt(i)
  if request.fresh or not seen[key] and redis.call('EXISTS', key) == 0 then
    members[#members + 1] = i
  elseif not seen[key] then
    taken[#taken + 1] = i - 1
  end
  seen[key] = true
end
if #taken > 0 then
  return { 'taken', taken }
end
local wasLost = parent and redis.call('SISMEMBER', KEYS[3], KEYS[1]) == 1
-- Left over when only the hash of an earlier batch was deleted by hand. A script that begins with a removal is not held
-- to the limit of memory any more.
local leftOver = { KEYS[1] .. ':dependencies', KEYS[1] .. ':processed', KEYS[1] .. ':failed', KEYS[1] .. ':logs',
  KEYS[8] }
if redis.call('EXISTS', unpack(leftOver)) > 0 then
  redis.call('UNLINK', unpack(leftOver))
end
local failure = storeJob(1)
if failure then
  return { 'error', failure }
end
redis.call('HSET', KEYS[1], '${FIELD.nonce}', request.nonce, '${FIELD.definition}', jobDataAt(1))
for field, value in pairs(request.fields) do
  redis.call('HSET', KEYS[1], field, value)
end
if request.deadlineIn or request.deadline then
  local deadline = request.deadlineIn and now() + request.deadlineIn or request.deadline
  redis.call('HSET', KEYS[1], '${FIELD.deadline}', string.format('%d', deadline))
end
if request.plan then
  redis.call('RPUSH', KEYS[8], request.plan)
end
-- A stage that was cancelled before the run has begun may have reported its outcome before this one was created.
for _, before in ipairs(request.after) do
  count(KEYS[1], redis.call('HGET', before, '${FIELD.outcome}'), 1)
end
need(KEYS[1], KEYS[6], request.id, needs)
if parent and not wasLost then
  listChild(KEYS[2], request.id)
end
local revived = parent and countMembers(KEYS[2], wasLost and 0 or 1) or 0
local stored, failed, problem = 0, nil, nil
if #members > 0 then
  local isDone
  isDone, stored, failed, problem = pcall(storeJobs, members)
  if not isDone then
    stored, failed, problem = 0, members[1], type(stored) == 'table' and stored.err or tostring(stored)
  end
  redis.call('HSET', KEYS[1], '${FIELD.total}', stored,
    failed and '${FIELD.registeredAt}' or '${FIELD.sealedAt}', now())
end
return { 'definition', jobDataAt(1), 'revived', revived, 'known', jobCount - 1 - #members,
  'failed', (failed or 1) - 1, 'error', problem or '' }`,
);

/** What a batch is created from. */
export interface BatchParts {
  readonly batchJob: NewJob;
  readonly needs: readonly Need[];
  /** Ms from now, by Redis's clock, where the deadline was given so. */
  readonly deadlineIn: number | undefined;
  readonly parent: ParentOfBatch | undefined;
  /** All of its members, if it is to be sealed with them at once. */
  readonly members: readonly NewJob[];
  /** Whether the ids of all members were made for this batch. */
  readonly isFresh: boolean;
  readonly place: PlaceInRun | undefined;
}

/** Creates the batch, or finds the one that has its id. */
export async function createBatchJob(
  redis: BatchRedis,
  definition: BatchDefinition,
  { batchJob, needs, deadlineIn, parent, members, isFresh, place }: BatchParts,
): Promise<BatchCreated> {
  const { id, nonce } = definition;
  const { job } = batchKeys(redis, id);
  const above = batchKeys(redis, parent?.id ?? id);
  const keys = [job, above.job, above.dependencies, above.processed, above.failed];
  const request = {
    prefix: redis.prefix,
    queue: redis.batchesQueue,
    id,
    nonce,
    fields: fieldsOf(definition, place),
    plan: place?.plan,
    after: (place?.stage?.after ?? []).map((before) => batchKeys(redis, before).job),
    deadlineIn,
    deadline: definition.deadline,
    needs: needs.join(' '),
    parent: parent && { nonce: parent.nonce, links: flatLinks(parent.links) },
    fresh: isFresh,
  };
  const allKeys = [...keys, needsKey(redis), batchesQueueKey(redis.prefix), planKey(redis, id)];
  const jobs = [batchJob, ...members];
  const reply = await whileJudged(
    async (mayWait) => named(await redis.runAdding(CREATE_BATCH, jobs, allKeys, { ...request, mayWait }, members)),
    ({ refused }) => refused === 'judged',
  );
  return parse(reply);
}

function parse(reply: NamedReply): BatchCreated {
  const elsewhere = keptElsewhere(reply);
  if (elsewhere !== undefined) {
    return { keptElsewhere: elsewhere };
  }
  if (reply.refused !== undefined) {
    return { refused: reply.refused as Refusal };
  }
  if (reply.taken !== undefined) {
    return { taken: (reply.taken as number[]).map((position) => position - 1) };
  }
  if (reply.definition === undefined) {
    return { error: withWayOut(String(reply.error)) };
  }
  const definition = JSON.parse(String(reply.definition));
  return { definition, isParentToBeRevived: reply.revived === 1, filled: filledOf(reply) };
}

function filledOf({ known, failed, error }: NamedReply): Filled | undefined {
  if (known === undefined) {
    return undefined;
  }
  const failure = failed === 0 ? {} : { failed: { position: Number(failed) - 1, error: withWayOut(String(error)) } };
  return { known: Number(known), ...failure };
}

/** Returns the fields of a new batch that only some batches have. */
function fieldsOf({ openTimeout, keep, policy }: BatchDefinition, { roots, stage }: PlaceInRun = {}): object {
  return {
    [FIELD.openTimeout]: openTimeout?.toString(),
    [FIELD.keep]: keep && keepField(keep),
    [FIELD.policy]: policy && policyField(policy),
    [FIELD.roots]: roots?.join('\n'),
    [FIELD.when]: stage && `${stage.when} ${stage.after.length}`,
    [FIELD.next]: stage?.next.join('\n'),
  };
}

/** Returns the failure policy in the form that maintenance reads: see FIELD.policy. */
function policyField({ cancelAfter, cancelAtPercent, succeedIfPercent }: FailurePolicy): string {
  return [cancelAfter, cancelAtPercent, succeedIfPercent].join();
}
