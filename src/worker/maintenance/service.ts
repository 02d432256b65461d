import type { NeedIndex } from '../../record/needs.js';

/** What maintenance mended in one batch. */
export interface BatchRepair {
  /** The id of the batch. */
  readonly batchId: string;
  /** Members whose job is gone: they are missing from now on. */
  readonly missing: number;
  /** Members whose job had finished, or was running again, without a trace of it in the batch. */
  readonly settled: number;
  /** Whether the batch job was made to run. */
  readonly woken: boolean;
}

/** What a service gets for one slice: who leads, for how long, and where to report. */
export interface Turn {
  /** The name under which this process leads. A step that two leaders must not both do compares it in Redis. */
  readonly who: string;
  /** Whether the lead is lost, or the BatchWorker closes: then the service begins nothing more. */
  readonly isOver: boolean;
  /** Reports an error that does not end the round. */
  report(error: unknown): void;
  /** Reports what was mended. */
  repaired(repair: BatchRepair): void;
}

/**
 * One task of maintenance, for all batches that need it. A round goes through these batches once, in slices of some
 * milliseconds. Each batch gets one bounded step per round, so that none keeps the others waiting. A slice may be
 * repeated, or run beside that of another leader: its steps are atomic, or idempotent, or compare the lease.
 */
export interface Service {
  /** Ms from the start of one round to the start of the next. */
  readonly intervalMs: number;
  /**
   * How long a round rests between its slices: `share` is the part of the time that slices may take, above 0 and up to
   * 1; `everyMs` is the shortest time from the start of a slice to the next, for slices that are known to be short.
   */
  readonly pace: { readonly share: number } | { readonly everyMs: number };
  /**
   * The set of the batches that need this service: while it is empty there is nothing to do. Default: none, the service
   * always runs.
   */
  readonly index?: NeedIndex | undefined;
  /** Does a bounded part of the round. Resolves with true when the round has ended. */
  slice(turn: Turn): Promise<boolean>;
  /** Forgets the steps that it was about to do, because another process may have led, and done them, since. */
  reset?(): void;
}
