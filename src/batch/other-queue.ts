import { BatchOptionsError } from '../errors.js';
import type { BatchesPlace } from '../model/place.js';
import type { KeptElsewhere } from '../record/claim-queue.js';

/** Makes the error that says that the batches of a prefix are kept in another queue than the given one. */
export function otherQueue(
  who: 'withBatches()' | 'this BatchWorker',
  { prefix, batchesQueue }: BatchesPlace,
  { queue, batchId }: KeptElsewhere,
): BatchOptionsError {
  const why = batchId === undefined ? 'a BatchWorker is running for it' : `e.g. '${batchId}'`;
  return new BatchOptionsError(
    `Batches of the prefix '${prefix}' are kept in the queue '${queue}' (${why}), and ${who} was given ` +
      `'${batchesQueue}'. Give withBatches() and BatchWorker the same batchesQueue everywhere; another one can be ` +
      'taken when that queue has no batches and no BatchWorker any more.',
  );
}
