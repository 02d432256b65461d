import type { Job } from 'bullmq';
import {
  type BatchError,
  BatchFinishedError,
  BatchMemberError,
  BatchNotFoundError,
  BatchSealedError,
} from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import {
  type AttachmentLink,
  addToBatch,
  type BatchLife,
  isBatchThere,
  type MembersAdded,
  type Refusal,
} from '../record/add-members.js';
import type { NewJob } from '../record/adding-lua.js';
import type { BatchRedis } from '../record/batch-redis.js';
import { type BatchContext, contextOf, type MemberQueue } from './batch-context.js';
import { addingOf, type Member, memberEntries, memberJobs } from './member-jobs.js';
import { type Adding, jobsWere, notAdded } from './not-added.js';
import type { QueueLike } from './queue-like.js';
import { revive } from './retry.js';
import { inProducerSpans } from './trace.js';

/** A batch that members are added to, and the links that entitle the caller to add once it is sealed. */
export interface BatchAccess {
  readonly batch: BatchDefinition;
  readonly links: readonly AttachmentLink[];
}

/** What `batch.addBulk()` did. */
export interface BulkAdded {
  /** How many jobs were added as members. */
  readonly added: number;
  /** How many jobs were members already, by their `jobId`, and were left alone. */
  readonly known: number;
}

/**
 * Adds members to a batch in one atomic step: all of them or, with an error that says why, none. Members with much data
 * take several such steps.
 *
 * @returns a job for each, in the same order, as BullMQ's own `addBulk`.
 */
export async function addMembers(context: BatchContext, to: BatchAccess, members: readonly Member[]): Promise<Job[]> {
  return inSpans(context, to, members, async (traceOf) => {
    const { jobs, entries } = memberJobs(context, to.batch, members, traceOf);
    const { known } = await store(context, to, members, entries);
    if (members.length === 1 && known === 0) {
      emitWaiting(members[0] as Member, jobs[0] as Job);
    }
    return jobs;
  });
}

/** Adds members as addMembers() does, for a caller who wants no more than to know how many they were. */
export async function countMembers(
  context: BatchContext,
  to: BatchAccess,
  members: readonly Member[],
): Promise<BulkAdded> {
  return inSpans(context, to, members, (traceOf) =>
    store(context, to, members, memberEntries(context, to.batch, members, traceOf)),
  );
}

async function inSpans<T>(
  context: BatchContext,
  to: BatchAccess,
  members: readonly Member[],
  add: (traceOf: (queue: MemberQueue) => string | undefined) => Promise<T>,
): Promise<T> {
  const queues = [...new Set(members.map(({ queue }) => queue))];
  await Promise.all(queues.map((queue) => refuseElsewhere(context, to.batch, queue, members)));
  return inProducerSpans(members, add);
}

async function store(
  context: BatchContext,
  to: BatchAccess,
  members: readonly Member[],
  entries: readonly NewJob[],
): Promise<BulkAdded> {
  let known = 0;
  for (const slice of slicesOf(entries, context.redis.writesFast(entries) ? entries.length : BULLMQ_AT_ONCE)) {
    const some = members.slice(...slice);
    const areFresh = some.every(({ isFresh }) => isFresh);
    const result = await send(context, to, entries.slice(...slice), areFresh, addingOf(to.batch, some));
    if ('taken' in result) {
      throw takenError(to.batch.id, some, result.taken);
    }
    reportFailed(to.batch.id, result.failed, some);
    known += result.known.size;
  }
  return { added: members.length - known, known };
}

/**
 * How many bytes of data one step takes at most, unless one job has more: Redis copies a megabyte in some milliseconds.
 */
export const BYTES_AT_ONCE = 256 * 1024;

/** About what a job is beside its data: its other fields, its events, its places in lists. */
const BYTES_PER_JOB = 300;

/** How many jobs BullMQ's own script adds in one step: 30 µs each. */
export const BULLMQ_AT_ONCE = 200;

/** Divides jobs into ranges [from, to) that are small enough for one step. */
function slicesOf(entries: readonly NewJob[], atOnce: number): [from: number, to: number][] {
  const slices: [number, number][] = [];
  let [from, bytes] = [0, 0];
  entries.forEach(({ data }, i) => {
    const size = data.length + BYTES_PER_JOB;
    if (i > from && (bytes + size > BYTES_AT_ONCE || i - from >= atOnce)) {
      slices.push([from, i]);
      [from, bytes] = [i, 0];
    }
    bytes += size;
  });
  return [...slices, [from, entries.length]];
}

/** The queues that were found to be in the Redis of their batches. */
const sharing = new WeakMap<BatchRedis, WeakSet<MemberQueue>>();

/**
 * Refuses a queue in another Redis. Jobs are stored in the Redis of their batch, where the workers of such a queue
 * would never see them.
 */
async function refuseElsewhere(
  context: BatchContext,
  batch: BatchLife,
  queue: MemberQueue,
  members: readonly Member[],
): Promise<void> {
  if (await isElsewhere(context, batch, queue)) {
    const jobIds = members.flatMap((member) => (member.queue === queue ? member.id : []));
    throw new BatchMemberError(
      `${jobsWere(jobIds.length)} not added to batch '${batch.id}': queue '${queue.name}' is in another Redis, or ` +
        'another database of it. A batch and its members share one.',
      { batchId: batch.id, jobIds },
    );
  }
}

/**
 * Whether a queue is in another Redis than an existing batch. Redis is asked once per queue; a queue elsewhere is asked
 * again.
 */
export async function isElsewhere(context: BatchContext, batch: BatchLife, queue: MemberQueue): Promise<boolean> {
  const known = sharing.get(context.redis) ?? new WeakSet();
  if (known.has(queue)) {
    return false;
  }
  const other = await contextOf(queue.queue, context.redis.batchesQueue);
  const isThere = (redis: BatchRedis) => isBatchThere(redis, batch);
  if (other.redis !== context.redis && !(await isThere(other.redis)) && (await isThere(context.redis))) {
    return true;
  }
  sharing.set(context.redis, known.add(queue));
  return false;
}

/** Adds jobs to the batch, and lets the batch run again if it had failed because it was abandoned. */
export async function send(
  context: BatchContext,
  { batch, links }: BatchAccess,
  jobs: readonly NewJob[],
  areFresh: boolean,
  adding: Adding,
): Promise<Exclude<MembersAdded, { refused: unknown }>> {
  const result = await addToBatch(context.redis, batch, { fresh: areFresh, links, jobs }).catch((cause: unknown) => {
    throw notAdded(cause, adding);
  });
  if ('refused' in result) {
    throw refusal(batch.id, result.refused);
  }
  if ('isToBeRevived' in result && result.isToBeRevived) {
    await revive(context, batch.id);
  }
  return result;
}

export function refusal(batchId: string, refused: Refusal): BatchError {
  switch (refused) {
    case 'not found':
      return new BatchNotFoundError(batchId);
    case 'sealed':
      return new BatchSealedError(batchId);
    case 'finished':
    case 'cancelled':
    case 'abandoned':
      return new BatchFinishedError(batchId, refused);
  }
}

/** Says which ids are taken by jobs that are not in the batch. */
export function takenError(
  batchId: string,
  members: readonly Member[],
  positions: readonly number[],
): BatchMemberError {
  const taken = positions.flatMap((position) => members[position] ?? []);
  const [first] = taken;
  return new BatchMemberError(
    `${jobsWere(taken.length)} not added to batch '${batchId}', nor was any other of the same chunk: a job with the ` +
      `id '${first?.id}' exists in queue '${first?.queue.name}' that is not in this batch. Give members ids of their ` +
      'own, or remove that job first.',
    { batchId, jobIds: taken.map(({ id }) => id) },
  );
}

/**
 * Throws when BullMQ's own script has failed although the jobs were checked; the jobs before the failed one are stored.
 */
export function reportFailed(
  batchId: string,
  failed: { readonly position: number; readonly error: string } | undefined,
  members: readonly Member[],
): void {
  if (failed !== undefined) {
    const jobIds = members.slice(failed.position).map(({ id }) => id);
    throw new BatchMemberError(
      `${jobsWere(jobIds.length)} not added to batch '${batchId}': BullMQ could not store job '${jobIds[0]}': ` +
        `${failed.error}. The jobs before it in the same call stay in the batch.`,
      { batchId, jobIds },
    );
  }
}

/** Emits BullMQ's 'waiting' event, as its queues do when one job was added. */
function emitWaiting({ queue }: Member, job: Job): void {
  (queue.queue as QueueLike & { emit?(event: string, job: Job): void }).emit?.('waiting', job);
}
