import type { BatchContext } from '../../batch/batch-context.js';
import { refreshRow } from '../../batch/row.js';
import { repairFlowSlice, repairSlice } from '../../record/repair.js';
import { type FailuresTask, failuresTask, recheckFailures } from './recheck.js';
import type { Service, Turn } from './service.js';
import { Turns } from './turns.js';

const MEMBERS_PER_SLICE = 500;
/** How many batches get a step in one slice. Fewer rows are written: only people read them, and they can wait. */
const BATCHES_PER_SLICE = 20;
const ROWS_PER_SLICE = 5;
/** A step for one batch, of one command: what to check, and where to begin. */
type Task =
  | { readonly batchId: string; readonly check: 'dependencies'; readonly cursor: string }
  | (FailuresTask & { readonly check: 'failures' })
  | {
      readonly batchId: string;
      readonly check: 'flow';
      readonly key: string;
      readonly cursor: string;
      /**
       * The jobs of this flow that were looked at already. Jobs that were attached by hand may be children of each
       * other.
       */
      readonly seen: Set<string>;
    };

/** What was found in the batch itself, without a look at its members. */
export interface Found {
  readonly isClosed: boolean;
  /** Whether it was closed, or the number of its dependencies has changed, since the last look. */
  readonly hasMoved: boolean;
  /** Whether any of its members or callbacks has failed. */
  readonly hasFailures: boolean;
}

/**
 * Mends the damage to members that no event tells; record/repair.ts says which. `unfinishedBatches` hands the batches
 * over; each of those in line has one slice of its members looked at before any has its next.
 */
export class LostMembers implements Service {
  readonly name = 'lost members';
  /** 0: a round starts whenever a batch is in line. */
  readonly intervalMs = 0;
  readonly pace = { share: 0.1 };
  readonly #context: BatchContext;
  readonly #missingAfterMs: number;
  readonly #turns = new Turns<Task>();
  readonly #rows = new Turns<{ readonly batchId: string }>();

  constructor(context: BatchContext, missingAfterMs: number) {
    this.#context = context;
    this.#missingAfterMs = missingAfterMs;
  }

  /** Puts a batch in line, unless it is there. */
  add(batchId: string, { isClosed, hasMoved, hasFailures }: Found): void {
    if (hasMoved) {
      this.#addOnce(this.#rows, [{ batchId }]);
    }
    this.#addOnce(this.#turns, [
      // The members of a batch that makes progress are not checked: if something holds it, it stops, and is checked
      // then.
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
      ...this.#rows.take(ROWS_PER_SLICE).map(({ batchId }) => this.#refreshRow(batchId)),
    ];
    await Promise.all(steps.map((step) => step.catch((error) => turn.report(error))));
    return this.#turns.size === 0 && this.#rows.size === 0;
  }

  async #refreshRow(batchId: string): Promise<void> {
    const parentId = await refreshRow(this.#context, batchId);
    if (parentId !== undefined) {
      this.#addOnce(this.#rows, [{ batchId: parentId }]);
    }
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
    const { cursor, missing, settled, woken, flows } = await repairSlice(this.#context.redis, batchId, {
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

  /** Mends a flow in which a job below the root has vanished. */
  async #checkFlow(task: Task & { check: 'flow' }, turn: Turn): Promise<void> {
    const { batchId, key, seen } = task;
    const { cursor, mended, flows } = await repairFlowSlice(this.#context.redis, key, {
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
    const next = await recheckFailures(this.#context, task, turn);
    if (next !== undefined) {
      this.#turns.add({ ...next, check: 'failures' });
    }
  }
}
