import type { BatchContext } from '../batch/batch-context.js';
import { beginRun, FIRST_STAGE } from '../record/stages.js';
import { startStartable } from './start-stage.js';

/**
 * Starts the first stages of a run that was sealed, each time that its batch job runs: what has started is left alone.
 *
 * @returns 'begun' also for a run that was cancelled or removed; 'busy' when a stage that is to be started is just
 * ending, because it was skipped, and all this is to be tried again in a moment; `openFor`, for how many ms the run may
 * stay open, when it was not sealed.
 */
export async function begin(
  context: BatchContext,
  batchId: string,
  token: string,
): Promise<'begun' | 'busy' | { readonly openFor: number }> {
  let from = FIRST_STAGE;
  do {
    const begun = await beginRun(context.redis, batchId, token, from);
    if (begun === 'over') {
      return 'begun';
    }
    if ('openFor' in begun) {
      return begun;
    }
    const started = await Promise.all(begun.startable.map((stage) => startStartable(context, stage)));
    if (started.includes('busy')) {
      return 'busy';
    }
    from = begun.next;
  } while (from !== 0);
  return 'begun';
}
