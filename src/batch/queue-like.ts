import type { Job, JobsOptions } from 'bullmq';
import type { ClientOwner } from '../record/client.js';

/** A BullMQ queue, of version 5 or 6, with whatever types it was declared with. */
export interface QueueLike extends ClientOwner {
  readonly qualifiedName: string;
  readonly defaultJobOptions: JobsOptions;
  add(name: never, data: never, opts?: never): Promise<unknown>;
  addBulk(jobs: never): Promise<unknown>;
}

/** A queue that is known by its name only: it takes anything. */
export interface NamedQueue extends QueueLike {
  add(name: string, data: unknown, opts?: never): Promise<Job>;
}

type AddOf<Q> = Q extends { add(name: infer Name, data: infer Data, ...rest: never): Promise<infer Job> }
  ? { name: Name; data: Data; job: Job }
  : { name: string; data: unknown; job: unknown };

/** The names that jobs of this queue may have. */
export type NameOf<Q> = AddOf<Q>['name'] & string;
/** The data of this queue's jobs. */
export type DataOf<Q> = AddOf<Q>['data'];
/** The `Job` that this queue's `add` returns. */
export type JobOf<Q> = AddOf<Q>['job'];
/** What this queue's jobs return. */
export type ResultOf<Q> = JobOf<Q> extends { returnvalue: infer Result } ? Result : unknown;

/** What we need of a job, in a processor: BullMQ's `Job`. */
export interface JobLike {
  readonly id?: string | undefined;
  readonly queueQualifiedName: string;
  readonly parent?: { readonly id?: string | undefined; readonly queueKey?: string | undefined } | undefined;
  readonly attemptsStarted?: number;
  readonly attemptsMade?: number;
  readonly stalledCounter?: number;
  readonly stacktrace?: unknown;
  readonly token?: string | undefined;
  readonly finishedOn?: number | undefined;
}
