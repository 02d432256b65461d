import type { BatchContext } from '../../batch/batch-context.js';
import { continueRemoval } from '../../batch/remove.js';
import { batchesNeeding } from '../../record/needs.js';
import { Round } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 100;

/** Continues removals whose process has died. */
export function removals(context: BatchContext, intervalMs: number): Service {
  return new Round({
    name: 'removals',
    index: 'removals',
    intervalMs,
    pace: { share: 0.5 },
    atOnce: 2,
    page: (cursor) => batchesNeeding(context.redis, 'removal', { cursor, count: BATCHES_PER_PAGE }),
    async attend(batchId) {
      // What is left after this step, or is in the hands of a caller that is alive, is looked at again in the next
      // round.
      await continueRemoval(context, batchId);
    },
  });
}
