import type { BatchEvent } from './definition.js';
import type { JobState } from './job-facts.js';
import type { BatchState } from './rules.js';
import type { CallbackState } from './snapshot.js';

/**
 * What holds a batch. Times are ms since the epoch. Members are looked at page by page: what changes meanwhile is seen
 * as it was, or as it is.
 */
export interface BatchExplanation {
  readonly id: string;
  readonly description: string | undefined;
  readonly state: BatchState;
  /** What holds it and what to do about it, in sentences for people; the most important first, at least one. */
  readonly reasons: readonly string[];
  readonly sealed: boolean;
  readonly createdAt: number;
  /** When its producer last added, or said that it lives; undefined before the first time. */
  readonly lastSignOfLifeAt: number | undefined;
  /**
   * How many of the outstanding jobs were looked at, when there are too many to look at all: the counts in `members` are
   * estimates then, from these. Undefined when all were looked at.
   */
  readonly sampled: number | undefined;
  /** The jobs that are outstanding, by queue and state. */
  readonly members: readonly OutstandingMembers[];
  /** The child batches that are outstanding. */
  readonly children: readonly OutstandingChildren[];
  /**
   * The keys of outstanding jobs that were attached to the batch job by hand, with BullMQ's own methods: they are no
   * members, and counted nowhere, but BullMQ lets the batch wait for them.
   */
  readonly strangers: readonly string[];
  /** The callbacks that are due, queued, running, being retried, or have failed. */
  readonly callbacks: readonly OutstandingCallback[];
  /**
   * The queues that have to go on: first that of the batches, whose workers are the BatchWorkers, then those of members
   * and callbacks.
   */
  readonly queues: readonly OutstandingQueue[];
}

export interface OutstandingMembers {
  readonly queue: string;
  /**
   * Where BullMQ has them. `no job`: never stored, or removed without BullMQ telling. `completed` and `failed` wait to
   * be repaired. A child batch is here, with the queue of the batches, only in these three.
   */
  readonly state: JobState;
  readonly count: number;
  /** How many of them have failed an attempt and will be tried again. */
  readonly failing: number;
  /** Up to 3 of them, oldest first. */
  readonly oldest: readonly OutstandingMember[];
}

export interface OutstandingMember {
  readonly id: string;
  readonly name: string | undefined;
  /** When it was added. */
  readonly timestamp: number | undefined;
  readonly attemptsMade: number;
  /** Why its last attempt failed. */
  readonly failedReason: string | undefined;
}

export interface OutstandingChildren {
  /** `running` includes `finishing`, as in `getBatches`. */
  readonly state: 'open' | 'running';
  readonly count: number;
  /** Up to 3 of them, oldest first. */
  readonly oldest: readonly OutstandingChild[];
}

export interface OutstandingChild {
  readonly id: string;
  readonly description: string | undefined;
  readonly state: BatchState;
  readonly pending: number;
}

export interface OutstandingCallback {
  readonly event: BatchEvent;
  readonly queue: string;
  readonly name: string;
  readonly jobId: string;
  /** `pending`: due, and not enqueued yet. */
  readonly state: CallbackState;
  readonly jobState: JobState;
  readonly attemptsMade: number;
  /** Why its last attempt failed. */
  readonly failedReason: string | undefined;
}

export interface OutstandingQueue {
  readonly name: string;
  /** How many workers are connected to it; undefined where Redis does not allow CLIENT LIST. */
  readonly workers: number | undefined;
  readonly paused: boolean;
}
