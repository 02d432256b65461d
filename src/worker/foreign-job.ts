import { DelayedError, type Job } from 'bullmq';
import type { Home } from '../batch/home.js';
import { BatchOptionsError } from '../errors.js';
import { readDefinition } from '../record/change-definition.js';
import type { ForeignJob } from '../record/foreign-job.js';

/** After how many ms a job that is not ours is looked at again, if nobody has taken it meanwhile. */
const PUT_BACK_MS = 5000;

/** Says whose queue it is that the BatchWorker was given, and what to set. */
export function foreignJobError(queue: string, { id, name }: ForeignJob): BatchOptionsError {
  return new BatchOptionsError(
    `The queue '${queue}' holds jobs that are no batches, e.g. '${id}' (${name}): it belongs to your application. ` +
      `Give batches a queue of another name: withBatches(queue, { batchesQueue: '…' }) and new BatchWorker({ ` +
      `connection, batchesQueue: '…' }). Or remove these jobs, if nobody needs them.`,
  );
}

/**
 * Puts back a job that is neither a batch nor a copy of one, which came after the BatchWorker had started: it is
 * delayed, and never fails. Does nothing to a batch. Most batches are known by their data, which people can edit: only
 * then Redis is asked.
 *
 * @throws DelayedError, by which BullMQ's worker lets go of the job.
 */
export async function putBackForeignJob(
  { redis }: Home,
  job: Job,
  token: string,
  onError: (error: unknown) => void,
): Promise<void> {
  if (isOfBatch(job.data)) {
    return;
  }
  try {
    if ((await readDefinition(redis, job.id ?? '')) !== undefined) {
      return;
    }
    onError(foreignJobError(redis.batchesQueue, { id: job.id ?? '', name: job.name }));
    await job.moveToDelayed(Date.now() + PUT_BACK_MS, token);
  } catch (error) {
    // Any other error than the one below would use up an attempt of the job: it stays active until its lock has
    // expired, and then waits again.
    onError(error);
  }
  throw new DelayedError();
}

/** Whether a job's data is that of a batch, or of a copy of one. */
function isOfBatch(data: unknown): boolean {
  const { nonce, on } = (data ?? {}) as { readonly nonce?: unknown; readonly on?: unknown };
  return typeof nonce === 'string' && typeof on === 'object' && on !== null;
}
