import type { BatchContext } from '../../batch/batch-context.js';
import { judge } from './failed-batches.js';
import { type RepairTask, repair, repairTask } from './repair-task.js';
import type { Service, Turn } from './service.js';

const BATCHES_PER_PAGE = 100;
const BATCHES_PER_SLICE = 10;

/**
 * Looks at all failed members of all failed batches, slowly. It is for BullMQ 5's `queue.retryJobs()`, which leaves no
 * trace in the batch of a job that it retries. After its members, the batch itself is judged again.
 */
export function retriedElsewhere(context: BatchContext, intervalMs: number): Service {
  /** What is left to look at in the batches of one page: one step of each, from the front, puts it at the end. */
  const tasks: RepairTask[] = [];
  let rank = 0;

  /** Puts the next page of failed batches in line; returns false after the last page. */
  async function nextPage(): Promise<boolean> {
    const ids = await context.batches.getRanges(['failed'], rank, rank + BATCHES_PER_PAGE - 1);
    tasks.push(...ids.map((batchId) => repairTask(context, batchId, 'failed')));
    rank = ids.length === 0 ? 0 : rank + BATCHES_PER_PAGE;
    return ids.length > 0;
  }

  async function step(task: RepairTask, turn: Turn): Promise<void> {
    const [next] = await repair(context, task, turn);
    if (next === undefined) {
      await judge(context, task.batchId, turn);
    } else {
      tasks.push(next);
    }
  }

  return {
    intervalMs,
    pace: { share: 0.05 },
    async slice(turn) {
      if (tasks.length === 0 && !(await nextPage())) {
        return true;
      }
      const some = tasks.splice(0, BATCHES_PER_SLICE);
      await Promise.all(some.map((task) => step(task, turn).catch((error) => turn.report(error))));
      return false;
    },
    reset() {
      tasks.length = 0;
    },
  };
}
