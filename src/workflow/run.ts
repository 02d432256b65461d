import { Batch } from '../batch/batch.js';
import type { QueueLike } from '../batch/queue-like.js';
import type { BatchResult } from '../batch/settled.js';
import type { BatchStatus, StageStatus } from '../batch/status.js';
import { mermaid } from '../model/mermaid.js';

/** Where a run stands, with its stages in the order of the workflow's definition. */
export interface RunStatus extends BatchStatus {
  /** The stages, in the order of the workflow's definition. */
  readonly stages: readonly StageStatus[];
}

/**
 * A run of a workflow: a batch whose members are its stages, with all that a batch can do.
 *
 * @example
 * const run = await importCustomers.start({ file: 'customers.csv' }, { id: 'upload-7' });
 * const { state, stages } = await run.waitUntilFinished();
 */
export class WorkflowRun<Result = unknown> extends Batch<QueueLike> {
  /**
   * Reads where the run and its stages stand, in two round trips, and one more per level of workflows that are stages.
   *
   * @throws BatchNotFoundError when the run has been removed.
   *
   * @example
   * const { stages } = await run.status();
   * for (const { name, state, progress } of stages) console.log(`${name}: ${state}, ${progress} %`);
   */
  override async status(): Promise<RunStatus> {
    const status = await super.status();
    return { ...status, stages: status.stages ?? [] };
  }

  /**
   * Waits until the run and its callbacks have finished, and resolves with the final status whatever the outcome.
   *
   * @param ttl how many milliseconds to wait at most; without it, as long as it takes.
   * @throws BatchTimeoutError when `ttl` has passed, BatchNotFoundError when the run has been removed.
   *
   * @example
   * const { state, stages } = await run.waitUntilFinished(60_000);
   */
  override async waitUntilFinished(ttl?: number): Promise<RunStatus> {
    const status = await super.waitUntilFinished(ttl);
    return { ...status, stages: status.stages ?? [] };
  }

  /** Yields what the jobs of the workflow's `output` stage have returned; without one, its stages that succeeded. */
  override results(): AsyncGenerator<BatchResult<Result>, void> {
    return super.results() as AsyncGenerator<BatchResult<Result>, void>;
  }

  /**
   * Draws the stages with their states, as the text of a Mermaid flowchart; a stage that is a workflow is a subgraph
   * with its own stages.
   *
   * @example
   * console.log(await run.toMermaid());
   */
  async toMermaid(): Promise<string> {
    return mermaid((await this.status()).stages);
  }
}
