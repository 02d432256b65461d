import type { BatchContext } from '../../batch/batch-context.js';
import { recheckSlice } from '../../record/repair.js';
import type { Turn } from './service.js';

/**
 * How many failed members one command looks at. Fewer while their failure reasons are long, because the command reads
 * those too.
 */
const PER_SLICE = { least: 1, first: 25, most: 500 };
const LONG_REASONS_BYTES = 256 * 1024;

/** A slice of the failed members of a batch. */
export interface FailuresTask {
  readonly batchId: string;
  readonly cursor: string;
  readonly count: number;
}

export const failuresTask = (batchId: string): FailuresTask => ({ batchId, cursor: '0', count: PER_SLICE.first });

/**
 * Corrects the record of failed members that were retried outside of their batch. Returns the next slice, or undefined
 * after the last one.
 */
export async function recheckFailures(
  context: BatchContext,
  task: FailuresTask,
  turn: Turn,
): Promise<FailuresTask | undefined> {
  const { batchId, count } = task;
  const { cursor, moved, bytes } = await recheckSlice(context.redis, batchId, { cursor: task.cursor, count });
  if (moved > 0) {
    turn.repaired({ batchId, missing: 0, settled: moved, woken: false });
  }
  const { least, most } = PER_SLICE;
  const next = bytes > LONG_REASONS_BYTES ? Math.max(least, Math.floor(count / 4)) : Math.min(most, count * 2);
  return cursor === '0' ? undefined : { batchId, cursor, count: next };
}
