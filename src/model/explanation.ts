import type { BatchEvent } from './definition.js';
import type { JobState } from './job-facts.js';
import type { BatchState } from './rules.js';
import type { CallbackState } from './snapshot.js';

/**
 * What holds a batch, as `batch.explain()` returns it. Times are ms since the epoch. Members are read page by page: one
 * that changes meanwhile is seen as it was, or as it is.
 */
export interface BatchExplanation {
  /** The id of the batch. */
  readonly id: string;
  /** What `createBatch` was given for people to read in lists. */
  readonly description: string | undefined;
  /** Where the batch is in its life. */
  readonly state: BatchState;
  /**
   * What holds the batch and what to do about it, in sentences for people. The most important comes first; there is at
   * least one.
   */
  readonly reasons: readonly string[];
  /** Whether `seal()` was called. */
  readonly sealed: boolean;
  /** When the batch was created. */
  readonly createdAt: number;
  /** When the producer last added a job or gave another sign of life; undefined before the first time. */
  readonly lastSignOfLifeAt: number | undefined;
  /**
   * How many of the outstanding jobs were looked at, when there are too many to look at all: the counts in `members`
   * are estimates then, from these. Undefined when all were looked at.
   */
  readonly sampled: number | undefined;
  /** The jobs that are outstanding, by queue and state. */
  readonly members: readonly OutstandingMembers[];
  /** The child batches that are outstanding. */
  readonly children: readonly OutstandingChildren[];
  /**
   * The keys of outstanding jobs that were attached to the batch job by hand, with BullMQ's own methods. They are not
   * members and counted nowhere, but BullMQ lets the batch wait for them.
   */
  readonly strangers: readonly string[];
  /** The callbacks that are due, queued, running, being retried, or have failed. */
  readonly callbacks: readonly OutstandingCallback[];
  /**
   * The queues that have to go on: first the one that holds the batches, whose workers are the BatchWorkers, then those
   * of members and callbacks.
   */
  readonly queues: readonly OutstandingQueue[];
}

/** Outstanding jobs of a batch that are in one queue and one state. */
export interface OutstandingMembers {
  /** The name of their queue. */
  readonly queue: string;
  /**
   * Where BullMQ has them. `no job`: never stored, or removed without BullMQ telling. `completed` and `failed` wait to
   * be repaired. A child batch is here, with the queue of the batches, only in these three.
   */
  readonly state: JobState;
  /** How many they are. */
  readonly count: number;
  /** How many of them have failed an attempt and will be tried again. */
  readonly failing: number;
  /** Up to 3 of them, oldest first. */
  readonly oldest: readonly OutstandingMember[];
}

/** One outstanding job of a batch. */
export interface OutstandingMember {
  /** The id of the job. */
  readonly id: string;
  /** The name of the job; undefined when there is no such job. */
  readonly name: string | undefined;
  /** When it was added. */
  readonly timestamp: number | undefined;
  /** How many attempts have ended. */
  readonly attemptsMade: number;
  /** Why its last attempt failed. */
  readonly failedReason: string | undefined;
}

/** Outstanding child batches that are in one state. */
export interface OutstandingChildren {
  /** `running` includes `finishing`, as in `getBatches`. */
  readonly state: 'open' | 'running';
  /** How many they are. */
  readonly count: number;
  /** Up to 3 of them, oldest first. */
  readonly oldest: readonly OutstandingChild[];
}

/** One outstanding child batch. */
export interface OutstandingChild {
  /** The id of the child batch. */
  readonly id: string;
  /** Its description, if it has one. */
  readonly description: string | undefined;
  /** Where it is in its life. */
  readonly state: BatchState;
  /** How many of its own members have not settled. */
  readonly pending: number;
}

/** A callback that is due, queued, running or being retried, or that has failed. */
export interface OutstandingCallback {
  /** The event that it is registered for. */
  readonly event: BatchEvent;
  /** The name of its queue. */
  readonly queue: string;
  /** The name of its job. */
  readonly name: string;
  /** The id of its job. */
  readonly jobId: string;
  /** `pending`: due, and not enqueued yet. */
  readonly state: CallbackState;
  /** Where BullMQ has its job. */
  readonly jobState: JobState;
  /** How many attempts of its job have ended. */
  readonly attemptsMade: number;
  /** Why its last attempt failed. */
  readonly failedReason: string | undefined;
}

/** A queue that has to go on, so that the batch can finish. */
export interface OutstandingQueue {
  /** The name of the queue. */
  readonly name: string;
  /** How many workers are connected to it; undefined where Redis does not allow CLIENT LIST. */
  readonly workers: number | undefined;
  /** Whether the queue is paused. */
  readonly paused: boolean;
}
