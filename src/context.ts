import { AsyncLocalStorage } from 'node:async_hooks';

/*
 * Which batch the running code is in: set by `batch.jobs(fn)`, read by the wrapped queues. This file imports nothing of
 * the library, so that all of it may import this file.
 */
const storage = new AsyncLocalStorage<unknown>();

interface RunningJob {
  readonly finishedOn?: number | undefined;
  readonly attemptsMade?: number;
}

/** A running job whose code has asked for its batch. */
interface NotedJob {
  readonly job: RunningJob;
  readonly attemptsMade: number | undefined;
  /** The batch that it is a member of, once that is known. */
  batchId: string | undefined;
}

const noted = new AsyncLocalStorage<NotedJob>();

export function runInside<T>(enclosing: unknown, fn: () => T): T {
  return storage.run(enclosing, fn);
}

export function enclosing(): unknown {
  return storage.getStore();
}

/** Notes which job the code that follows the call runs. Must be called before the first `await`. */
export function noteJob(job: RunningJob): { batchId: string | undefined } {
  const entry: NotedJob = { job, attemptsMade: job.attemptsMade, batchId: undefined };
  noted.enterWith(entry);
  return entry;
}

/** The batch of the job that the running code belongs to, as far as it was asked for. */
export function notedBatchId(): string | undefined {
  const { job, attemptsMade, batchId } = noted.getStore() ?? {};
  // What a worker does after a job goes on in the job's context. BullMQ writes into the job that it has ended.
  const isRunning = job?.finishedOn === undefined && job?.attemptsMade === attemptsMade;
  return isRunning ? batchId : undefined;
}
