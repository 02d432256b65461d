import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { BatchRedis } from '../redis/batch-redis.js';
import { repairSlice, resignLead, takeLead, unfinishedBatches } from '../redis/repair.js';

/** What the reconciler mended in one batch. */
export interface BatchRepair {
  readonly batchId: string;
  /** Members whose job is gone: they are missing from now on. */
  readonly missing: number;
  /** Members whose job had finished without the batch being told. */
  readonly settled: number;
  /** Whether the batch job was made to run. */
  readonly woken: boolean;
}

export interface ReconcilerOptions {
  /** Ms between two looks. */
  readonly intervalMs: number;
  /** Ms for which a member of a sealed batch may be registered without having a job. */
  readonly missingAfterMs: number;
}

/** How many batches, and how many dependencies of one batch, one command looks at. */
const BATCHES_PER_SLICE = 100;
const DEPENDENCIES_PER_SLICE = 500;
/** What one look may cost, in dependencies looked at, so that it is the same however much there is to look at. */
const BUDGET_PER_LOOK = 25_000;
/** What a command costs by itself, in the same unit. */
const COST_OF_A_COMMAND = 50;
/** A leader that misses this many looks has lost the lead. */
const LEASE_INTERVALS = 3;

/**
 * Repairs what no event tells: see `repairSlice`. One reconciler leads at a time, and goes round all unfinished batches in
 * slices, a bounded number of them per look.
 */
export class Reconciler {
  readonly #redis: BatchRedis;
  readonly #options: ReconcilerOptions;
  readonly #onRepair: (repair: BatchRepair) => void;
  readonly #onError: (error: unknown) => void;
  readonly #who = randomUUID();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** Where the round is: the rank of the next page of batches, this page's batches, and the cursor in the first of them. */
  #rank = 0;
  #page: string[] = [];
  #cursor = '0';

  constructor(
    redis: BatchRedis,
    options: ReconcilerOptions,
    { onRepair, onError }: { onRepair: (repair: BatchRepair) => void; onError: (error: unknown) => void },
  ) {
    this.#redis = redis;
    this.#options = options;
    this.#onRepair = onRepair;
    this.#onError = onError;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#look();
      } catch (error) {
        this.#onError(error);
      }
      await pause(this.#options.intervalMs, undefined, { signal, ref: false }).catch(() => {});
    }
    await resignLead(this.#redis, this.#who).catch(() => {});
  }

  async #look(): Promise<void> {
    if (!(await takeLead(this.#redis, this.#who, LEASE_INTERVALS * this.#options.intervalMs))) {
      return;
    }
    for (let budget = BUDGET_PER_LOOK; budget > 0 && !this.#stop.signal.aborted; ) {
      const seen = await this.#slice();
      if (seen === undefined) {
        return;
      }
      budget -= COST_OF_A_COMMAND + seen;
    }
  }

  /** One command: returns how many dependencies it looked at, undefined at the end of a round. */
  async #slice(): Promise<number | undefined> {
    const [batchId] = this.#page;
    if (batchId === undefined) {
      this.#page = await unfinishedBatches(this.#redis, this.#rank, this.#rank + BATCHES_PER_SLICE - 1);
      this.#rank = this.#page.length === 0 ? 0 : this.#rank + BATCHES_PER_SLICE;
      return this.#page.length === 0 ? undefined : 0;
    }
    const repair = await repairSlice(this.#redis, batchId, {
      cursor: this.#cursor,
      count: DEPENDENCIES_PER_SLICE,
      graceMs: this.#options.missingAfterMs,
    });
    this.#cursor = repair.cursor;
    if (repair.cursor === '0') {
      this.#page.shift();
    }
    if (repair.missing + repair.settled + repair.woken > 0) {
      this.#onRepair({ batchId, missing: repair.missing, settled: repair.settled, woken: repair.woken === 1 });
    }
    return repair.seen;
  }
}
