/**
 * The default name of the queue that holds the batch jobs. Members and callbacks never share that queue: BullMQ's drain
 * and clean delete a parent in the same queue.
 */
export const DEFAULT_BATCHES_QUEUE = 'batches';

/** The queue of the callbacks that BatchWorkers run themselves: those that are given by name only. */
export const CALLBACKS_QUEUE = 'batch-callbacks';

export const DEFAULT_PREFIX = 'bull';

/** Where batches are kept: the prefix of all queues, and the name of the queue that holds the batch jobs. */
export interface BatchesPlace {
  readonly prefix: string;
  readonly batchesQueue: string;
}
