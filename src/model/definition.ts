import type { JobsOptions } from 'bullmq';
import type { StoredRun, StoredStage } from './workflow.js';

/** The events of a batch; the last two fire in this order, the others before them. */
export const EVENTS = ['death', 'attempted', 'complete', 'success'] as const;

/**
 * `death`: the first member has failed for good, here or in a child batch. `attempted`: every member has run at least
 * once. `complete`: sealed and every member settled. `success`: and all of them succeeded.
 */
export type BatchEvent = (typeof EVENTS)[number];

/** A callback as it is stored: everything resolved, so that any BatchWorker can enqueue it. */
export interface StoredCallback {
  readonly queue: string;
  readonly name: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly opts?: JobsOptions;
  /**
   * The token of the `on()` that registered it after the batch was created: no part of what another `createBatch` with
   * this id must agree with.
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
 * What a batch is: the data of its batch job, written once when the batch is created, and kept from being edited there.
 */
export interface BatchDefinition {
  /** Of the batch that it was made for: a copy of the batch job under another id is no batch. */
  readonly id: string;
  readonly description?: string;
  readonly parentId?: string;
  /** The queue that the batch was created from. */
  readonly queue: string;
  readonly on: { readonly [event in BatchEvent]?: readonly StoredCallback[] };
  readonly jobOptions?: JobsOptions;
  readonly policy?: FailurePolicy;
  /** Ms without a sign of life after which an open batch is abandoned. */
  readonly openTimeout: number;
  /** For how long, in seconds, and among how many, a finished batch is kept. */
  readonly keep: { readonly age?: number; readonly count?: number };
  /** What it is a run of, and which stage of the batch above it is. */
  readonly run?: StoredRun;
  readonly stage?: StoredStage;
  /** By which the trace that it was created in is found, when there is one. */
  readonly trace?: string;
  /** Tells this batch from an earlier one with the same id. */
  readonly nonce: string;
}

export interface CallbackName {
  readonly event: BatchEvent;
  readonly index: number;
  readonly callback: StoredCallback;
  readonly jobId: string;
}

/** The events that callbacks are registered for. */
export function eventsOf(on: BatchDefinition['on']): BatchEvent[] {
  return EVENTS.filter((event) => on[event] !== undefined);
}

/**
 * Deterministic, so that a callback is enqueued once whoever enqueues it; the Lua of snapshot.ts builds the same ids.
 */
export function callbackJobId(batchId: string, event: BatchEvent, index: number, nonce: string): string {
  return `${batchId}~${event}~${index}~${nonce}`;
}

export function callbacksOf(batchId: string, { on, nonce }: BatchDefinition): CallbackName[] {
  return EVENTS.flatMap((event) =>
    (on[event] ?? []).map((callback, index) => ({
      event,
      index,
      callback,
      jobId: callbackJobId(batchId, event, index, nonce),
    })),
  );
}

/** What the ids of a batch's callbacks begin with, by event; members' ids never do. */
export function callbackIdStarts(batchId: string): string[] {
  return EVENTS.map((event) => `${batchId}~${event}~`);
}

/** Whether a job of the batch is one of its callbacks, also one that was registered after the definition was read. */
export function isCallbackId(batchId: string, jobId: string): boolean {
  return callbackIdStarts(batchId).some((start) => jobId.startsWith(start));
}
