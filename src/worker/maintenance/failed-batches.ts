import type { BatchContext } from '../../batch/batch-context.js';
import { revive } from '../../batch/retry.js';
import { isToBeRevived } from '../../model/rules.js';
import { failedBatches as failedBatchesPage } from '../../record/failed-batches.js';
import { readSnapshot } from '../../record/snapshot.js';
import { Round } from './round.js';
import type { Service, Turn } from './service.js';

const BATCHES_PER_PAGE = 500;

/** Lets failed batches run again that would not fail now, because their members were retried by hand. */
export function failedBatches(context: BatchContext, intervalMs: number): Service {
  let round = 0;
  return new Round({
    name: 'failed batches',
    intervalMs,
    pace: { share: 0.2 },
    atOnce: 10,
    async page(cursor) {
      const from = Number(cursor);
      round += from === 0 ? 1 : 0;
      const { listed, due, broken } = await failedBatchesPage(context.redis, {
        from,
        to: from + BATCHES_PER_PAGE - 1,
        round,
      });
      return { cursor: listed === 0 ? '0' : String(from + BATCHES_PER_PAGE), due, broken };
    },
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
