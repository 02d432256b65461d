import type { BatchContext } from '../../batch/batch-context.js';
import { markIfPending } from '../../batch/cancel.js';
import { readDefinition } from '../../record/change-definition.js';
import { batchesNeeding } from '../../record/needs.js';
import { Round } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 200;

/** Cancels the batches whose deadline has passed; their members are then taken out as those of any cancelled batch. */
export function deadlines(context: BatchContext, intervalMs: number): Service {
  return new Round({
    name: 'deadlines',
    index: 'deadlines',
    intervalMs,
    pace: { share: 0.2 },
    atOnce: 10,
    page: (cursor) => batchesNeeding(context.redis, 'deadline', { cursor, count: BATCHES_PER_PAGE }),
    async attend(batchId) {
      const definition = await readDefinition(context.redis, batchId);
      if (definition?.deadline !== undefined) {
        const by = new Date(definition.deadline).toISOString();
        await markIfPending(context, batchId, `deadline: it was to finish by ${by}`, definition.nonce);
      }
    },
  });
}
