import { type BatchDefinition, type BatchEvent, callbacksOf } from './definition.js';

/** The members of a batch, jobs and child batches alike, by how they stand. Its callbacks are in none of the counts. */
export interface MemberCounts {
  /** How many members there are: always `pending + succeeded + failed + cancelled + missing`. */
  readonly total: number;
  /** Members that have not settled: they wait, run, or will be tried again. */
  readonly pending: number;
  /** Members that have succeeded. */
  readonly succeeded: number;
  /** Members that failed for good; one with attempts left is pending. */
  readonly failed: number;
  /** Members that `cancel()` removed. */
  readonly cancelled: number;
  /** Members that vanished without settling: removed, drained, evicted. */
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

/** One batch at one instant, as one atomic script reads it. */
export interface Snapshot {
  readonly definition: BatchDefinition;
  readonly createdAt: number;
  readonly sealedAt: number | undefined;
  readonly completedAt: number | undefined;
  /** The counts at the moment when `complete` became due, which its callbacks are given; undefined before. */
  readonly completedCounts: MemberCounts | undefined;
  readonly finishedAt: number | undefined;
  /** How the batch job ended in BullMQ. */
  readonly ended: 'completed' | 'failed' | undefined;
  /**
   * When the batch was abandoned, because its producer gave no sign of life; it fails when its members have settled.
   */
  readonly abandonedAt: number | undefined;
  /** For how many ms the batch may stay open from now on without a sign of life. */
  readonly openFor: number;
  readonly failedReason: string | undefined;
  /** Why one of the failed members failed; read only when the batch is judged. */
  readonly anyFailure?: string | undefined;
  readonly cancelledAt: number | undefined;
  readonly cancelReason: string | undefined;
  /** Of a stage: when it was released, and when it was found that it can never start, unless something is retried. */
  readonly startedAt?: number | undefined;
  readonly skippedAt?: number | undefined;
  /** When it was noted that a member of this batch or of one below has failed for good. */
  readonly diedAt: number | undefined;
  readonly attemptedAt: number | undefined;
  /** How many members failed for good, not counting child batches that were cancelled. 0 while `isToBeSorted`. */
  readonly deaths: number;
  /**
   * Whether members that BullMQ fails because of a cancel may be among the failed ones; sortCancelled() tells them
   * apart from others.
   */
  readonly isToBeSorted?: boolean;
  readonly counts: MemberCounts;
  /** How many child batches were created in it. */
  readonly childCount?: number;
  /** Of a batch with child batches: what BullMQ keeps as the `progress` of its job, as JSON. */
  readonly progress?: string | undefined;
  readonly callbacks: readonly CallbackSnapshot[];
  /**
   * The keys of jobs that were attached to the batch job by hand: they are not members, but the batch waits for them.
   */
  readonly strangers: readonly string[];
  /** Two snapshots with the same version have the same members in the same collections. */
  readonly version: string;
}

/** Returns the callbacks of a batch as they are before any of them is enqueued. */
export function pendingCallbacks(definition: BatchDefinition): CallbackSnapshot[] {
  return callbacksOf(definition.id, definition).map(({ event, index, callback: { queue, name }, jobId }) => ({
    ...{ event, index, queue, name, jobId },
    state: 'pending',
    failedReason: undefined,
  }));
}

/** Returns a sealed batch whose only member has succeeded, and of which no callback was enqueued. */
export function flawlessSnapshot(definition: BatchDefinition): Snapshot {
  const counts = { total: 1, pending: 0, succeeded: 1, failed: 0, cancelled: 0, missing: 0 };
  return {
    definition,
    counts,
    completedCounts: counts,
    callbacks: pendingCallbacks(definition),
    ...{ createdAt: 0, sealedAt: 0, completedAt: 0, finishedAt: undefined, ended: undefined },
    ...{ abandonedAt: undefined, openFor: 0, failedReason: undefined, cancelledAt: undefined, cancelReason: undefined },
    ...{ diedAt: undefined, attemptedAt: undefined, deaths: 0, strangers: [], version: '' },
  };
}
