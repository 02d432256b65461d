import type { BatchContext } from '../../batch/batch-context.js';
import { removeInTurn } from '../../batch/remove.js';
import { roundOfNeed } from './round.js';
import type { Service } from './service.js';

/** Continues removals whose process has died. */
export function removals(context: BatchContext, intervalMs: number): Service {
  return roundOfNeed(context, 'removal', {
    intervalMs,
    pace: { share: 0.5 },
    atOnce: 2,
    async attend(batchId) {
      // What is left after this step, or is in the hands of a caller that is alive, is looked at again in the next
      // round.
      await removeInTurn(context, batchId, 'continue');
    },
  });
}
