import { enclosing } from '../context.js';
import { BatchError } from '../errors.js';
import { Batch } from './batch.js';

/**
 * Returns the batch whose `jobs(fn)` the running code is in. Must be called before the first `await` of what the user
 * calls, which `fn` need not wait for.
 *
 * @param what the name of the method that the user has called, for the error.
 * @throws BatchError in code that `fn` has left running. A job that comes too late because an `await` was forgotten
 * must not silently be outside of the batch, and what a Worker that was made in `fn` adds must not silently be in it.
 */
export function enclosingBatch(what: string): Batch | undefined {
  const { batch, isOver } = enclosing() ?? {};
  if (!(batch instanceof Batch)) {
    return undefined;
  }
  if (isOver) {
    throw new BatchError(
      `${what} was called by code that jobs(fn) of batch '${batch.id}' has left running: fn has ended, so nothing ` +
        'can be added to the batch that way any more, and nothing was added elsewhere. Await in fn all that adds to ' +
        'the batch. Make Workers, timers and connections outside of jobs(): they keep the batch of the code that ' +
        'made them.',
      { batchId: batch.id },
    );
  }
  return batch;
}
