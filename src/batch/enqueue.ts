import { createHash } from 'node:crypto';
import type { Job, JobsOptions } from 'bullmq';
import { BatchError } from '../errors.js';
import type { BatchDefinition, BatchEvent } from '../model/definition.js';
import { dueOf } from '../model/rules.js';
import { type CallbackSnapshot, flawlessSnapshot, type MemberCounts, type Snapshot } from '../model/snapshot.js';
import type { NewJob } from '../record/adding-lua.js';
import type { PreparedCallbacks } from '../record/decide.js';
import { enqueueInBatch } from '../record/enqueue-callbacks.js';
import { withWayOut } from '../record/out-of-memory.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import { callbackJob } from './callbacks.js';
import { isPlainJob, newEntry, newJob, withoutCopies, withTrace } from './member-jobs.js';
import { inProducerSpans, inTrace } from './trace.js';

/** Enqueues the callbacks of this event that are due and not enqueued yet. Any process may call it at any time. */
export async function enqueueDue(context: BatchContext, batchId: string, event: BatchEvent): Promise<void> {
  const snapshot = await readSnapshot(context.redis, batchId);
  if (snapshot !== undefined) {
    const due = dueOf(snapshot).filter((callback) => callback.event === event);
    await enqueueCallbacks(context, snapshot, due);
  }
}

/**
 * Enqueues callbacks, in one step, as further children of the batch job: the batch finishes when they have run. A
 * callback that another process has enqueued since the snapshot was taken is not enqueued again. `success` is enqueued
 * only while the members are as the snapshot has seen them; if they have changed, nothing is done, and the next look at
 * the batch decides.
 *
 * @param token the lock token of the batch job, for the BatchWorker that holds it: without the lock nothing is
 * enqueued.
 * @throws BatchError when one of them could not be stored.
 */
export async function enqueueCallbacks(
  context: BatchContext,
  snapshot: Snapshot,
  due: readonly CallbackSnapshot[],
  token = '',
): Promise<void> {
  if (due.length === 0) {
    return;
  }
  const { definition, version } = snapshot;
  const callbacks = due.map((callback) => ({ ...callback, queue: context.queueNamed(callback.queue) }));
  await inTrace(context.telemetry, definition.trace, () =>
    inProducerSpans(callbacks, async (traceOf) => {
      const jobs = due.map((callback) =>
        newCallback(context, snapshot, callback, traceOf(context.queueNamed(callback.queue))),
      );
      const enqueued = await enqueueInBatch(context.redis, definition, { token, version }, jobs);
      if (typeof enqueued === 'object') {
        throw new BatchError(
          `The callbacks ${due.map(({ name }) => `'${name}'`).join(', ')} of batch '${definition.id}' were not ` +
            `enqueued: ${withWayOut(enqueued.error)}.`,
          { batchId: definition.id },
        );
      }
    }),
  );
}

/**
 * Makes the callbacks that are due first if everything in a batch has gone well, from the data of its job alone: the
 * decide step can then enqueue them at once. It compares the definition first, because people can edit that data, and a
 * later `on()` changes the definition. With telemetry nothing is prepared: a span is made only for what is enqueued.
 *
 * @returns undefined when no callback is due then, or the data of the job is not that of a batch.
 */
export function prepareCallbacks(context: BatchContext, { id, data }: Job): PreparedCallbacks | undefined {
  const definition: BatchDefinition = data;
  if (context.telemetry !== undefined || definition?.id !== id || Object.keys(definition.on ?? {}).length === 0) {
    return undefined;
  }
  try {
    const flawless = flawlessSnapshot(definition);
    const mark = `${definition.nonce}~total`;
    const completedCounts = { ...flawless.counts, total: mark, succeeded: mark } as unknown as MemberCounts;
    const marked = { ...flawless, counts: completedCounts, completedCounts };
    const jobs = dueOf(flawless).map((callback) => newCallback(context, marked, callback, undefined));
    const sha1 = createHash('sha1').update(JSON.stringify(definition)).digest('hex');
    return jobs.length === 0 ? undefined : { jobs, mark: JSON.stringify(mark), definition: sha1 };
  } catch {
    // The data was edited to something else: the callbacks are made from the definition instead.
    return undefined;
  }
}

function newCallback(
  context: BatchContext,
  snapshot: Snapshot,
  due: CallbackSnapshot,
  trace: string | undefined,
): NewJob {
  const { definition } = snapshot;
  const { name, data, opts } = callbackJob(snapshot, due);
  const queue = context.queueNamed(due.queue);
  const options: JobsOptions = {
    // For a BatchWorker without telemetry. One with telemetry puts its own span in between.
    ...withTrace(withTrace(opts, trace), definition.trace),
    jobId: due.jobId,
    parent: { id: definition.id, queue: context.batches.qualifiedName },
    ignoreDependencyOnFailure: true,
    // The job stays as long as the batch, which shows its outcome; the removal of the batch takes it.
    removeOnComplete: false,
    removeOnFail: false,
  };
  const job = withoutCopies(newJob(queue, name, data, options));
  const kind = due.event === 'success' ? 'fragile' : 'firm';
  const adding = { batchId: definition.id, jobIds: [due.jobId] };
  const entry = { queue: due.queue, id: due.jobId, kind, isPlain: isPlainJob(job) };
  return newEntry(context, job, entry, `of callback '${name}'`, adding);
}
