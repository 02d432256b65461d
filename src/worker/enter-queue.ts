import { setTimeout as pause } from 'node:timers/promises';
import type { BatchContext } from '../batch/batch-context.js';
import { otherQueue } from '../batch/other-queue.js';
import { BatchOptionsError } from '../errors.js';
import { claimQueue } from '../record/claim-queue.js';
import { findForeignJob } from '../record/foreign-job.js';
import { foreignJobError } from './foreign-job.js';

const BETWEEN_TRIES_MS = 1000;

interface Entering {
  readonly isClosing: () => boolean;
  readonly onError: (error: unknown) => void;
}

/**
 * Checks, before a BatchWorker takes its first job, that its queue is the one that holds the batches. When Redis
 * refuses the check for the moment, it is tried again: a BatchWorker that gave up would leave its batches hanging.
 *
 * @throws BatchOptionsError when the queue belongs to the application, or batches are kept in another one.
 */
export async function enterQueue(context: BatchContext, { isClosing, onError }: Entering): Promise<void> {
  while (!isClosing()) {
    try {
      return await checkQueue(context);
    } catch (error) {
      if (error instanceof BatchOptionsError) {
        throw error;
      }
      if (!isClosing()) {
        onError(error);
        await pause(BETWEEN_TRIES_MS, undefined, { ref: false });
      }
    }
  }
}

async function checkQueue({ redis }: BatchContext): Promise<void> {
  const foreign = await findForeignJob(redis);
  if (foreign !== undefined) {
    throw foreignJobError(redis.batchesQueue, foreign);
  }
  const elsewhere = await claimQueue(redis);
  if (elsewhere !== undefined) {
    throw otherQueue('this BatchWorker', redis, elsewhere);
  }
}
