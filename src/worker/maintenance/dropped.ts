import { type DroppedState, removeDroppedSlice } from '../../batch/cancel.js';
import type { Home } from '../../batch/home.js';
import type { Service } from './service.js';

/**
 * Takes the jobs that were dropped by a cancel out of the lists of their queues: by a failure policy, and by a cancel()
 * whose process has died.
 */
export function dropped(home: Home, intervalMs: number): Service {
  let state: DroppedState | 'done' = 'done';
  return {
    name: 'dropped',
    intervalMs,
    pace: { share: 0.2 },
    async slice() {
      state = await removeDroppedSlice(home, state === 'done' ? undefined : state);
      return state === 'done';
    },
    reset() {
      state = 'done';
    },
  };
}
