import type { JobsOptions } from 'bullmq';
import { jobKey } from './keys.js';

/** The events of a batch, in the order in which they fire. */
export const EVENTS = ['complete', 'success'] as const;

/** `complete`: sealed and every member settled. `success`: and all of them succeeded. */
export type BatchEvent = (typeof EVENTS)[number];

/** A callback as it is stored: everything resolved, so that any BatchWorker can enqueue it. */
export interface StoredCallback {
  readonly queue: string;
  readonly name: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly opts?: JobsOptions;
}

/** What a batch is: the data of its batch job, written once when the batch is created. */
export interface BatchDefinition {
  readonly description?: string;
  readonly parentId?: string;
  /** The queue that the batch was created from. */
  readonly queue: string;
  readonly on: { readonly [event in BatchEvent]?: readonly StoredCallback[] };
  readonly jobOptions?: JobsOptions;
  /** Ms without a sign of life after which an open batch is abandoned. */
  readonly openTimeout: number;
  /** For how long, in seconds, and among how many, a finished batch is kept. */
  readonly keep: { readonly age?: number; readonly count?: number };
  /** Tells this batch from an earlier one with the same id. */
  readonly nonce: string;
}

export interface CallbackName {
  readonly event: BatchEvent;
  readonly index: number;
  readonly callback: StoredCallback;
  readonly jobId: string;
}

/** Deterministic, so that a callback is enqueued once whoever enqueues it; the Lua of snapshot.ts builds the same ids. */
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

export function callbackKeys(prefix: string, batchId: string, definition: BatchDefinition): Set<string> {
  return new Set(callbacksOf(batchId, definition).map(({ callback, jobId }) => jobKey(prefix, callback.queue, jobId)));
}
