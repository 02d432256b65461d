import { type Job, Worker, type WorkerOptions } from 'bullmq';
import { type CallbackHandlers, type CallbackJob, unknownCallback } from '../batch/callbacks.js';
import { runOutside } from '../context.js';
import { BatchError } from '../errors.js';
import { CALLBACKS_QUEUE } from '../model/place.js';

/** A callback that a BatchWorker has run, and that has failed. */
export interface FailedCallback {
  /** The id of the batch that the callback belongs to. */
  readonly batchId: string;
  /** The event that the callback is for. */
  readonly event: string;
  /** The name of the callback. */
  readonly name: string;
  /** The id of its job. */
  readonly jobId: string;
  /** Whether it has attempts left, and will be tried again. Otherwise its batch fails. */
  readonly isTriedAgain: boolean;
  /** Why this attempt failed. */
  readonly error: Error;
}

/**
 * Makes the worker of the callbacks that are given by name only: it runs each with the function of that name.
 */
export function callbackWorker(
  callbacks: CallbackHandlers,
  options: WorkerOptions,
  { onError, onFailed }: { onError(error: Error): void; onFailed(failed: FailedCallback): void },
): Worker {
  const known = new Map(Object.entries(callbacks));
  const worker = new Worker(
    CALLBACKS_QUEUE,
    async (job: Job) => {
      const run = known.get(job.name);
      if (run === undefined) {
        // This error may be retried: another BatchWorker, of a newer release, may know the callback.
        throw new BatchError(unknownCallback('BatchWorker', job.name, [...known.keys()]));
      }
      // A BatchWorker that was made inside of jobs(fn) must not add to that batch what its callbacks add.
      return await runOutside(() => run(job as CallbackJob));
    },
    options,
  );
  worker.on('error', onError);
  worker.on('failed', (job, error) => {
    if (job !== undefined) {
      onFailed({ ...nameOf(job), isTriedAgain: job.finishedOn === undefined, error });
    }
  });
  return worker;
}

function nameOf({ id = '', name, data }: Job): Pick<FailedCallback, 'batchId' | 'event' | 'name' | 'jobId'> {
  const { id: batchId = '', event = '' }: { id?: string; event?: string } = data?.batch ?? {};
  return { batchId, event, name, jobId: id };
}
