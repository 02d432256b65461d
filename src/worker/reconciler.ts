import { randomUUID } from 'node:crypto';
import type { Home } from '../batch/home.js';
import { continueRemoval, expireBatch } from '../batch/remove.js';
import { revive } from '../batch/retry.js';
import { refreshRow } from '../batch/row.js';
import { isToBeRevived } from '../batch/rules.js';
import { expiredBatches } from '../redis/expiry.js';
import { resignLease, takeLease } from '../redis/lease.js';
import { failedBatches, recheckSlice, repairFlowSlice, repairSlice, unfinishedBatches } from '../redis/repair.js';
import { readSnapshot } from '../redis/snapshot.js';
import { Rounds } from './rounds.js';

/** What the reconciler mended in one batch. */
export interface BatchRepair {
  readonly batchId: string;
  /** Members whose job is gone: they are missing from now on. */
  readonly missing: number;
  /** Members whose job had finished, or was running again, without the batch being told. */
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
const MEMBERS_PER_SLICE = 500;
/** What one look may cost, in members looked at, so that it is the same however much there is to look at. */
const BUDGET_PER_LOOK = 25_000;
/** What a command costs by itself, in the same unit. */
const COST_OF_A_COMMAND = 50;
/** A leader that misses this many looks has lost the lead. */
const LEASE_INTERVALS = 3;

/** The parts of a round: what is looked at, of which batches. */
const PARTS = [
  { list: unfinishedBatches, checks: ['dependencies', 'failures'] },
  { list: failedBatches, checks: ['failures', 'verdict'] },
  { list: expiredBatches, checks: ['removal'] },
] as const;

/**
 * Repairs what no event tells, see redis/repair.ts, and lets failed batches run again whose members were retried by hand.
 * One reconciler leads at a time, and goes round all batches that have not succeeded, a bounded amount of work per look.
 */
export class Reconciler {
  readonly #home: Home;
  readonly #options: ReconcilerOptions;
  readonly #onRepair: (repair: BatchRepair) => void;
  readonly #who = randomUUID();
  readonly #rounds: Rounds;
  /** Where the round is: the part, the rank of its next page, this page's batches; the check and cursor in the first of them. */
  #part = 0;
  #rank = 0;
  #page: string[] = [];
  #check = 0;
  #cursor = '0';
  /** How many dependencies each batch had, in the last round and in this one. */
  #before: ReadonlyMap<string, number> = new Map();
  #outstanding = new Map<string, number>();

  constructor(
    home: Home,
    options: ReconcilerOptions,
    { onRepair, onError }: { onRepair: (repair: BatchRepair) => void; onError: (error: unknown) => void },
  ) {
    this.#home = home;
    this.#options = options;
    this.#onRepair = onRepair;
    this.#rounds = new Rounds(options.intervalMs, () => this.#look(), onError);
  }

  start(): void {
    this.#rounds.start();
  }

  async close(): Promise<void> {
    await this.#rounds.close();
    await resignLease(this.#home.redis, 'leader', this.#who).catch(() => {});
  }

  async #look(): Promise<void> {
    if (!(await takeLease(this.#home.redis, 'leader', this.#who, LEASE_INTERVALS * this.#options.intervalMs))) {
      return;
    }
    for (let budget = BUDGET_PER_LOOK; budget > 0 && !this.#rounds.isClosing; ) {
      const [batchId] = this.#page;
      if (batchId === undefined && !(await this.#nextPage())) {
        return;
      }
      budget -= COST_OF_A_COMMAND + (batchId === undefined ? 0 : await this.#sliceOrSkip(batchId));
    }
  }

  /** False at the end of a round. */
  async #nextPage(): Promise<boolean> {
    const { list } = this.#currentPart;
    const page = await list(this.#home.redis, this.#rank, this.#rank + BATCHES_PER_SLICE - 1).catch((error) => {
      // As if the list ended here: the other parts of the round must not wait for it.
      this.#rounds.report(error);
      return undefined;
    });
    this.#page = page ?? [];
    this.#rank += BATCHES_PER_SLICE;
    if (page !== undefined) {
      return true;
    }
    this.#rank = 0;
    this.#part = (this.#part + 1) % PARTS.length;
    if (this.#part !== 0) {
      return true;
    }
    this.#before = this.#outstanding;
    this.#outstanding = new Map();
    return false;
  }

  get #currentPart() {
    return PARTS[this.#part] ?? PARTS[0];
  }

  /** One batch that cannot be looked at must not keep the others from being repaired: the next round tries it again. */
  async #sliceOrSkip(batchId: string): Promise<number> {
    try {
      return await this.#slice(batchId);
    } catch (error) {
      this.#page.shift();
      this.#check = 0;
      this.#cursor = '0';
      this.#rounds.report(error);
      return MEMBERS_PER_SLICE;
    }
  }

  /** One command's worth of one batch; returns how many members it looked at. */
  async #slice(batchId: string): Promise<number> {
    switch (this.#currentPart.checks[this.#check]) {
      case 'dependencies':
        return this.#checkDependencies(batchId);
      case 'failures':
        return this.#checkFailures(batchId);
      case 'verdict':
        return this.#checkVerdict(batchId);
      default:
        return this.#remove(batchId);
    }
  }

  async #checkDependencies(batchId: string): Promise<number> {
    const { cursor, missing, settled, woken, seen, flows, isRemoved, outstanding } = await repairSlice(
      this.#home.redis,
      batchId,
      {
        before: this.#before.get(batchId),
        cursor: this.#cursor,
        count: MEMBERS_PER_SLICE,
        graceMs: this.#options.missingAfterMs,
      },
    );
    const hasMoved = this.#before.get(batchId) !== outstanding;
    this.#outstanding.set(batchId, outstanding);
    this.#goOn(cursor);
    if (isRemoved) {
      await continueRemoval(this.#home, batchId);
    } else if (hasMoved && cursor === '0') {
      await refreshRow(this.#home, batchId).catch((error) => this.#rounds.report(error));
    }
    if (missing + settled + woken > 0) {
      this.#onRepair({ batchId, missing, settled, woken: woken === 1 });
    }
    for (const flow of flows) {
      if ((await this.#checkFlow(flow)) > 0) {
        this.#onRepair({ batchId, missing: 0, settled: 0, woken: true });
      }
    }
    return seen + (flows.length + (hasMoved ? 2 : 0)) * COST_OF_A_COMMAND;
  }

  /** What is gone somewhere below the root of a flow; returns how much was mended. */
  async #checkFlow(key: string): Promise<number> {
    let [total, cursor] = [0, '0'];
    do {
      const slice = await repairFlowSlice(this.#home.redis, key, { cursor, count: MEMBERS_PER_SLICE });
      total += slice.mended;
      for (const below of slice.flows) {
        total += await this.#checkFlow(below);
      }
      cursor = slice.cursor;
    } while (cursor !== '0');
    return total;
  }

  async #checkFailures(batchId: string): Promise<number> {
    const { redis } = this.#home;
    const { cursor, moved, seen } = await recheckSlice(redis, batchId, {
      cursor: this.#cursor,
      count: MEMBERS_PER_SLICE,
    });
    this.#goOn(cursor);
    if (moved > 0) {
      this.#onRepair({ batchId, missing: 0, settled: moved, woken: false });
    }
    return seen;
  }

  /** A batch that has failed, but would not fail now, runs again; in the next round its parent may. */
  async #checkVerdict(batchId: string): Promise<number> {
    const snapshot = await readSnapshot(this.#home.redis, batchId);
    if (snapshot !== undefined && isToBeRevived(snapshot)) {
      await revive(this.#home, batchId);
      this.#onRepair({ batchId, missing: 0, settled: 0, woken: true });
    }
    this.#goOn('0');
    return 1;
  }

  async #remove(batchId: string): Promise<number> {
    // What is left of a large one, the next round goes on with: it must not keep others waiting.
    await expireBatch(this.#home, batchId);
    this.#goOn('0');
    return MEMBERS_PER_SLICE;
  }

  /** To the cursor in this check, or else to the next check or batch. */
  #goOn(cursor: string): void {
    this.#cursor = cursor;
    if (cursor !== '0') {
      return;
    }
    this.#check += 1;
    if (this.#check >= this.#currentPart.checks.length) {
      this.#check = 0;
      this.#page.shift();
    }
  }
}
