import type { BatchContext } from '../../batch/batch-context.js';
import { type CancelState, cancelSlice, removeDropped } from '../../batch/cancel.js';
import { roundOfNeed } from './round.js';
import type { Service } from './service.js';

/** How many commands one cancelled batch gets in a turn. */
const SLICES_PER_TURN = 20;

/**
 * Takes out the pending members of cancelled batches. Running members are left: if one fails and waits for its next
 * attempt, a later round takes it out. Each batch has its turn in each round; a batch that only waits for running
 * members costs one command.
 */
export function cancels(context: BatchContext, intervalMs: number): Service {
  const states = new Map<string, CancelState>();
  return roundOfNeed(context, 'cancel', {
    intervalMs,
    pace: { share: 0.5 },
    atOnce: 4,
    async attend(batchId) {
      let state: CancelState | 'done' | undefined = states.get(batchId);
      for (let slices = SLICES_PER_TURN; slices > 0 && state !== 'done'; slices--) {
        state = await cancelSlice(context, batchId, state);
      }
      if (state === undefined || state === 'done') {
        states.delete(batchId);
        // The service for dropped jobs removes what this leaves in the lists.
        await removeDropped(context, SLICES_PER_TURN);
      } else {
        states.set(batchId, state);
      }
    },
  });
}
