import type { Job } from 'bullmq';
import { Batch, createBatch, loadBatch } from './batch/batch.js';
import { type BatchOptions, checkBatchOptions } from './batch/create.js';
import {
  batchesQueueOf,
  checkNotBatches,
  homeOf,
  isQueue,
  keepBatchesIn,
  type MemberQueue,
  memberQueueOf,
} from './batch/home.js';
import { type BatchJobs, checkIterable, checkJobs, type Opener } from './batch/job.js';
import { type BatchCounts, batchOf, getBatchCounts, getBatches, type ListedState } from './batch/lookup.js';
import type { JobLike, QueueLike } from './batch/queue-like.js';
import { enclosing } from './context.js';
import { BatchMemberError, BatchOptionsError } from './errors.js';
import { DEFAULT_BATCHES_QUEUE } from './model/place.js';
import { checkBackend } from './record/client.js';
import { isConnectionError } from './record/connection-error.js';
import { checkBatchesQueue, checkKeys, checkName, checkObject, describe } from './validation.js';

/** Options of `withBatches()`. */
export interface WithBatchesOptions {
  /**
   * The queue that holds the batches, for an application that has a queue `batches` of its own. It is the same for all
   * queues and BatchWorkers of a Redis and prefix: another one is refused while there are batches in the first. No ':'.
   * Default: 'batches'.
   */
  readonly batchesQueue?: string;
}

/** What `withBatches` adds to a queue. */
export interface BatchMethods<Q extends QueueLike> {
  /**
   * Creates an open batch: add its members, then `seal()` it.
   *
   * @param options everything is optional; an `id` that exists returns that batch, with `created: false`.
   * @throws BatchOptionsError for bad options, before anything is written.
   * @throws BatchConflictError when `id` exists with another parent or other callbacks.
   *
   * @example
   * const batch = await users.createBatch({ on: { success: { name: 'mark-visible', data: { product: 7 } } } });
   */
  createBatch(options?: BatchOptions): Promise<Batch<Q>>;

  /**
   * Creates a batch, adds its members and seals it. With an `id` it can be run again after a crash: the source must
   * then yield the same sequence, and what is there already is left alone.
   *
   * @param options as of `createBatch()`.
   * @param jobs as of `batch.addBulk()`.
   * @throws as `createBatch` and `batch.addBulk`.
   *
   * @example
   * const uploads = files.map((file) => ({ name: 'upload', data: { file } }));
   * await images.addBatch({ on: { success: { name: 'mark-visible' } } }, uploads);
   */
  addBatch(options: BatchOptions, jobs: BatchJobs<Q>): Promise<Batch<Q>>;

  /**
   * Returns the handle of a batch that exists in this Redis and prefix, whichever queue it was created from.
   *
   * @param id the id of the batch.
   * @throws BatchNotFoundError when there is no such batch.
   *
   * @example
   * const { state } = await (await users.getBatch('import-42')).status();
   */
  getBatch(id: string): Promise<Batch<Q>>;

  /**
   * Returns the batch that a job belongs to, as a member or as a callback, or undefined. The handle carries the job's
   * right to add: a running member may add to its batch, also when it is sealed; a callback to `parent()`.
   *
   * @param job the job that a processor was given. Of a job inside of a flow, the batch of the flow's root is returned.
   * @throws BatchOptionsError for what is not a job.
   * @example
   * new Worker('users', async (job) => {
   *   const batch = await users.batchOf(job);
   *   await batch?.add('send-invitation', { user: job.data.id });
   * });
   */
  batchOf(job: JobLike): Promise<Batch<Q> | undefined>;

  /**
   * Lists the batches of this Redis and prefix by state, newest first.
   *
   * @param states one state or several: 'open', 'running' (with finishing), 'succeeded', 'failed' (with cancelled).
   * Default: all.
   * @param start the first position, counted from 0 in each state. Default: 0.
   * @param end the last position, inclusive, as in BullMQ; -1 is the end of the list. Default: -1.
   * @throws BatchOptionsError for an unknown state, and for positions that are no such integers.
   *
   * @example
   * const [latest] = await users.getBatches('failed', 0, 0);
   */
  getBatches(states?: ListedState | readonly ListedState[], start?: number, end?: number): Promise<Batch<Q>[]>;

  /**
   * Counts the batches of this Redis and prefix by state.
   *
   * @example
   * const { open, running, succeeded, failed } = await users.getBatchCounts();
   */
  getBatchCounts(): Promise<BatchCounts>;
}

/** A queue with batch methods: the same queue, for BullMQ and for everything that uses it. */
export type BatchQueue<Q extends QueueLike> = Q & BatchMethods<Q>;

/**
 * Gives a BullMQ queue batch methods. Any queue of the application will do to find batches, also the queue that holds
 * them (`batches`, or another `batchesQueue`), to which nothing can be added. It stays the same object: jobs that are
 * added outside of `batch.jobs()` are added as before, and wrapping it again does nothing.
 *
 * @param queue a BullMQ `Queue`, of version 5 or 6.
 * @param options `batchesQueue`, if the queue that holds the batches is not called 'batches'.
 * @returns the same queue.
 * @throws BatchOptionsError when it is not a queue, or one that cannot hold batches (PostgreSQL; Redis Cluster without
 * a hash tag in the prefix); for bad options, and for another `batchesQueue` than the queue was wrapped with before.
 *
 * @example
 * const users = withBatches(new Queue('users', { connection }));
 */
export function withBatches<Q extends QueueLike>(queue: Q, options: WithBatchesOptions = {}): BatchQueue<Q> {
  if (!isQueue(queue)) {
    throw new BatchOptionsError(
      `withBatches() takes a BullMQ Queue, not ${describe(queue)}: withBatches(new Queue('users', { connection })).`,
    );
  }
  checkOptions(options);
  const before = batchesQueueOf(queue);
  if (before !== undefined) {
    checkUnchanged(queue, before, options.batchesQueue);
    return queue as BatchQueue<Q>;
  }
  const { batchesQueue = DEFAULT_BATCHES_QUEUE } = options;
  checkBackend(queue);
  const own = memberQueueOf(queue);
  const methods = { ...batchMethods(queue, own), ...addingInsideJobs(own, batchesQueue) };
  for (const [name, value] of Object.entries(methods)) {
    Object.defineProperty(queue, name, { value, writable: true, configurable: true });
  }
  keepBatchesIn(queue, batchesQueue);
  return queue as BatchQueue<Q>;
}

function checkOptions(options: WithBatchesOptions): void {
  checkObject('The options of withBatches', options);
  checkKeys('withBatches', options, ['batchesQueue']);
  if (options.batchesQueue !== undefined) {
    checkBatchesQueue('withBatches: batchesQueue', options.batchesQueue);
  }
}

function checkUnchanged({ name }: QueueLike, before: string, wanted = before): void {
  if (wanted !== before) {
    throw new BatchOptionsError(
      `Queue '${name}' was wrapped with the batchesQueue '${before}' before, and now with '${wanted}'. Give ` +
        'withBatches() the same batchesQueue everywhere.',
    );
  }
}

function batchMethods<Q extends QueueLike>(queue: Q, own: MemberQueue): BatchMethods<Q> {
  const opener = async (): Promise<Opener> => ({ own, home: await homeOf(queue) });
  const create = async (options: BatchOptions = {}) => {
    checkBatchOptions(options);
    const parent = options.parent ?? enclosingBatch();
    return createBatch<Q>(await opener(), parent === undefined ? options : { ...options, parent });
  };
  return {
    createBatch: create,
    async addBatch(options, jobs) {
      checkIterable('addBatch', jobs);
      checkBatchOptions(options);
      if (Array.isArray(jobs)) {
        checkJobs(jobs, await opener(), options.id);
      }
      const batch = await create(options);
      await fill(batch, jobs, options.id !== undefined);
      return batch;
    },
    async getBatch(id) {
      checkName('The id of a batch', id);
      return loadBatch<Q>(await opener(), id);
    },
    batchOf: async (job) => batchOf<Q>(await opener(), job),
    getBatches: async (states, start, end) => getBatches<Q>(await opener(), states, start, end),
    getBatchCounts: async () => getBatchCounts(await opener()),
  };
}

/**
 * Fills and seals a batch; one that cannot be filled is removed if it was created for it, so that it calls nobody back.
 */
async function fill<Q extends QueueLike>(batch: Batch<Q>, jobs: BatchJobs<Q>, isRepeatable: boolean): Promise<void> {
  try {
    await batch.addChecked(jobs, isRepeatable);
    await batch.seal();
  } catch (error) {
    if (batch.created && !isLost(error)) {
      await batch.remove({ force: true, members: true }).catch(() => {});
    }
    throw error;
  }
}

/**
 * After an error of the connection it is not known what was added: what is there stays, for a second try with the same
 * id.
 */
function isLost(error: unknown): boolean {
  return isConnectionError(error) || (error instanceof BatchMemberError && isConnectionError(error.cause));
}

/**
 * The queue's own `add` and `addBulk`: inside of `batch.jobs(fn)` they add members, everywhere else they are BullMQ's;
 * to the queue of the batches nothing is added.
 */
function addingInsideJobs(
  own: MemberQueue,
  batchesQueue: string,
): Record<'add' | 'addBulk', (...args: never[]) => Promise<unknown>> {
  return {
    async add(name: string, data: unknown, opts?: object): Promise<Job> {
      checkNotBatches(own.name, batchesQueue);
      const batch = enclosingBatch();
      if (batch === undefined) {
        return own.add(name, data, opts as never);
      }
      const { jobs } = await batch.addTo(own, [{ name, data, opts }]);
      return jobs[0] as Job;
    },
    async addBulk(jobs: { name: string; data: unknown; opts: object }[]): Promise<readonly Job[]> {
      checkNotBatches(own.name, batchesQueue);
      const batch = enclosingBatch();
      return batch === undefined ? own.addBulk(jobs) : (await batch.addTo(own, jobs)).jobs;
    },
  };
}

function enclosingBatch(): Batch | undefined {
  const batch = enclosing();
  return batch instanceof Batch ? batch : undefined;
}
