import type { BatchContext } from '../../batch/batch-context.js';
import type { Page } from '../../record/look.js';
import { type UnfinishedBatch, unfinishedBatches as unfinishedBatchesPage } from '../../record/unfinished.js';
import type { LostMembers } from './lost-members.js';
import { roundThrough, START } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 200;

/**
 * Looks at all unfinished batches, and mends the damage that the batch job itself shows; record/unfinished.ts says
 * which. All of them are handed over to `lostMembers`, which looks for lost members, and writes rows.
 */
export function unfinishedBatches(context: BatchContext, intervalMs: number, lostMembers: LostMembers): Service {
  /** How each batch stood in the last round and in this one: its number of dependencies, and whether it was closed. */
  let [before, now] = [new Map<string, string>(), new Map<string, string>()];
  const readPage = (page: Page) => {
    if (page.cursor === START) {
      [before, now] = [now, new Map()];
    }
    return unfinishedBatchesPage(context.redis, page);
  };
  return roundThrough<UnfinishedBatch>(readPage, {
    intervalMs,
    count: BATCHES_PER_PAGE,
    pace: { share: 0.1 },
    atOnce: BATCHES_PER_PAGE,
    async attend({ batchId, outstanding, isClosed, hasFailures, woken }, turn) {
      if (woken) {
        turn.repaired({ batchId, missing: 0, settled: 0, woken });
      }
      const standing = `${outstanding} ${isClosed}`;
      now.set(batchId, standing);
      lostMembers.add(batchId, { isClosed, hasMoved: before.get(batchId) !== standing, hasFailures });
    },
  });
}
