import type { BatchContext } from '../../batch/batch-context.js';
import { refreshRow } from '../../batch/row.js';
import { type RepairTask, repair, repairTask } from './repair-task.js';
import { RoundRobin } from './round-robin.js';
import type { Service, Turn } from './service.js';

/** How many batches, and how many rows, get a step in one slice. Only people read rows, and they can wait. */
const BATCHES_PER_SLICE = 20;
const ROWS_PER_SLICE = 5;

/** What was found in the batch itself, without a look at its members. */
export interface Found {
  readonly isClosed: boolean;
  /** Whether it was closed, or the number of its dependencies has changed, since the last look. */
  readonly hasMoved: boolean;
  /** Whether any of its members or callbacks has failed. */
  readonly hasFailures: boolean;
}

/**
 * Mends the damage to members that BullMQ reports by no event; record/repair.ts says which. It also writes the rows
 * that people see of unfinished batches, and of those above them, when their numbers have moved. `unfinishedBatches`
 * hands the batches over; each of those in line has one slice of its members looked at before any has its next.
 */
export class LostMembers implements Service {
  /** 0: a round starts whenever a batch is in line. */
  readonly intervalMs = 0;
  readonly pace = { share: 0.1 };
  readonly #context: BatchContext;
  readonly #missingAfterMs: number;
  readonly #tasks = new RoundRobin<RepairTask>();
  readonly #rows = new RoundRobin<{ readonly batchId: string }>();

  constructor(context: BatchContext, missingAfterMs: number) {
    this.#context = context;
    this.#missingAfterMs = missingAfterMs;
  }

  /** Puts a batch in line, unless it is there. */
  add(batchId: string, { isClosed, hasMoved, hasFailures }: Found): void {
    if (hasMoved) {
      this.#addOnce(this.#rows, [{ batchId }]);
    }
    this.#addOnce(this.#tasks, [
      // The members of a batch that makes progress are not checked: if something holds it, it stops, and is checked
      // then.
      ...(hasMoved || !isClosed ? [] : [repairTask(this.#context, batchId, 'dependencies')]),
      ...(hasFailures ? [repairTask(this.#context, batchId, 'failed')] : []),
    ]);
  }

  #addOnce<T extends { readonly batchId: string }>(line: RoundRobin<T>, tasks: readonly T[]): void {
    const inLine = tasks.some(({ batchId }) => line.has(batchId));
    for (const task of inLine ? [] : tasks) {
      line.add(task);
    }
  }

  reset(): void {
    this.#tasks.clear();
    this.#rows.clear();
  }

  async slice(turn: Turn): Promise<boolean> {
    const steps = [
      ...this.#tasks.take(BATCHES_PER_SLICE).map((task) => this.#repair(task, turn)),
      ...this.#rows.take(ROWS_PER_SLICE).map(({ batchId }) => this.#refreshRow(batchId)),
    ];
    await Promise.all(steps.map((step) => step.catch((error) => turn.report(error))));
    return this.#tasks.size === 0 && this.#rows.size === 0;
  }

  async #refreshRow(batchId: string): Promise<void> {
    const parentId = await refreshRow(this.#context, batchId);
    if (parentId !== undefined) {
      this.#addOnce(this.#rows, [{ batchId: parentId }]);
    }
  }

  async #repair(task: RepairTask, turn: Turn): Promise<void> {
    for (const next of await repair(this.#context, task, turn, this.#missingAfterMs)) {
      this.#tasks.add(next);
    }
  }
}
