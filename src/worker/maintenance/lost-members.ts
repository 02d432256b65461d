import type { Home } from '../../batch/home.js';
import { refreshRow } from '../../batch/row.js';
import { repairFlowSlice, repairSlice } from '../../record/repair.js';
import { type FailuresTask, failuresTask, recheckFailures } from './recheck.js';
import type { Service, Turn } from './service.js';
import { Turns } from './turns.js';

const MEMBERS_PER_SLICE = 500;
/** How many batches have a step in one slice; the rows are what people see, and have time. */
const BATCHES_PER_SLICE = 20;
const ROWS_PER_SLICE = 5;
/** One command's worth of one batch, and where the next one begins. */
type Task =
  | { readonly batchId: string; readonly check: 'dependencies'; readonly cursor: string }
  | (FailuresTask & { readonly check: 'failures' })
  | {
      readonly batchId: string;
      readonly check: 'flow';
      readonly key: string;
      readonly cursor: string;
      /** The jobs of this flow that were looked at: jobs that were attached by hand may be each other's children. */
      readonly seen: Set<string>;
    };

/** What a look at a batch itself has found. */
export interface Found {
  readonly isClosed: boolean;
  /** Whether the number of its dependencies has changed since the last look. */
  readonly hasMoved: boolean;
  /** Whether any of its members or callbacks has failed. */
  readonly hasFailures: boolean;
}

/**
 * Mends what no event tells of the members of a batch, see record/repair.ts. Batches come here from the looks at all
 * batches, and each in line has one slice of its members looked at before the first one has its next.
 */
export class LostMembers implements Service {
  readonly name = 'lost members';
  /** Whenever there is a batch in line. */
  readonly intervalMs = 0;
  readonly pace = { share: 0.1 };
  readonly #home: Home;
  readonly #missingAfterMs: number;
  readonly #turns = new Turns<Task>();
  readonly #rows = new Turns<{ readonly batchId: string }>();

  constructor(home: Home, missingAfterMs: number) {
    this.#home = home;
    this.#missingAfterMs = missingAfterMs;
  }

  /** Takes a batch up, unless it is being looked at. */
  add(batchId: string, { isClosed, hasMoved, hasFailures }: Found): void {
    if (hasMoved) {
      this.#addOnce(this.#rows, [{ batchId }]);
    }
    this.#addOnce(this.#turns, [
      // A batch that goes on is looked at more closely when it stops: what holds it will still be there.
      ...(hasMoved || !isClosed ? [] : [{ batchId, check: 'dependencies', cursor: '0' } as const]),
      ...(hasFailures ? [{ ...failuresTask(batchId), check: 'failures' } as const] : []),
    ]);
  }

  #addOnce<T extends { readonly batchId: string }>(turns: Turns<T>, tasks: readonly T[]): void {
    const inLine = tasks.some(({ batchId }) => turns.has(batchId));
    for (const task of inLine ? [] : tasks) {
      turns.add(task);
    }
  }

  reset(): void {
    this.#turns.clear();
    this.#rows.clear();
  }

  async slice(turn: Turn): Promise<boolean> {
    const steps = [
      ...this.#turns.take(BATCHES_PER_SLICE).map((task) => this.#do(task, turn)),
      ...this.#rows.take(ROWS_PER_SLICE).map(({ batchId }) => refreshRow(this.#home, batchId)),
    ];
    await Promise.all(steps.map((step) => step.catch((error) => turn.report(error))));
    return this.#turns.size === 0 && this.#rows.size === 0;
  }

  async #do(task: Task, turn: Turn): Promise<void> {
    switch (task.check) {
      case 'dependencies':
        return this.#checkDependencies(task, turn);
      case 'failures':
        return this.#checkFailures(task, turn);
      case 'flow':
        return this.#checkFlow(task, turn);
    }
  }

  async #checkDependencies(task: Task & { check: 'dependencies' }, turn: Turn): Promise<void> {
    const { batchId } = task;
    const { cursor, missing, settled, woken, flows } = await repairSlice(this.#home.redis, batchId, {
      cursor: task.cursor,
      count: MEMBERS_PER_SLICE,
      graceMs: this.#missingAfterMs,
    });
    if (missing > 0 || settled > 0 || woken) {
      turn.repaired({ batchId, missing, settled, woken });
    }
    for (const key of flows) {
      this.#turns.add({ batchId, check: 'flow', key, cursor: '0', seen: new Set([key]) });
    }
    if (cursor !== '0') {
      this.#turns.add({ ...task, cursor });
    }
  }

  /** What is gone somewhere below the root of a flow. */
  async #checkFlow(task: Task & { check: 'flow' }, turn: Turn): Promise<void> {
    const { batchId, key, seen } = task;
    const { cursor, mended, flows } = await repairFlowSlice(this.#home.redis, key, {
      cursor: task.cursor,
      count: MEMBERS_PER_SLICE,
    });
    if (mended > 0) {
      turn.repaired({ batchId, missing: 0, settled: 0, woken: true });
    }
    for (const below of flows.filter((flow) => !seen.has(flow))) {
      seen.add(below);
      this.#turns.add({ batchId, check: 'flow', key: below, cursor: '0', seen });
    }
    if (cursor !== '0') {
      this.#turns.add({ ...task, cursor });
    }
  }

  async #checkFailures(task: Task & { check: 'failures' }, turn: Turn): Promise<void> {
    const next = await recheckFailures(this.#home, task, turn);
    if (next !== undefined) {
      this.#turns.add({ ...next, check: 'failures' });
    }
  }
}
