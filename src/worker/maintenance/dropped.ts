import type { BatchContext } from '../../batch/batch-context.js';
import { type DroppedState, removeDroppedSlice } from '../../batch/cancel.js';
import type { Service } from './service.js';

/**
 * Removes dropped jobs from the lists of their queues, as far as nothing else does: those of a batch that its failure
 * policy has cancelled, and of a cancel() or a removal whose process has died. record/dropped.ts says what they are.
 */
export function dropped(context: BatchContext, intervalMs: number): Service {
  let state: DroppedState | 'done' = 'done';
  return {
    intervalMs,
    pace: { share: 0.2 },
    async slice() {
      state = await removeDroppedSlice(context, state === 'done' ? undefined : state);
      return state === 'done';
    },
    reset() {
      state = 'done';
    },
  };
}
