import type { BatchContext } from '../../batch/batch-context.js';
import { removeInTurn } from '../../batch/remove.js';
import { expiredBatches } from '../../record/expiry.js';
import { roundThrough } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 100;

/**
 * Removes finished batches whose time to be kept has passed. Ranks shift while batches are removed; what is passed over
 * is found in the next round.
 */
export function expiry(context: BatchContext, intervalMs: number): Service {
  return roundThrough((page) => expiredBatches(context.redis, page), {
    count: BATCHES_PER_PAGE,
    intervalMs,
    pace: { share: 0.2 },
    atOnce: 2,
    async attend(batchId) {
      // The script that marks a batch for removal decides again whether it goes: it may be running again by now.
      await removeInTurn(context, batchId, 'expire');
    },
  });
}
