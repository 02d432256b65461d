import { setTimeout as pause } from 'node:timers/promises';
import { BatchError, BatchOptionsError } from '../errors.js';
import { isCancelledFor } from '../record/climb.js';
import { readSnapshot } from '../record/snapshot.js';
import { describe } from '../validation.js';
import type { QueueContext } from './batch-context.js';
import { batchOf } from './lookup.js';
import type { JobLike } from './queue-like.js';

/** How often, in ms, it is asked whether the batch of a running member was cancelled. */
const INTERVAL_MS = 1000;

const signals = new WeakMap<JobLike, AbortSignal>();

/**
 * A signal that aborts when the batch of a running job, or one above it, is cancelled or removed. It is asked for as
 * long as the job runs; the process does not wait for that.
 */
export function signalOf(openContext: () => Promise<QueueContext>, job: JobLike): AbortSignal {
  if (typeof job !== 'object' || job === null) {
    throw new BatchOptionsError(`signalOf(job) takes a BullMQ Job, not ${describe(job)}.`);
  }
  const known = signals.get(job);
  if (known !== undefined) {
    return known;
  }
  const controller = new AbortController();
  signals.set(job, controller.signal);
  watchFor(openContext, job, controller).catch(() => {
    // What is no job of a batch is never cancelled.
  });
  return controller.signal;
}

async function watchFor(
  openContext: () => Promise<QueueContext>,
  job: JobLike,
  controller: AbortController,
): Promise<void> {
  const { attemptsMade } = job;
  const context = await openContext();
  const batch = await again(() => batchOf(context, job));
  if (batch === undefined) {
    return;
  }
  const lock = { key: `${job.queueQualifiedName}:${job.id}:lock`, token: job.token ?? '' };
  while (job.finishedOn === undefined && job.attemptsMade === attemptsMade) {
    const look = await again(() => isCancelledFor(context.redis, batch, lock));
    if (look === 'ended') {
      return;
    }
    if (look === 'cancelled') {
      const reason = (await readSnapshot(context.redis, batch.id).catch(() => undefined))?.cancelReason;
      const why = reason === undefined ? '' : `: ${reason}`;
      controller.abort(new BatchError(`Batch '${batch.id}' was cancelled${why}.`, { batchId: batch.id }));
      return;
    }
    await pause(INTERVAL_MS, undefined, { ref: false });
  }
}

/** A connection that is lost may come back while the job runs. */
async function again<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (tries >= 60) {
        throw error;
      }
      await pause(INTERVAL_MS, undefined, { ref: false });
    }
  }
}
