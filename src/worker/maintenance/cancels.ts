import type { BatchContext } from '../../batch/batch-context.js';
import { type CancelState, cancelSlice, type DroppedState, removeDroppedSlice } from '../../batch/cancel.js';
import { batchesNeeding } from '../../record/needs.js';
import { Round } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 100;

/** How many commands one cancelled batch gets in a turn. */
const SLICES_PER_TURN = 20;

/**
 * Takes out the pending members of cancelled batches. Running members are left: if one fails and waits for its next
 * attempt, a later round takes it. Each batch has its turn in each round; a batch that only waits for running members
 * costs one command.
 */
export function cancels(context: BatchContext, intervalMs: number): Service {
  const states = new Map<string, CancelState>();
  return new Round({
    name: 'cancels',
    index: 'cancels',
    intervalMs,
    pace: { share: 0.5 },
    atOnce: 4,
    page: (cursor) => batchesNeeding(context.redis, 'cancel', { cursor, count: BATCHES_PER_PAGE }),
    async attend(batchId) {
      let state: CancelState | 'done' | undefined = states.get(batchId);
      for (let slices = SLICES_PER_TURN; slices > 0 && state !== 'done'; slices--) {
        state = await cancelSlice(context, batchId, state);
      }
      if (state === undefined || state === 'done') {
        states.delete(batchId);
        await removeDropped(context);
      } else {
        states.set(batchId, state);
      }
    },
    reset: () => states.clear(),
  });
}

/**
 * Takes jobs that were just dropped out of the lists of their queues. What is left after a turn is taken by the service
 * for dropped jobs.
 */
async function removeDropped(context: BatchContext): Promise<void> {
  let state: DroppedState | 'done' | undefined;
  for (let slices = SLICES_PER_TURN; slices > 0 && state !== 'done'; slices--) {
    state = await removeDroppedSlice(context, state);
  }
}
