import { BatchOptionsError } from '../errors.js';
import { checkKeys, checkMemberOptions, checkName, checkObject, describe, type MemberOptions } from '../validation.js';
import { findQueue, type MemberQueue, type QueueContext } from './batch-context.js';
import type { DataOf, NameOf, QueueLike } from './queue-like.js';

/** A job to be added as a member: to the queue that the batch was opened through, or to the one that it names. */
export type BatchJob<Q extends QueueLike = QueueLike> =
  | {
      /** The name of the job. */
      readonly name: NameOf<Q>;
      /** The data of the job, which JSON must be able to carry. */
      readonly data: DataOf<Q>;
      /** BullMQ's options of the job; they win over the batch's `jobOptions`. */
      readonly opts?: MemberOptions;
      /** Absent: the job goes to the queue that the batch was opened through. */
      readonly queue?: undefined;
    }
  | {
      /** The name of the job. */
      readonly name: string;
      /** The data of the job, which JSON must be able to carry. */
      readonly data: unknown;
      /** BullMQ's options of the job; they win over the batch's `jobOptions`. */
      readonly opts?: MemberOptions;
      /** A queue's name (BullMQ's default job options apply), or the queue itself (its own do). */
      readonly queue: string | QueueLike;
    };

/** A source of jobs, of any length. */
export type BatchJobs<Q extends QueueLike = QueueLike> = Iterable<BatchJob<Q>> | AsyncIterable<BatchJob<Q>>;

/** A job that was checked. */
export interface CheckedJob {
  readonly queue: MemberQueue;
  readonly name: string;
  readonly data: unknown;
  readonly opts: MemberOptions | undefined;
  /** The data as JSON, where the check needed it. */
  readonly json?: string;
}

const JOB_KEYS = ['name', 'data', 'opts', 'queue'];

/** Checks a job, before anything is written. */
export function checkJob(what: string, job: unknown, context: QueueContext, batchId?: string): CheckedJob {
  checkObject(what, job, `{ name: 'import', data: {} }`);
  checkKeys(what, job, JOB_KEYS);
  return checkMember(what, findQueue(`${what}.queue`, job.queue, context), job, batchId);
}

/** Checks a whole list of jobs, before any of them is added. */
export function checkJobs(jobs: readonly unknown[], context: QueueContext, batchId?: string): CheckedJob[] {
  // Of a list with holes, too, every place is looked at.
  return Array.from(jobs, (job, i) => {
    const checked = checkJob(`job ${i}`, job, context, batchId);
    return { ...checked, json: checkData(`job ${i} ('${checked.name}')`, checked.data) };
  });
}

/** The data as BullMQ stores it; refuses what JSON cannot carry. */
export function checkData(what: string, data: unknown): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(data === undefined ? {} : data);
  } catch (cause) {
    throw new BatchOptionsError(`The data of ${what} is not JSON: ${(cause as Error).message}.`, { cause });
  }
  if (json === undefined) {
    throw new BatchOptionsError(`The data of ${what} is not JSON: it is ${describe(data)}.`);
  }
  return json;
}

/** Checks a job whose queue is known. */
export function checkMember(
  what: string,
  queue: MemberQueue,
  { name, data, opts }: { readonly name?: unknown; readonly data?: unknown; readonly opts?: unknown },
  batchId?: string,
): CheckedJob {
  checkName(`The name of ${what}`, name);
  if (opts !== undefined) {
    checkMemberOptions(`The options of ${what}`, opts, batchId);
  }
  return { queue, name, data, opts };
}

export function checkIterable(method: string, jobs: unknown): void {
  const source = jobs as Partial<Iterable<unknown> & AsyncIterable<unknown>> | null | undefined;
  if (
    typeof jobs === 'string' ||
    (typeof source?.[Symbol.iterator] !== 'function' && typeof source?.[Symbol.asyncIterator] !== 'function')
  ) {
    throw new BatchOptionsError(
      `${method}() takes an array, an iterable or an async iterable of { name, data, opts?, queue? }, not ` +
        `${describe(jobs)}.${hintOf(jobs)}`,
    );
  }
}

function hintOf(jobs: unknown): string {
  if (jobs instanceof Promise) {
    return ' Await it first.';
  }
  return typeof jobs === 'function' ? ' Call the function, and pass what it returns.' : '';
}
