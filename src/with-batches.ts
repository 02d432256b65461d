import type { Job } from 'bullmq';
import { type Batch, createBatch, loadBatch } from './batch/batch.js';
import {
  batchesQueueOf,
  checkNotBatches,
  contextOf,
  isQueue,
  keepBatchesIn,
  type MemberQueue,
  memberQueueOf,
  type QueueContext,
} from './batch/batch-context.js';
import { type BatchOptions, checkBatchOptions } from './batch/batch-options.js';
import { type CallbackHandlers, checkCallbackHandlers } from './batch/callbacks.js';
import { enclosingBatch } from './batch/enclosing-batch.js';
import { type BatchJobs, type CheckedJob, checkIterable, checkJobs } from './batch/job.js';
import {
  type BatchCounts,
  type BatchQuery,
  batchOf,
  getBatchCounts,
  getBatches,
  type ListedState,
} from './batch/lookup.js';
import type { JobLike, QueueLike } from './batch/queue-like.js';
import { signalOf } from './batch/signal.js';
import { notedBatchId, noteJob } from './context.js';
import { BatchMemberError, BatchOptionsError } from './errors.js';
import { DEFAULT_BATCHES_QUEUE } from './model/place.js';
import { checkBackend } from './record/client.js';
import { isConnectionError } from './record/connection-error.js';
import { checkKeys, checkName, checkObject, checkQueueName, describe, escapedId } from './validation.js';

/** Options of `withBatches()`. */
export interface WithBatchesOptions<Handlers extends CallbackHandlers = CallbackHandlers> {
  /**
   * The queue that holds the batches, for an application that has a queue `batches` of its own. It is the same for all
   * queues and BatchWorkers of a Redis and prefix: another one is refused while there are batches in the first. No ':'.
   * Default: 'batches'.
   */
  readonly batchesQueue?: string;
  /**
   * The callbacks that your BatchWorkers run: the same map as theirs. It makes `on: { complete: 'name' }` typed, and
   * names that are not in it are refused when a batch is created. Default: any name is taken.
   */
  readonly callbacks?: Handlers;
}

/** What `withBatches` adds to a queue. */
export interface BatchMethods<Q extends QueueLike, Names extends string = string> {
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
  createBatch(options?: BatchOptions<Names>): Promise<Batch<Q, Names>>;

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
  addBatch(options: BatchOptions<Names>, jobs: BatchJobs<Q>): Promise<Batch<Q, Names>>;

  /**
   * Returns the handle of a batch that exists in this Redis and prefix, whichever queue it was created from.
   *
   * @param id the id of the batch.
   * @throws BatchNotFoundError when there is no such batch.
   *
   * @example
   * const { state } = await (await users.getBatch('import-42')).status();
   */
  getBatch(id: string): Promise<Batch<Q, Names>>;

  /**
   * Returns the batch that a job belongs to, as a member or as a callback, or undefined. The handle carries the job's
   * right to add: a running member may add to its batch, also when it is sealed; a callback to `parent()`.
   *
   * What is added through it, and through the batches that are created through it, gets its id from the job and the
   * content: when the job runs a second time, after a failure or a crash, only what is new is added.
   *
   * @param job the job that a processor was given. Of a job inside of a flow, the batch of the flow's root is returned.
   * @throws BatchOptionsError for what is not a job.
   *
   * @example
   * new Worker('users', async (job) => {
   *   const batch = await users.batchOf(job);
   *   await batch?.add('send-invitation', { user: job.data.id });
   * });
   */
  batchOf(job: JobLike): Promise<Batch<Q, Names> | undefined>;

  /**
   * Returns a signal that aborts within about a second when the batch of a running job, or one above it, is cancelled
   * or removed, with a BatchError as its reason. Of a job outside of batches it never does. One small command a second,
   * as long as the job runs.
   *
   * @param job the job that a processor was given.
   *
   * @example
   * new Worker('users', async (job) => {
   *   const signal = users.signalOf(job);
   *   const page = await fetch(job.data.url, { signal });   // rejects when the batch is cancelled
   *   signal.throwIfAborted();
   * });
   */
  signalOf(job: JobLike): AbortSignal;

  /**
   * Lists the batches with a tag, state by state, the newest first in each.
   *
   * @param query the tag, and, as for the other form, states and positions: those among the batches with the tag.
   * @throws BatchOptionsError for an unknown state, and for positions that are no such integers.
   *
   * @example
   * const ofAcme = await users.getBatches({ tag: 'acme', states: 'failed' });
   */
  getBatches(query: BatchQuery): Promise<Batch<Q, Names>[]>;

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
  getBatches(states?: ListedState | readonly ListedState[], start?: number, end?: number): Promise<Batch<Q, Names>[]>;

  /**
   * Counts the batches of this Redis and prefix by state.
   *
   * @example
   * const { open, running, succeeded, failed } = await users.getBatchCounts();
   */
  getBatchCounts(): Promise<BatchCounts>;
}

/** A queue with batch methods: the same queue, for BullMQ and for everything that uses it. */
export type BatchQueue<Q extends QueueLike, Names extends string = string> = Q & BatchMethods<Q, Names>;

/**
 * Gives a BullMQ queue batch methods. The queue stays the same object: jobs that are added outside of `batch.jobs()`
 * are added as before, and wrapping it again does nothing. Batches can be found through any wrapped queue, also through
 * the one that holds them (`batches`, or another `batchesQueue`), to which nothing can be added.
 *
 * @param queue a BullMQ `Queue`, of version 5 or 6.
 * @param options `batchesQueue`, if the queue that holds the batches is not called 'batches'; `callbacks`, the map of
 * functions that BatchWorkers are given, for its names.
 * @typeParam Q the queue, from which the types of names, data and results are inferred.
 * @typeParam Handlers the map of callbacks, from which their names are inferred.
 * @returns the same queue.
 * @throws BatchOptionsError when it is not a queue, or one that cannot hold batches (PostgreSQL; Redis Cluster without
 * a hash tag in the prefix); for bad options, and for another `batchesQueue` than the queue was wrapped with before.
 *
 * @example
 * const users = withBatches(new Queue('users', { connection }));
 */
export function withBatches<Q extends QueueLike, Handlers extends CallbackHandlers = CallbackHandlers>(
  queue: Q,
  options: WithBatchesOptions<Handlers> = {},
): BatchQueue<Q, keyof Handlers & string> {
  if (!isQueue(queue)) {
    throw new BatchOptionsError(
      `withBatches() takes a BullMQ Queue, not ${describe(queue)}: withBatches(new Queue('users', { connection })).`,
    );
  }
  checkOptions(options);
  const { batchesQueue, callbacks } = options;
  const before = batchesQueueOf(queue);
  if (before === undefined) {
    wrap(queue, batchesQueue ?? DEFAULT_BATCHES_QUEUE);
  } else {
    checkUnchanged(queue, before, batchesQueue);
  }
  if (callbacks !== undefined) {
    callbackNames.set(queue, Object.keys(callbacks));
  }
  return queue as BatchQueue<Q, keyof Handlers & string>;
}

function wrap(queue: QueueLike, batchesQueue: string): void {
  checkBackend(queue);
  const own = memberQueueOf(queue);
  const methods = { ...batchMethods(queue, own), ...addingInsideJobs(own, batchesQueue) };
  for (const [name, value] of Object.entries(methods)) {
    Object.defineProperty(queue, name, { value, writable: true, configurable: true });
  }
  keepBatchesIn(queue, batchesQueue);
}

function checkOptions(options: WithBatchesOptions): void {
  checkObject('The options of withBatches', options);
  checkKeys('withBatches', options, ['batchesQueue', 'callbacks']);
  if (options.batchesQueue !== undefined) {
    checkQueueName('withBatches: batchesQueue', options.batchesQueue);
  }
  if (options.callbacks !== undefined) {
    checkCallbackHandlers('withBatches', options.callbacks);
  }
}

/** The names of the callbacks that BatchWorkers run, by queue, for the queues that were given them. */
const callbackNames = new WeakMap<QueueLike, readonly string[]>();

function checkUnchanged({ name }: QueueLike, before: string, wanted = before): void {
  if (wanted !== before) {
    throw new BatchOptionsError(
      `Queue '${name}' was wrapped with the batchesQueue '${before}' before, and now with '${wanted}'. Give ` +
        'withBatches() the same batchesQueue everywhere.',
    );
  }
}

function batchMethods<Q extends QueueLike>(queue: Q, own: MemberQueue): BatchMethods<Q> {
  const openContext = async (): Promise<QueueContext> => ({
    ...(await contextOf(queue)),
    own,
    callbackNames: callbackNames.get(queue),
  });
  const checked = (what: string, options: BatchOptions): BatchOptions => {
    checkOwnQueue(options, own);
    checkBatchOptions(options);
    const parent = options.parent ?? enclosingBatch(`${what}() of queue '${own.name}'`);
    return parent === undefined ? options : { ...options, parent };
  };
  const create = async (options: BatchOptions, members: readonly CheckedJob[] = []) => {
    if (options.parent === undefined) {
      warnWithoutParent(own);
    }
    return createBatch<Q>(await openContext(), options, members);
  };
  return {
    createBatch: async (options = {}) => create(checked('createBatch', options)),
    async addBatch(given, jobs) {
      if (Array.isArray(given)) {
        throw new BatchOptionsError('addBatch(options, jobs) takes the options first: addBatch({}, jobs) has none.');
      }
      checkIterable('addBatch', jobs);
      const options = checked('addBatch', given);
      const batchId = options.id === undefined ? undefined : escapedId(options.id);
      const members = Array.isArray(jobs) ? checkJobs(jobs, await openContext(), batchId) : undefined;
      const batch = await create(options, members);
      if (!batch.isFilled) {
        await fill(batch, members ?? jobs, options.id !== undefined);
      }
      return batch;
    },
    async getBatch(id) {
      checkName('The id of a batch', id);
      return loadBatch<Q>(await openContext(), id);
    },
    batchOf: (job) => {
      // Before the first await: the code that follows the call must know the job that it runs.
      const noted = typeof job?.token === 'string' ? noteJob(job) : undefined;
      return openContext().then(async (context) => {
        const batch = await batchOf<Q>(context, job);
        if (noted !== undefined && batch?.isAddedToBy === 'member') {
          noted.batchId = batch.id;
        }
        return batch;
      });
    },
    signalOf: (job) => signalOf(openContext, job),
    getBatches: async (states?: ListedState | readonly ListedState[] | BatchQuery, start?: number, end?: number) =>
      getBatches<Q>(await openContext(), isQuery(states) ? states : { states, start, end }),
    getBatchCounts: async () => getBatchCounts(await openContext()),
  };
}

function isQuery(states: ListedState | readonly ListedState[] | BatchQuery | undefined): states is BatchQuery {
  return typeof states === 'object' && !Array.isArray(states);
}

function checkOwnQueue(options: object, { name }: MemberQueue): void {
  if (typeof options === 'object' && options !== null && 'queue' in options) {
    throw new BatchOptionsError(
      `A batch that is created from queue '${name}' takes no 'queue': create it from the queue that its members are ` +
        'for, e.g. users.createBatch({ parent }), or as a child, with batch.createBatch({ queue: users }).',
    );
  }
}

let hasWarned = false;

/**
 * Warns about a member that creates a batch for the rest of its work without naming its own batch as the parent: its
 * own batch then finishes early.
 */
function warnWithoutParent({ name }: MemberQueue): void {
  const batchId = notedBatchId();
  if (batchId !== undefined && !hasWarned) {
    hasWarned = true;
    process.emitWarning(
      `A member of batch '${batchId}' has created a batch in queue '${name}' without a parent: batch '${batchId}' ` +
        'does not wait for it. Create it as a child, with batch.createBatch({ queue }) or ' +
        'createBatch({ parent: batch }) of what batchOf(job) has returned.',
      { type: 'BatchWarning', code: 'BATCH_WITHOUT_PARENT' },
    );
  }
}

/**
 * Fills and seals a batch. If that fails, a batch that this call has created is removed, so that no callback runs.
 */
async function fill<Q extends QueueLike>(
  batch: Batch<Q>,
  jobs: BatchJobs<Q> | readonly CheckedJob[],
  isRepeatable: boolean,
): Promise<void> {
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
 * Whether it is not known what was added, as after an error of the connection. What is there then stays, for a second
 * try with the same id.
 */
function isLost(error: unknown): boolean {
  return isConnectionError(error) || (error instanceof BatchMemberError && isConnectionError(error.cause));
}

/**
 * Replaces the queue's own `add` and `addBulk`: inside of `batch.jobs(fn)` they add members, and everywhere else they
 * are BullMQ's. Nothing can be added to the queue that holds the batches.
 */
function addingInsideJobs(
  own: MemberQueue,
  batchesQueue: string,
): Record<'add' | 'addBulk', (...args: never[]) => Promise<unknown>> {
  return {
    async add(name: string, data: unknown, opts?: object): Promise<Job> {
      checkNotBatches(own.name, batchesQueue);
      const batch = enclosingBatch(`add() of queue '${own.name}'`);
      if (batch === undefined) {
        return own.add(name, data, opts as never);
      }
      const [job] = await batch.addTo(own, [{ name, data, opts }]);
      return job as Job;
    },
    async addBulk(jobs: { name: string; data: unknown; opts: object }[]): Promise<readonly Job[]> {
      checkNotBatches(own.name, batchesQueue);
      const batch = enclosingBatch(`addBulk() of queue '${own.name}'`);
      return batch === undefined ? own.addBulk(jobs) : batch.addTo(own, jobs);
    },
  };
}
