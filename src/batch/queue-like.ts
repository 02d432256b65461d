import type { Job, JobsOptions } from 'bullmq';
import type { ClientOwner } from '../record/client.js';

/**
 * A BullMQ `Queue`, of version 5 or 6, with whatever types it was declared with. It is described by what it has, so
 * that the queues of every copy and version of BullMQ fit.
 */
export interface QueueLike extends ClientOwner {
  /** The queue's prefix and name, e.g. 'bull:users'. */
  readonly qualifiedName: string;
  /** The options that the queue gives to each job. */
  readonly defaultJobOptions: JobsOptions;
  /** Adds a job to the queue. */
  add(name: never, data: never, opts?: never): Promise<unknown>;
  /** Adds several jobs to the queue. */
  addBulk(jobs: never): Promise<unknown>;
}

/** A queue of which only the name is known: it takes jobs with any name and data. */
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

/** A BullMQ `Job`, of version 5 or 6, as a processor gets it. */
export interface JobLike {
  /** The id of the job. */
  readonly id?: string | undefined;
  /** The prefix and name of its queue, e.g. 'bull:users'. */
  readonly queueQualifiedName: string;
  /** The job above it in BullMQ: for a member, the job of its batch. */
  readonly parent?:
    | {
        /** The id of the job above. */
        readonly id?: string | undefined;
        /** The prefix and name of the queue of the job above. */
        readonly queueKey?: string | undefined;
      }
    | undefined;
  /** How often it was started. */
  readonly attemptsStarted?: number;
  /** How often it has failed. */
  readonly attemptsMade?: number;
  /** How often its worker has stalled. */
  readonly stalledCounter?: number;
  /** The stacks of its failures. */
  readonly stacktrace?: unknown;
  /** The token of the worker that runs it. */
  readonly token?: string | undefined;
  /** When it ended, in ms since the epoch. */
  readonly finishedOn?: number | undefined;
}
