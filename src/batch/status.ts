import { BatchNotFoundError } from '../errors.js';
import type { BatchEvent } from '../model/definition.js';
import { type BatchState, isGoodEnough, progressOf, stateOf } from '../model/rules.js';
import type { CallbackState, MemberCounts, Snapshot } from '../model/snapshot.js';
import type { When } from '../model/workflow.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import type { TreeJobs } from './jobs-below.js';

/**
 * Where a batch stands. Members are jobs and child batches alike; the batch's own callbacks are never counted. Times
 * are ms since the epoch.
 */
export interface BatchStatus extends MemberCounts {
  /** The id of the batch. */
  readonly id: string;
  /** What `createBatch` was given for people to read in lists. */
  readonly description: string | undefined;
  /**
   * `open` → `running` → `finishing` (callbacks outstanding) → `succeeded`, `failed` or `cancelled`. A stage of a
   * workflow is `waiting` before it runs, and ends `skipped` when it cannot start.
   */
  readonly state: BatchState;
  /** Whether `seal()` was called: only a sealed batch can succeed. */
  readonly sealed: boolean;
  /** Settled ÷ total in whole percent; 100 only when the batch has finished. */
  readonly progress: number;
  /**
   * Of a batch with child batches: its jobs and those of all batches below it, as BatchWorkers have added them up last,
   * some seconds ago at most; `tree()` adds them up now. Absent before the first time.
   */
  readonly jobs?: TreeJobs;
  /** The id of the parent batch, if there is one. */
  readonly parentId: string | undefined;
  /** When the batch was created. */
  readonly createdAt: number;
  /** When the batch was sealed. */
  readonly sealedAt: number | undefined;
  /** When the last member was settled: when `complete` became due. */
  readonly completedAt: number | undefined;
  /** When the batch ended: its callbacks were settled too. */
  readonly finishedAt: number | undefined;
  /** The callbacks of the batch, each with its state. */
  readonly callbacks: readonly CallbackStatus[];
  /**
   * Whether the batch was given up because it was never sealed and its producer gave no sign of life for
   * `openTimeout`. Sealing it, or adding to it, revives it.
   */
  readonly abandoned: boolean;
  /** By when it is to have finished, in ms since the epoch; undefined without a deadline. */
  readonly deadline: number | undefined;
  /** What is kept with the batch; see `updateMetadata()`. */
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  /** The tags that the batch was created with, for finding it in lists; none by default. */
  readonly tags: readonly string[];
  /** What `cancel(reason)` was given, or the failure policy's reason. */
  readonly cancelReason: string | undefined;
  /** Whether the batch had finished with failures and has succeeded since, after a retry of what had failed. */
  readonly recovered: boolean;
  /** Why the batch failed, in a sentence. */
  readonly failedReason: string | undefined;
  /** Which stage of its parent, a run of a workflow, it is. */
  readonly stage?: string;
  /** Of a run of a workflow: where its stages stand, in the order of the workflow's definition. */
  readonly stages?: readonly StageStatus[];
}

/** Where one stage of a run stands: a child batch of it. */
export interface StageStatus
  extends MemberCounts,
    Pick<BatchStatus, 'id' | 'state' | 'progress' | 'failedReason' | 'finishedAt'> {
  /** Its name in the workflow. */
  readonly name: string;
  /** The stages that it comes after. */
  readonly after: readonly string[];
  /** How these must have finished, so that it starts. */
  readonly when: When;
  /** When its members were, or began to be, added. */
  readonly startedAt: number | undefined;
  /** Of a stage that is a workflow: its own stages. */
  readonly stages?: readonly StageStatus[];
}

/** One callback of a batch, and how far it is. */
export interface CallbackStatus {
  /** The event that it is registered for. */
  readonly event: BatchEvent;
  /** The name of the queue that its job goes to. */
  readonly queue: string;
  /** The name of its job. */
  readonly name: string;
  /** The id of its job. */
  readonly jobId: string;
  /** `pending`: its event has not happened; `enqueued`: waiting, running or retrying. */
  readonly state: CallbackState;
}

/**
 * Reads a batch that must be there.
 *
 * @throws BatchNotFoundError when there is none with this id.
 */
export async function snapshotOf({ redis }: BatchContext, batchId: string): Promise<Snapshot> {
  const snapshot = await readSnapshot(redis, batchId);
  if (snapshot === undefined) {
    throw new BatchNotFoundError(batchId);
  }
  return snapshot;
}

export function statusOf(snapshot: Snapshot): BatchStatus {
  const { definition, counts, completedCounts, ended } = snapshot;
  const hadFailed = completedCounts !== undefined && !isGoodEnough(completedCounts, definition.policy);
  return {
    id: definition.id,
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
    deadline: definition.deadline,
    metadata: definition.metadata,
    tags: definition.tags ?? [],
    cancelReason: snapshot.cancelReason,
    recovered: ended === 'completed' && hadFailed,
    failedReason: ended === 'failed' ? snapshot.failedReason : undefined,
    ...(definition.stage && { stage: definition.stage.name }),
  };
}
