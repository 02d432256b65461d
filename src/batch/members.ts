import { Job, type JobsOptions } from 'bullmq';
import {
  type BatchError,
  BatchFinishedError,
  BatchMemberError,
  BatchNotFoundError,
  BatchSealedError,
  because,
} from '../errors.js';
import {
  type AttachmentLink,
  addToBatch,
  type BatchLife,
  isBatchThere,
  type MembersAdded,
  type Refusal,
} from '../record/add-members.js';
import type { NewJob } from '../record/adding-lua.js';
import { recordAdd } from '../record/bullmq-commands.js';
import { isConnectionError } from '../record/connection-error.js';
import { jobKey } from '../record/keys.js';
import { type Home, homeOf, type MemberQueue } from './home.js';
import type { QueueLike } from './queue-like.js';
import { revive } from './retry.js';
import { inProducerSpans } from './trace.js';

/** A job on its way into a batch. */
export interface Member {
  readonly queue: MemberQueue;
  readonly name: string;
  readonly data: unknown;
  /** The member's own options over the batch's defaults. The defaults of the queue are added later. */
  readonly opts: JobsOptions;
  readonly id: string;
  /** Whether the caller gave the id, so that a job may have it already. */
  readonly isNamed: boolean;
}

/** The batch that members are added to, and the links that entitle the caller to add once it is sealed. */
export interface Destination {
  readonly home: Home;
  readonly batch: BatchLife;
  readonly links: readonly AttachmentLink[];
}

export interface Added {
  /** One job per member, in the same order, as BullMQ's own `addBulk` returns them. */
  readonly jobs: readonly Job[];
  readonly added: number;
  /** How many were members already, and were left alone. */
  readonly known: number;
}

/** The parts of a message about jobs that could not be added. */
export interface Adding {
  readonly batchId: string;
  readonly jobIds: readonly string[];
  /** The end of the sentence: what became of other jobs. */
  readonly others?: string;
}

/**
 * Adds members to a batch in one atomic step: all of them or, with an error that says why, none. Members with much data
 * take several such steps.
 *
 * @param isFresh whether all ids were made for this call, so that none of them can be known.
 */
export async function addMembers(to: Destination, members: readonly Member[], isFresh: boolean): Promise<Added> {
  const { home, batch } = to;
  const queues = [...new Set(members.map(({ queue }) => queue))];
  await Promise.all(queues.map((queue) => refuseElsewhere(to, queue, members)));
  return inProducerSpans(queues, members, async (traceOf) => {
    const { jobs, entries } = newMembers(home, batch.id, members, traceOf);
    let known = 0;
    for (const slice of slicesByBytes(entries)) {
      known += await addSlice(to, members.slice(...slice), entries.slice(...slice), isFresh);
    }
    if (members.length === 1 && known === 0) {
      emitWaiting(members[0] as Member, jobs[0] as Job);
    }
    return { jobs, added: members.length - known, known };
  });
}

/** The jobs of members, and how a script stores them. */
export function newMembers(
  home: Home,
  batchId: string,
  members: readonly Member[],
  traceOf: (queue: MemberQueue) => string | undefined,
): { readonly jobs: Job[]; readonly entries: NewJob[] } {
  const adding = { batchId, jobIds: members.map(({ id }) => id) };
  const jobs = members.map((member) => memberJob(home, batchId, member, traceOf(member.queue)));
  return { jobs, entries: jobs.map((job, i) => entryOf(home, members[i] as Member, job, adding)) };
}

/** Adds members in one step. Returns how many were members already. */
async function addSlice(
  to: Destination,
  members: readonly Member[],
  entries: readonly NewJob[],
  isFresh: boolean,
): Promise<number> {
  const batchId = to.batch.id;
  const adding = { batchId, jobIds: members.map(({ id }) => id) };
  const result = await send(to, entries, isFresh, adding);
  refuseTaken(batchId, members, result.taken);
  reportFailed(result.failed, members, adding);
  return result.known.size;
}

/**
 * How many bytes of data one step takes at most, unless one job has more: Redis copies a megabyte in some milliseconds.
 */
const BYTES_AT_ONCE = 256 * 1024;

/** Divides jobs into ranges [from, to) that are small enough for one step. */
function slicesByBytes(entries: readonly NewJob[]): [from: number, to: number][] {
  const slices: [number, number][] = [];
  let [from, bytes] = [0, 0];
  entries.forEach(({ command }, i) => {
    const size = command.args.reduce((sum, arg) => sum + arg.length, 0);
    if (i > from && bytes + size > BYTES_AT_ONCE) {
      slices.push([from, i]);
      [from, bytes] = [i, 0];
    }
    bytes += size;
  });
  return [...slices, [from, entries.length]];
}

/** The queues that were found to be in the Redis of their batches. */
const sharing = new WeakMap<Home, WeakSet<MemberQueue>>();

/**
 * Refuses a queue in another Redis. Jobs are stored in the Redis of their batch, where the workers of such a queue
 * would never see them.
 */
async function refuseElsewhere(
  { home, batch }: Destination,
  queue: MemberQueue,
  members: readonly Member[],
): Promise<void> {
  if (await isElsewhere({ home, batch }, queue)) {
    const jobIds = members.flatMap((member) => (member.queue === queue ? member.id : []));
    throw new BatchMemberError(
      `${count(jobIds.length)} not added to batch '${batch.id}': queue '${queue.name}' is in another Redis, or ` +
        'another database of it. A batch and its members share one.',
      { batchId: batch.id, jobIds },
    );
  }
}

/**
 * Whether a queue is in another Redis than an existing batch. Redis is asked once per queue; a queue elsewhere is asked
 * again.
 */
export async function isElsewhere(
  { home, batch }: Pick<Destination, 'home' | 'batch'>,
  queue: MemberQueue,
): Promise<boolean> {
  const known = sharing.get(home) ?? new WeakSet();
  if (known.has(queue)) {
    return false;
  }
  const other = await homeOf(queue.queue, home.redis.batchesQueue);
  const isThere = (redis: Home['redis']) => isBatchThere(redis, batch);
  if (other !== home && !(await isThere(other.redis)) && (await isThere(home.redis))) {
    return true;
  }
  sharing.set(home, known.add(queue));
  return false;
}

/** Adds jobs to the batch, and lets the batch run again if it had failed because it was abandoned. */
export async function send(
  { home, batch, links }: Destination,
  jobs: readonly NewJob[],
  isFresh: boolean,
  adding: Adding,
): Promise<{
  readonly taken: readonly number[];
  readonly known: ReadonlySet<number>;
  readonly failed: Extract<MembersAdded, { known: unknown }>['failed'];
}> {
  const result = await addToBatch(home.redis, batch, { fresh: isFresh, links, jobs }).catch((cause: unknown) => {
    throw notAdded(cause, adding);
  });
  if ('refused' in result) {
    throw refusal(batch.id, result.refused);
  }
  if ('taken' in result) {
    return { taken: result.taken, known: new Set(), failed: undefined };
  }
  if (result.isToBeRevived) {
    await revive(home, batch.id);
  }
  return { taken: [], known: result.known, failed: result.failed };
}

export function refusal(batchId: string, refused: Refusal): BatchError {
  switch (refused) {
    case 'not found':
      return new BatchNotFoundError(batchId);
    case 'sealed':
      return new BatchSealedError(batchId);
    case 'finished':
    case 'cancelled':
      return new BatchFinishedError(batchId, refused);
  }
}

function refuseTaken(batchId: string, members: readonly Member[], positions: readonly number[]): void {
  const taken = positions.flatMap((position) => members[position] ?? []);
  const [first] = taken;
  if (first !== undefined) {
    throw new BatchMemberError(
      `${count(taken.length)} not added to batch '${batchId}', nor was any other of the same chunk: a job with the ` +
        `id '${first.id}' exists in queue '${first.queue.name}' that is not in this batch. Give members ids of their ` +
        'own, or remove that job first.',
      { batchId, jobIds: taken.map(({ id }) => id) },
    );
  }
}

/**
 * Throws when BullMQ's own script has failed although the jobs were checked; the jobs before the failed one are stored.
 */
function reportFailed(
  failed: Extract<MembersAdded, { known: unknown }>['failed'],
  members: readonly Member[],
  { batchId }: Adding,
): void {
  if (failed !== undefined) {
    const jobIds = members.slice(failed.position).map(({ id }) => id);
    throw new BatchMemberError(
      `${count(jobIds.length)} not added to batch '${batchId}': BullMQ could not store job '${jobIds[0]}': ` +
        `${failed.error}. The jobs before it in the same call stay in the batch.`,
      { batchId, jobIds },
    );
  }
}

/** Makes the job of a member, as BullMQ's own `add` would. */
function memberJob(home: Home, batchId: string, member: Member, trace: string | undefined): Job {
  const { queue, name, data, opts, id, isNamed } = member;
  const job = newJob(queue, name, data, {
    ...queue.queue.defaultJobOptions,
    ...withTrace(opts, trace),
    jobId: id,
    parent: { id: batchId, queue: home.batches.qualifiedName },
    ignoreDependencyOnFailure: true,
  });
  return isNamed ? markNamed(job) : job;
}

/** Marks a member whose id the caller gave: the mark tells it from a job that is attached to the batch job by hand. */
export function markNamed(job: Job): Job {
  job.parent = { ...job.parent, b: 1 } as unknown as NonNullable<Job['parent']>;
  return job;
}

/** Makes a job that is not added yet, of the queue's own version of BullMQ. */
export function newJob({ queue }: Pick<MemberQueue, 'queue'>, name: string, data: unknown, opts: JobsOptions): Job {
  const OwnJob = (queue as { readonly Job?: typeof Job }).Job ?? Job;
  return new OwnJob(queue as unknown as ConstructorParameters<typeof Job>[0], name, data, opts, opts.jobId);
}

function entryOf(home: Home, { queue, name, id }: Member, job: Job, adding: Adding): NewJob {
  const key = jobKey(home.redis.prefix, queue.name, id);
  return { key, kind: 'member', command: commandOf(job, `of job '${name}' (${id})`, adding) };
}

/** BullMQ's command to add the job, or an error that says what is wrong with it. */
export function commandOf(job: Job, what: string, adding: Adding, isParent = false): NewJob['command'] {
  try {
    return recordAdd(job, { isParent });
  } catch (cause) {
    throw notAdded(cause, adding, isJson(job.data) ? '' : ` The data ${what} is not JSON.`);
  }
}

function isJson(data: unknown): boolean {
  try {
    JSON.stringify(data);
    return true;
  } catch {
    return false;
  }
}

/** The job carries the trace of the span in which it is added, unless its options say otherwise. */
export function withTrace<Options extends object>(opts: Options, trace: string | undefined): Options {
  const given = (opts as { readonly telemetry?: { readonly metadata?: string; readonly omitContext?: boolean } })
    .telemetry;
  return trace === undefined || given?.omitContext || given?.metadata !== undefined
    ? opts
    : { ...opts, telemetry: { metadata: trace } };
}

/** Emits BullMQ's 'waiting' event, as its queues do when one job was added. */
function emitWaiting({ queue }: Member, job: Job): void {
  (queue.queue as QueueLike & { emit?(event: string, job: Job): void }).emit?.('waiting', job);
}

/**
 * Makes the error that says that jobs were not added. After an error of the connection it says that this is not known:
 * Redis may have got the command, or may still get it.
 */
export function notAdded(cause: unknown, { batchId, jobIds, others = '' }: Adding, hint = ''): BatchMemberError {
  if (isConnectionError(cause)) {
    const what = jobIds.length === 1 ? 'whether 1 job was' : `which of ${jobIds.length} jobs were`;
    return new BatchMemberError(
      `It is not known ${what} added to batch '${batchId}': ${because(cause)}. Add them again with the same jobIds: ` +
        'what is there already is not added twice.',
      { batchId, jobIds, cause },
    );
  }
  const tail = `${hint}${others === '' ? '' : ` ${others}`}`;
  return new BatchMemberError(`${count(jobIds.length)} not added to batch '${batchId}': ${because(cause)}.${tail}`, {
    batchId,
    jobIds,
    cause,
  });
}

function count(jobs: number): string {
  return jobs === 1 ? '1 job was' : `${jobs} jobs were`;
}
