import { type ConnectionOptions, type Job, Worker } from 'bullmq';
import {
  type Batch,
  BatchOptionsError,
  type BatchStatus,
  BatchTimeoutError,
  BatchWorker,
  type CallbackHandlers,
  type CallbackJob,
} from '../../index.js';

/** The processors of a test, by the names of their queues: as BullMQ's `Worker` takes them. */
// biome-ignore lint/suspicious/noExplicitAny: a processor is for the jobs of its own queue, whatever their types are
export type Processors = Readonly<Record<string, (job: Job<any, any, string>, token?: string) => unknown>>;

/** Where, with what, and for how long `runToEnd()` runs a batch. */
export interface RunToEndOptions {
  /** BullMQ's connection: that of the queues. */
  readonly connection: ConnectionOptions;
  /** The prefix of the queues. Default: BullMQ's, 'bull'. */
  readonly prefix?: string;
  /** The queue that holds the batches, as in `withBatches(queue, { batchesQueue })`. Default: 'batches'. */
  readonly batchesQueue?: string;
  /** The callbacks that are given by name, as for a BatchWorker. Default: none. */
  readonly callbacks?: CallbackHandlers;
  /** After how many ms it gives up. Default: 10,000. */
  readonly timeout?: number;
}

/** A run of a job: a job that is tried again has several. */
export interface JobRun {
  /** The queue of the job. */
  readonly queue: string;
  /** The name of the job. */
  readonly name: string;
  /** The id of the job. */
  readonly id: string;
  /** The data of the job when the run ended. */
  readonly data: unknown;
  /** What it returned; undefined when it threw. */
  readonly value: unknown;
  /** What it threw; undefined when it returned. */
  readonly error: unknown;
}

/** What `runToEnd()` has seen. */
export interface EndedRun {
  /** The final status of the batch. */
  readonly status: BatchStatus;
  /** The runs of members and callbacks, in the order in which they ended. */
  readonly ran: readonly JobRun[];
}

/** So short that a test does not wait for them. */
const INTERVALS = { sweepInterval: 20, reconcileInterval: 100, stalledInterval: 500, missingAfter: 1000 };

const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * Runs a batch to its end in a test: starts a worker for each queue and a BatchWorker with short intervals, waits until
 * the batch has finished, and closes them.
 *
 * @param batch the batch, sealed, or sealed by one of its jobs.
 * @param processors by queue; jobs of other queues are not run.
 * @returns the final status, whatever the outcome, and what ran.
 * @throws BatchOptionsError for a batch that was not awaited, and for what is no processor.
 * @throws BatchTimeoutError when the batch has not finished in time, with all that `explain()` says.
 *
 * @example
 * const batch = await users.addBatch({ on: { complete: 'report' } }, rows);
 * const { status, ran } = await runToEnd(batch, { users: importUser }, { connection, callbacks });
 * expect(status.state).toBe('succeeded');
 */
export async function runToEnd(batch: Batch, processors: Processors, options: RunToEndOptions): Promise<EndedRun> {
  checkArguments(batch, processors, options);
  const { callbacks, timeout = DEFAULT_TIMEOUT_MS, ...place } = options;
  const ran: JobRun[] = [];
  const errors: Error[] = [];
  const batchWorker = new BatchWorker({
    ...place,
    ...INTERVALS,
    ...(callbacks === undefined ? {} : { callbacks: recording(ran, callbacks) }),
  });
  const workers = Object.entries(processors).map(([queue, run]) => {
    const { connection, prefix } = place;
    const worker = new Worker(queue, (job: Job, token?: string) => record(ran, job, (own) => run(own, token)), {
      connection,
      ...(prefix === undefined ? {} : { prefix }),
    });
    return worker.on('error', (error) => errors.push(error));
  });
  batchWorker.on('error', (error) => errors.push(error));
  let isInTime = false;
  try {
    const status = await batch.waitUntilFinished(timeout).catch(async (error: unknown) => {
      throw error instanceof BatchTimeoutError ? await explained(batch, timeout, errors) : error;
    });
    isInTime = true;
    return { status, ran };
  } finally {
    // A job that hangs would be waited for.
    await Promise.all([batchWorker, ...workers].map((one) => close(one, isInTime)));
  }
}

/** Tests in plain JavaScript have no types that tell what is missing. */
function checkArguments(batch: Partial<Batch> | undefined, processors: unknown, options: unknown): void {
  if (typeof batch?.waitUntilFinished !== 'function') {
    throw new BatchOptionsError('runToEnd(): the first argument must be a Batch: await what addBatch() returns.');
  }
  if (Object.values(processors ?? [undefined]).some((run) => typeof run !== 'function')) {
    throw new BatchOptionsError('runToEnd(): the second argument must have a function for each queue: { users: run }.');
  }
  if (typeof options !== 'object' || options === null || !('connection' in options)) {
    throw new BatchOptionsError(
      'runToEnd(): the third argument must have the connection of the queues: { connection }.',
    );
  }
}

function recording(ran: JobRun[], callbacks: CallbackHandlers): CallbackHandlers {
  const entries = Object.entries(callbacks);
  return Object.fromEntries(entries.map(([name, run]) => [name, (job: CallbackJob) => record(ran, job, run)]));
}

async function record<J extends Job>(ran: JobRun[], job: J, run: (job: J) => unknown): Promise<unknown> {
  const { queueName: queue, name, id = '' } = job;
  const note = (outcome: Pick<JobRun, 'value' | 'error'>) => ran.push({ queue, name, id, data: job.data, ...outcome });
  try {
    const value = await run(job);
    note({ value, error: undefined });
    return value;
  } catch (error) {
    note({ value: undefined, error });
    throw error;
  }
}

async function explained(batch: Batch, timeout: number, errors: readonly Error[]): Promise<BatchTimeoutError> {
  const { reasons } = await batch.explain();
  const lines = [...reasons, ...new Set(errors.map(({ message }) => `A worker reported: ${message}`))];
  return new BatchTimeoutError(
    `Batch '${batch.id}' has not finished after ${timeout} ms.\n${lines.map((line) => `- ${line}`).join('\n')}`,
    { batchId: batch.id },
  );
}

async function close(one: Worker | BatchWorker, waitsForJobs: boolean): Promise<void> {
  const closed = one instanceof Worker ? one.close(!waitsForJobs) : one.close();
  if (waitsForJobs) {
    await closed;
  } else {
    closed.catch(() => {});
  }
}
