import { Job, type JobsOptions } from 'bullmq';
import type { BatchDefinition } from '../model/definition.js';
import type { BatchLife } from '../record/add-members.js';
import type { JobShape, NewJob } from '../record/adding-lua.js';
import { recordAdd } from '../record/bullmq-commands.js';
import { jobKey } from '../record/keys.js';
import { arePlain } from '../record/writing.js';
import type { MemberOptions } from '../validation.js';
import type { BatchContext, MemberQueue } from './batch-context.js';
import type { MemberIds } from './ids.js';
import type { CheckedJob } from './job.js';
import { type Adding, notAdded } from './not-added.js';

/** A job on its way into a batch. */
export interface Member {
  readonly queue: MemberQueue;
  readonly name: string;
  readonly data: unknown;
  /** The data as JSON, where it was needed before. */
  readonly json?: string | undefined;
  /** The member's own options, to which the batch's and the queue's defaults are added. */
  readonly opts: MemberOptions | undefined;
  readonly id: string;
  /** Whether the id was made for this call, so that it can be known only to a command that is sent twice. */
  readonly isFresh: boolean;
}

/** A job that was checked, on its way into a batch. */
export function memberOf({ queue, name, data, opts, json }: CheckedJob, ids: MemberIds): Member {
  const made = ids.next({ queue: queue.name, name, data });
  const jobId = opts?.jobId;
  return { queue, name, data, json, opts, id: jobId ?? made, isFresh: ids.areFresh && jobId === undefined };
}

/** Members on their way into a batch, for an error that names them. */
export function addingOf({ id }: BatchLife, members: readonly Member[]): Adding {
  return {
    batchId: id,
    get jobIds() {
      return members.map((member) => member.id);
    },
  };
}

/**
 * What a batch decides of its members' options: a member's own take precedence over `defaults`, and `fixed` over a
 * member's own.
 */
export function memberOptionsOf({ jobOptions, keep }: BatchDefinition): {
  readonly defaults: JobsOptions | undefined;
  readonly fixed: JobsOptions;
} {
  return { defaults: jobOptions, fixed: keep?.members ? { removeOnFail: false } : {} };
}

type TraceOf = (queue: MemberQueue) => string | undefined;

/** A job for each member, as BullMQ's own `add` would make them, and how they are added. */
export function memberJobs(
  context: BatchContext,
  batch: BatchDefinition,
  members: readonly Member[],
  traceOf: TraceOf,
) {
  const adding = addingOf(batch, members);
  const jobs = members.map((member) => memberJob(context, batch, member, traceOf(member.queue)));
  return { jobs, entries: jobs.map((job, i) => memberEntry(context, members[i] as Member, job, adding)) };
}

/**
 * The members as the script takes them, without a `Job` of each: those that differ in nothing but their ids and data
 * share the command that BullMQ would add one of them with. Each is serialised once.
 */
export function memberEntries(
  context: BatchContext,
  batch: BatchDefinition,
  members: readonly Member[],
  traceOf: TraceOf,
): NewJob[] {
  const adding = addingOf(batch, members);
  const shapes = new Map<MemberQueue, Map<string, JobShape>>();
  const entries: NewJob[] = [];
  for (const member of members) {
    const { queue, id } = member;
    const ofQueue = shapes.get(queue) ?? new Map<string, JobShape>();
    shapes.set(queue, ofQueue);
    const key = shapeKey(member);
    const shape = ofQueue.get(key);
    if (shape !== undefined) {
      entries.push({ id, data: member.json ?? serialise(member, adding), shape });
      continue;
    }
    const entry = memberEntry(context, member, memberJob(context, batch, member, traceOf(queue)), adding);
    if (!context.redis.writesFast([entry])) {
      return memberJobs(context, batch, members, traceOf).entries;
    }
    ofQueue.set(key, entry.shape);
    entries.push(entry);
  }
  return entries;
}

/** Returns a text that is equal for members of one queue whose jobs differ in nothing but their ids and data. */
function shapeKey({ name, opts }: Member): string {
  let key = `${name.length} ${name}`;
  if (opts !== undefined) {
    for (const [option, value] of Object.entries(opts)) {
      if (value !== undefined && option !== 'jobId') {
        key += ` ${option}=${JSON.stringify(value)}`;
      }
    }
  }
  return key;
}

/** As BullMQ does. */
function serialise({ name, data, id }: Member, adding: Adding): string {
  try {
    return JSON.stringify(data === undefined ? {} : data) ?? '';
  } catch (cause) {
    throw notAdded(cause, adding, ` The data of job '${name}' (${id}) is not JSON.`);
  }
}

function memberJob(context: BatchContext, batch: BatchDefinition, member: Member, trace: string | undefined): Job {
  const { queue, name, data, opts, id } = member;
  const { defaults, fixed } = memberOptionsOf(batch);
  const job = newJob(queue, name, data, {
    ...queue.queue.defaultJobOptions,
    ...withTrace({ ...defaults, ...opts, ...fixed }, trace),
    jobId: id,
    parent: { id: batch.id, queue: context.batches.qualifiedName },
    ignoreDependencyOnFailure: true,
  });
  return asMember(job);
}

function memberEntry(context: BatchContext, { queue, name, id }: Member, job: Job, adding: Adding): NewJob {
  const options = { queue: queue.name, id, kind: 'member', isPlain: isPlainJob(job) };
  return newEntry(context, job, options, `of job '${name}' (${id})`, adding);
}

/**
 * Whether BullMQ does nothing with a job but store it, and nobody has changed how jobs of its class are made or
 * serialised; BullMQ's own class extends none.
 */
export function isPlainJob(job: Job): boolean {
  return Object.getPrototypeOf(job.constructor) === Function.prototype && arePlain(job.opts);
}

/**
 * Makes a job smaller: its stored options have neither its id nor what its end means to its parent. BullMQ keeps them
 * in the key and in `parent`, and reads them only there. The option `parent` stays: with it Bull Board finds the batch
 * above a callback or a child batch.
 */
export function withoutCopies(job: Job): Job {
  const { jobId, ignoreDependencyOnFailure, ...opts } = job.opts;
  job.opts = opts;
  return job;
}

/**
 * Makes the job of a member small, and tells it from a job that is attached to the batch job by hand. BullMQ stores its
 * `parent` in fields of its own, and reads only those: without copies in the stored options the hash of a job with
 * small data stays a listpack, a fifth of the size. The mark is `1` in the place of `true`.
 */
export function asMember(job: Job): Job {
  const { parent: _, ...opts } = withoutCopies(job).opts;
  job.opts = opts;
  job.parent = { ...job.parent, idof: 1 } as unknown as NonNullable<Job['parent']>;
  return job;
}

/** A job that has not been added, of the queue's own version of BullMQ. */
export function newJob({ queue }: Pick<MemberQueue, 'queue'>, name: string, data: unknown, opts: JobsOptions): Job {
  const OwnJob = (queue as { readonly Job?: typeof Job }).Job ?? Job;
  return new OwnJob(queue as unknown as ConstructorParameters<typeof Job>[0], name, data, opts, opts.jobId);
}

/** What an entry is to be, beside the job. */
interface EntryOptions {
  readonly queue: string;
  readonly id: string;
  /** A word for the script that stores it. */
  readonly kind: string;
  readonly isPlain?: boolean;
  /** Whether the job waits for others below it, which are added after it. */
  readonly isParent?: boolean;
}

/**
 * A job as a script takes it.
 *
 * @param what whose data it is, for an error that says what is wrong with it.
 */
export function newEntry(context: BatchContext, job: Job, options: EntryOptions, what: string, adding: Adding): NewJob {
  const { queue, id, kind, isPlain = false, isParent = false } = options;
  try {
    const command = recordAdd(job, { isParent });
    const data = String(command.args.at(-2) ?? '');
    return { id, data, shape: { queueKey: jobKey(context.redis.prefix, queue, ''), kind, command, isPlain } };
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
