import { AsyncLocalStorage } from 'node:async_hooks';

/*
 * Which batch the running code is in: set by `batch.jobs(fn)`, read by the wrapped queues. This file imports nothing of
 * the library, so that all of it may import this file.
 */
const storage = new AsyncLocalStorage<Enclosing | undefined>();

/** The batch that the running code is in. */
export interface Enclosing {
  readonly batch: unknown;
  /** Whether the `fn` of `batch.jobs(fn)` has ended: what it has left running keeps its context for ever. */
  readonly isOver: boolean;
}

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

export async function runInside<T>(batch: unknown, fn: () => T | Promise<T>): Promise<T> {
  const entered = { batch, isOver: false };
  try {
    return await storage.run(entered, fn);
  } finally {
    entered.isOver = true;
  }
}

/** Runs code outside of every batch, also when what calls it was made inside of `jobs(fn)`. */
export function runOutside<T>(fn: () => T): T {
  return storage.run(undefined, fn);
}

export function enclosing(): Enclosing | undefined {
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
