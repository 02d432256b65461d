import type { JobsOptions } from 'bullmq';
import type { StoredRun, StoredStage } from './workflow.js';

/** The events of a batch; the last two fire in this order, the others before them. */
export const EVENTS = ['death', 'attempted', 'complete', 'success'] as const;

/**
 * `death`: the first member has failed for good, here or in a child batch. `attempted`: every member has run at least
 * once. `complete`: sealed and every member settled. `success`: and all of them succeeded.
 */
export type BatchEvent = (typeof EVENTS)[number];

/** A callback as it is stored, with all defaults filled in, so that any BatchWorker can enqueue it. */
export interface StoredCallback {
  readonly queue: string;
  readonly name: string;
  readonly data?: Readonly<Record<string, unknown>> | undefined;
  readonly opts?: JobsOptions | undefined;
  /**
   * The token of the `on()` call that registered the callback after the batch was created. A later `createBatch` with
   * this id need not name such callbacks.
   */
  readonly late?: string;
}

/** What failures do to a batch, beyond being counted; percentages are of all members. */
export interface FailurePolicy {
  readonly cancelAfter?: number;
  readonly cancelAtPercent?: number;
  readonly succeedIfPercent?: number;
}

/**
 * What a batch is: written with the batch job when the batch is created, and not changed by edits of the job's data.
 */
export interface BatchDefinition {
  /** The id of the batch. In a copy of the batch job, whose id differs, it shows that the copy is not a batch. */
  readonly id: string;
  readonly description?: string | undefined;
  readonly parentId?: string | undefined;
  /** The queue that the batch was created from. */
  readonly queue: string;
  readonly on: { readonly [event in BatchEvent]?: readonly StoredCallback[] };
  readonly jobOptions?: JobsOptions | undefined;
  readonly policy?: FailurePolicy | undefined;
  /** Ms without a sign of life of the producer after which an open batch is abandoned. Default: OPEN_TIMEOUT_MS. */
  readonly openTimeout?: number | undefined;
  /** How long a finished batch is kept: `age` in seconds, `count` for the latest so many. Default: DEFAULT_KEEP. */
  readonly keep?: { readonly age?: number; readonly count?: number; readonly members?: boolean } | undefined;
  /** What its users keep with it; small. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  readonly tags?: readonly string[] | undefined;
  /** By when it is to have finished, in ms since the epoch by the clock of the process that created it. */
  readonly deadline?: number | undefined;
  /** What it is a run of, and which stage of the batch above it is. */
  readonly run?: StoredRun | undefined;
  readonly stage?: StoredStage | undefined;
  /** The trace context in which the batch was created, if there was one. */
  readonly trace?: string | undefined;
  /** A random text that tells this life of the id from an earlier batch with the same id. */
  readonly nonce: string;
}

/** The defaults of `openTimeout` and `keep`: 24 hours, and 7 days. Only other values are stored with a batch. */
export const OPEN_TIMEOUT_MS = 24 * 60 * 60 * 1000;
export const DEFAULT_KEEP = { age: 7 * 24 * 60 * 60 };

export function openTimeoutOf({ openTimeout = OPEN_TIMEOUT_MS }: Pick<BatchDefinition, 'openTimeout'>): number {
  return openTimeout;
}

export interface CallbackName {
  readonly event: BatchEvent;
  readonly index: number;
  readonly callback: StoredCallback;
  readonly jobId: string;
}

/** Returns the events for which callbacks are registered. */
export function eventsOf(on: BatchDefinition['on']): BatchEvent[] {
  return EVENTS.filter((event) => on[event] !== undefined);
}

/**
 * Returns the callbacks with the ids of their jobs. These are deterministic, so that a callback is enqueued once,
 * whichever process does it. isOwnCallback() in record/script.ts recognizes them.
 */
export function callbacksOf(batchId: string, { on, nonce }: BatchDefinition): CallbackName[] {
  return EVENTS.flatMap((event) =>
    (on[event] ?? []).map((callback, index) => ({
      event,
      index,
      callback,
      jobId: `${batchId}~${event}~${index}~${nonce}`,
    })),
  );
}

/**
 * Whether a job of the batch is one of its callbacks, also one that was registered after the definition was read. The
 * ids of members are refused when they begin so.
 */
export function isCallbackId(batchId: string, jobId: string): boolean {
  return EVENTS.some((event) => jobId.startsWith(`${batchId}~${event}~`));
}
