import type { BatchEvent } from '../model/definition.js';
import { type BatchState, isGoodEnough, progressOf, stateOf } from '../model/rules.js';
import type { CallbackState, Snapshot } from '../model/snapshot.js';

/**
 * Where a batch stands. Members are jobs and child batches alike; the batch's own callbacks are never counted. Times
 * are ms since the epoch.
 */
export interface BatchStatus {
  readonly id: string;
  readonly description: string | undefined;
  /**
   * `open` → `running` → `finishing` (callbacks outstanding) → `succeeded`, `failed` or `cancelled`. A stage of a
   * workflow is `waiting` before it runs, and ends `skipped` when it cannot start.
   */
  readonly state: BatchState;
  readonly sealed: boolean;
  /** `total` is always `pending + succeeded + failed + cancelled + missing`. */
  readonly total: number;
  readonly pending: number;
  readonly succeeded: number;
  /** Members that failed for good; one with attempts left is pending. */
  readonly failed: number;
  /** Members that `cancel()` removed. */
  readonly cancelled: number;
  /** Members that vanished without settling: removed, drained, evicted. */
  readonly missing: number;
  /** Settled ÷ total in whole percent; 100 only when the batch has finished. */
  readonly progress: number;
  readonly parentId: string | undefined;
  readonly createdAt: number;
  readonly sealedAt: number | undefined;
  /** When the last member was settled: when `complete` became due. */
  readonly completedAt: number | undefined;
  /** When its callbacks were settled too. */
  readonly finishedAt: number | undefined;
  readonly callbacks: readonly CallbackStatus[];
  /**
   * It was never sealed and its producer gave no sign of life for `openTimeout`; sealing it, or adding to it, revives
   * it.
   */
  readonly abandoned: boolean;
  /** What `cancel(reason)` was given, or the failure policy's reason. */
  readonly cancelReason: string | undefined;
  /** It had finished with failures, and has succeeded since: after a retry of what had failed. */
  readonly recovered: boolean;
  /** Why the batch failed, in a sentence. */
  readonly failedReason: string | undefined;
  /** Which stage of its parent, a run of a workflow, it is. */
  readonly stage?: string;
}

export interface CallbackStatus {
  readonly event: BatchEvent;
  readonly queue: string;
  readonly name: string;
  readonly jobId: string;
  /** `pending`: its event has not happened; `enqueued`: waiting, running or retrying. */
  readonly state: CallbackState;
}

export function statusOf(id: string, snapshot: Snapshot): BatchStatus {
  const { definition, counts, ended } = snapshot;
  return {
    id,
    description: definition.description,
    state: stateOf(snapshot),
    sealed: snapshot.sealedAt !== undefined,
    ...counts,
    progress: progressOf(counts, ended !== undefined),
    parentId: definition.parentId,
    createdAt: snapshot.createdAt,
    sealedAt: snapshot.sealedAt,
    completedAt: snapshot.completedAt,
    finishedAt: snapshot.finishedAt,
    callbacks: snapshot.callbacks.map(({ event, queue, name, jobId, state }) => ({ event, queue, name, jobId, state })),
    abandoned: snapshot.abandonedAt !== undefined,
    cancelReason: snapshot.cancelReason,
    recovered: ended === 'completed' && hadFailures(snapshot),
    failedReason: ended === 'failed' ? snapshot.failedReason : undefined,
    ...(definition.stage === undefined ? {} : { stage: definition.stage.name }),
  };
}

function hadFailures({ completedCounts, definition }: Snapshot): boolean {
  return completedCounts !== undefined && !isGoodEnough(completedCounts, definition.policy);
}
