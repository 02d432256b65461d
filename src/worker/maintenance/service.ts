import type { NeedIndex } from '../../record/needs.js';

/** What maintenance mended in one batch. */
export interface BatchRepair {
  /** The id of the batch. */
  readonly batchId: string;
  /** Members whose job is gone: they are missing from now on. */
  readonly missing: number;
  /** Members whose job had finished, or was running again, without the batch being told. */
  readonly settled: number;
  /** Whether the batch job was made to run. */
  readonly woken: boolean;
}

/** The leader's time, as a service is given a part of it. */
export interface Turn {
  /** The name under which this process leads; what must not be done by two leaders compares it in Redis. */
  readonly who: string;
  /** Whether the turn is over: the lead is lost, or the BatchWorker closes. Nothing more is begun then. */
  readonly isOver: boolean;
  /** Tells of an error that does not end the round. */
  report(error: unknown): void;
  /** Tells what was mended. */
  repaired(repair: BatchRepair): void;
}

/**
 * One thing that maintenance does, for all batches that need it. A round goes once through them, in slices of some
 * milliseconds; each batch gets one bounded step per round, so that none keeps the others waiting. A slice may be
 * repeated, or run beside another leader's: what it does is one atomic step, or idempotent, or compares the lease.
 */
export interface Service {
  readonly name: string;
  /** Ms from the start of one round to the start of the next. */
  readonly intervalMs: number;
  /**
   * How long a round rests between its slices: so that it takes this share of the time, above 0 and up to 1; or so that
   * a slice begins at most every so many ms, for slices that are known to be short and are not to wait on a busy
   * machine.
   */
  readonly pace: { readonly share: number } | { readonly everyMs: number };
  /** The set of the batches that it is for: there is nothing to do while it is empty. */
  readonly index?: NeedIndex | undefined;
  /** Does a bounded part of the round; resolves with whether the round has ended. */
  slice(turn: Turn): Promise<boolean>;
  /** Forgets what it has seen, because another process may have led since. */
  reset?(): void;
}
