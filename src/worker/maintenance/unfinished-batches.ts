import type { BatchContext } from '../../batch/batch-context.js';
import { type UnfinishedBatch, unfinishedBatches as unfinishedBatchesPage } from '../../record/unfinished.js';
import type { LostMembers } from './lost-members.js';
import { Round } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 200;

/**
 * Looks at all unfinished batches, and mends the damage that the batch job itself shows; record/unfinished.ts says
 * which. All of them are handed over to `lostMembers`, because some of their members may be lost.
 */
export function unfinishedBatches(context: BatchContext, intervalMs: number, lostMembers: LostMembers): Service {
  /** How each batch stood in the last round and in this one: its number of dependencies, and whether it was closed. */
  let round = 0;
  let [before, now] = [new Map<string, string>(), new Map<string, string>()];
  return new Round<UnfinishedBatch>({
    name: 'unfinished batches',
    intervalMs,
    pace: { share: 0.1 },
    atOnce: BATCHES_PER_PAGE,
    async page(cursor) {
      if (cursor === '0') {
        [before, now] = [now, new Map()];
        round += 1;
      }
      const from = Number(cursor);
      const { listed, batches, broken } = await unfinishedBatchesPage(context.redis, {
        from,
        to: from + BATCHES_PER_PAGE - 1,
        round,
      });
      return { cursor: listed === 0 ? '0' : String(from + BATCHES_PER_PAGE), due: batches, broken };
    },
    async attend({ batchId, outstanding, isClosed, hasFailures, woken }, turn) {
      if (woken) {
        turn.repaired({ batchId, missing: 0, settled: 0, woken });
      }
      const standing = `${outstanding} ${isClosed}`;
      now.set(batchId, standing);
      lostMembers.add(batchId, { isClosed, hasMoved: before.get(batchId) !== standing, hasFailures });
    },
    reset() {
      now.clear();
    },
  });
}
