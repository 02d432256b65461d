import { DelayedError, type Job } from 'bullmq';
import type { BatchContext } from '../batch/batch-context.js';
import { BatchOptionsError } from '../errors.js';
import { readDefinition } from '../record/change-definition.js';
import type { ForeignJob } from '../record/claim-queue.js';

/** After how many ms a job that is not a batch is looked at again, if no other worker has taken it meanwhile. */
const PUT_BACK_MS = 5000;

/** Makes the error that says to whom the queue of a BatchWorker belongs, and what to set. */
export function foreignJobError(queue: string, { id, name }: ForeignJob): BatchOptionsError {
  return new BatchOptionsError(
    `The queue '${queue}' holds jobs that are no batches, e.g. '${id}' (${name}): it belongs to your application. ` +
      `Give batches a queue of another name: withBatches(queue, { batchesQueue: '…' }) and new BatchWorker({ ` +
      `connection, batchesQueue: '…' }). Or remove these jobs, if nobody needs them.`,
  );
}

/**
 * Puts back a job that is neither a batch nor a copy of one, and that came after the BatchWorker had started. The job
 * is delayed, and never fails. Does nothing to a batch: most are recognized by their data; only when the data is not
 * that of a batch, because people can edit it, Redis is asked.
 *
 * @throws DelayedError, with which BullMQ's worker releases the job.
 */
export async function putBackForeignJob(
  { redis }: BatchContext,
  job: Job,
  token: string,
  onError: (error: unknown) => void,
): Promise<void> {
  // The keys of a job without a name are gone, because BullMQ stores a name with every job: the lifecycle fails it, and
  // says why.
  if (job.name === undefined || isOfBatch(job.data)) {
    return;
  }
  try {
    if ((await readDefinition(redis, job.id ?? '')) !== undefined) {
      return;
    }
    onError(foreignJobError(redis.batchesQueue, { id: job.id ?? '', name: job.name }));
    await job.moveToDelayed(Date.now() + PUT_BACK_MS, token);
  } catch (error) {
    // Any error but DelayedError would use up one of the job's attempts. Without one the job stays active until its
    // lock has expired, and then waits again.
    onError(error);
  }
  throw new DelayedError();
}

/** Whether a job's data is that of a batch, or of a copy of one. */
function isOfBatch(data: unknown): boolean {
  const { nonce, on } = (data ?? {}) as { readonly nonce?: unknown; readonly on?: unknown };
  return typeof nonce === 'string' && typeof on === 'object' && on !== null;
}
