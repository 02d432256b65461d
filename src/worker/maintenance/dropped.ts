import type { BatchContext } from '../../batch/batch-context.js';
import { type DroppedState, removeDroppedSlice } from '../../batch/cancel.js';
import type { Service } from './service.js';

/**
 * Takes the jobs that were dropped by a cancel out of the lists of their queues: by a failure policy, and by a cancel()
 * whose process has died.
 */
export function dropped(context: BatchContext, intervalMs: number): Service {
  let state: DroppedState | 'done' = 'done';
  return {
    name: 'dropped',
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
