import type { BatchDefinition, BatchEvent } from './definition.js';

/** The members of a batch by how they stand; the batch's own callbacks are in none of them. */
export interface Counts {
  readonly total: number;
  readonly pending: number;
  readonly succeeded: number;
  readonly failed: number;
  /** Removed by `cancel()`. */
  readonly cancelled: number;
  /** Vanished without settling: removed, drained, evicted. */
  readonly missing: number;
}

/** `pending`: not enqueued yet; `enqueued`: waiting, running or retrying. */
export type CallbackState = 'pending' | 'enqueued' | 'succeeded' | 'failed';

export interface CallbackSnapshot {
  readonly event: BatchEvent;
  readonly index: number;
  readonly queue: string;
  readonly name: string;
  readonly jobId: string;
  readonly state: CallbackState;
  readonly failedReason: string | undefined;
}

/** Everything that is known of one batch at one instant. */
export interface Snapshot {
  readonly definition: BatchDefinition;
  readonly createdAt: number;
  readonly sealedAt: number | undefined;
  readonly completedAt: number | undefined;
  /** The counts when `complete` became due: what its callbacks are told. */
  readonly completedCounts: Counts | undefined;
  readonly finishedAt: number | undefined;
  /** How the batch job ended in BullMQ. */
  readonly ended: 'completed' | 'failed' | undefined;
  /** When the batch was given up because its producer was: its members settle, and it fails. */
  readonly abandonedAt: number | undefined;
  /** Ms for which it may stay open without a sign of life. */
  readonly openFor: number;
  readonly failedReason: string | undefined;
  /** Why one of its members failed: read when the batch is judged. */
  readonly anyFailure?: string | undefined;
  readonly cancelledAt: number | undefined;
  readonly cancelReason: string | undefined;
  /** Of a stage: when it was released, and when it was found that it can never start, unless something is retried. */
  readonly startedAt?: number | undefined;
  readonly skippedAt?: number | undefined;
  /** When it was found that a member has failed for good, here or further down; that every member has run. */
  readonly diedAt: number | undefined;
  readonly attemptedAt: number | undefined;
  /** How many members failed for good, child batches that were cancelled apart; 0 while that `isToBeSorted`. */
  readonly deaths: number;
  /** Members that BullMQ fails for the sake of a cancel may be among those that have failed; see sortCancelled(). */
  readonly isToBeSorted?: boolean;
  readonly counts: Counts;
  readonly callbacks: readonly CallbackSnapshot[];
  /**
   * The keys of jobs that were attached to the batch job by hand: they are no members, but the batch waits for them.
   */
  readonly strangers: readonly string[];
  /** Two snapshots with the same version have the same members in the same collections. */
  readonly version: string;
}
