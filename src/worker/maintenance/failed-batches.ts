import type { BatchContext } from '../../batch/batch-context.js';
import { revive } from '../../batch/retry.js';
import { isToBeRevived } from '../../model/rules.js';
import { failedBatches as failedBatchesPage } from '../../record/failed-batches.js';
import { readSnapshot } from '../../record/snapshot.js';
import { roundThrough } from './round.js';
import type { Service, Turn } from './service.js';

const BATCHES_PER_PAGE = 500;

/** Lets failed batches run again that would not fail now, because their members were retried by hand. */
export function failedBatches(context: BatchContext, intervalMs: number): Service {
  return roundThrough((page) => failedBatchesPage(context.redis, page), {
    count: BATCHES_PER_PAGE,
    intervalMs,
    pace: { share: 0.2 },
    atOnce: 10,
    attend: (batchId, turn) => judge(context, batchId, turn),
  });
}

/**
 * Lets a failed batch run again if it would not fail now. Its parent then waits for it once more, and may have to run
 * again too.
 */
export async function judge(context: BatchContext, batchId: string, turn: Turn): Promise<void> {
  const seen = new Set<string>();
  for (let id: string | undefined = batchId; id !== undefined && !seen.has(id) && !turn.isOver; ) {
    seen.add(id);
    const snapshot = await readSnapshot(context.redis, id);
    if (snapshot === undefined || !isToBeRevived(snapshot)) {
      return;
    }
    await revive(context, id);
    turn.repaired({ batchId: id, missing: 0, settled: 0, woken: true });
    id = snapshot.definition.parentId;
  }
}
