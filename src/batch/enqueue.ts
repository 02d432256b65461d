import type { JobsOptions } from 'bullmq';
import { BatchError } from '../errors.js';
import type { BatchEvent } from '../redis/definition.js';
import { type CallbackSnapshot, readSnapshot, type Snapshot } from '../redis/snapshot.js';
import { callbackJob } from './callbacks.js';
import type { Home } from './home.js';
import { dueOf } from './rules.js';
import { inTrace } from './trace.js';

/** Enqueues the callbacks of this event that are due now and are not there yet; anybody may, at any time. */
export async function enqueueDue(home: Home, batchId: string, event: BatchEvent): Promise<void> {
  const snapshot = await readSnapshot(home.redis, batchId);
  if (snapshot !== undefined) {
    const due = dueOf(snapshot).filter((callback) => callback.event === event);
    await enqueueCallbacks(home, batchId, snapshot, due);
  }
}

/** Enqueues these callbacks, one after the other. */
export async function enqueueCallbacks(
  home: Home,
  batchId: string,
  snapshot: Snapshot,
  due: readonly CallbackSnapshot[],
): Promise<void> {
  for (const callback of due) {
    await enqueueCallback(home, batchId, snapshot, callback);
  }
}

/** Adds the job of a callback as one more child of the batch job: the batch finishes when it has run. */
async function enqueueCallback(home: Home, batchId: string, snapshot: Snapshot, due: CallbackSnapshot): Promise<void> {
  const { name, data, opts } = callbackJob(batchId, snapshot, due);
  const { trace } = snapshot.definition;
  const options: JobsOptions = {
    // For a BatchWorker without telemetry; one that has it puts its own span in between.
    ...(trace === undefined ? {} : { telemetry: { metadata: trace } }),
    ...opts,
    jobId: due.jobId,
    parent: { id: batchId, queue: home.batches.qualifiedName },
    ignoreDependencyOnFailure: true,
    // As long as the batch lives: a BatchWorker that was frozen between look-up and add would enqueue a removed one again.
    removeOnComplete: false,
    removeOnFail: false,
  };
  const job = await inTrace(home.telemetry, trace, () => home.queueNamed(due.queue).add(name, data, options));
  if (job.id !== due.jobId) {
    throw new BatchError(
      `The ${due.event} callback '${name}' of batch '${batchId}' was not enqueued: BullMQ returned ${job.id}.`,
      { batchId },
    );
  }
}
