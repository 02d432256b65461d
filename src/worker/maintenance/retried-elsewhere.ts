import type { BatchContext } from '../../batch/batch-context.js';
import { judge } from './failed-batches.js';
import { type FailuresTask, failuresTask, recheckFailures } from './recheck.js';
import type { Service, Turn } from './service.js';
import { Turns } from './turns.js';

const BATCHES_PER_PAGE = 100;
const BATCHES_PER_SLICE = 10;

/**
 * Looks at all failed members of all failed batches, slowly. It is for BullMQ 5's `queue.retryJobs()`, which leaves no
 * trace in the batch of a job that it retries. After its members, the batch itself is judged again.
 */
export class RetriedElsewhere implements Service {
  readonly name = 'retried elsewhere';
  readonly pace = { share: 0.05 };
  readonly intervalMs: number;
  readonly #context: BatchContext;
  readonly #turns = new Turns<FailuresTask>();
  #rank = 0;

  constructor(context: BatchContext, intervalMs: number) {
    this.#context = context;
    this.intervalMs = intervalMs;
  }

  reset(): void {
    this.#turns.clear();
  }

  async slice(turn: Turn): Promise<boolean> {
    if (this.#turns.size === 0 && !(await this.#nextPage())) {
      return true;
    }
    const tasks = this.#turns.take(BATCHES_PER_SLICE);
    await Promise.all(tasks.map((task) => this.#step(task, turn).catch((error) => turn.report(error))));
    return false;
  }

  /** Puts the next page of failed batches in line; returns false after the last page. */
  async #nextPage(): Promise<boolean> {
    const ids = await this.#context.batches.getRanges(['failed'], this.#rank, this.#rank + BATCHES_PER_PAGE - 1);
    for (const batchId of ids) {
      this.#turns.add(failuresTask(batchId));
    }
    this.#rank = ids.length === 0 ? 0 : this.#rank + BATCHES_PER_PAGE;
    return ids.length > 0;
  }

  async #step(task: FailuresTask, turn: Turn): Promise<void> {
    const next = await recheckFailures(this.#context, task, turn);
    if (next === undefined) {
      await judge(this.#context, task.batchId, turn);
    } else {
      this.#turns.add(next);
    }
  }
}
