import type { BatchContext } from '../../batch/batch-context.js';
import { markCancelled } from '../../record/cancel.js';
import { readDefinition } from '../../record/change-definition.js';
import { roundOfNeed } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 200;

/** Cancels the batches whose deadline has passed; their members are then taken out as those of any cancelled batch. */
export function deadlines(context: BatchContext, intervalMs: number): Service {
  return roundOfNeed(context, 'deadline', {
    count: BATCHES_PER_PAGE,
    intervalMs,
    pace: { share: 0.2 },
    atOnce: 10,
    async attend(batchId) {
      const definition = await readDefinition(context.redis, batchId);
      if (definition?.deadline !== undefined) {
        const by = new Date(definition.deadline).toISOString();
        const reason = `deadline: it was to finish by ${by}`;
        // A new batch may have been created under this id since the page was read.
        await markCancelled(context.redis, batchId, { reason, nonce: definition.nonce, isOverdue: true });
      }
    },
  });
}
