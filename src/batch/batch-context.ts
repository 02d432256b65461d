import { type Job, type JobsOptions, Queue } from 'bullmq';
import { BatchOptionsError } from '../errors.js';
import { type BatchesPlace, DEFAULT_BATCHES_QUEUE, DEFAULT_PREFIX } from '../model/place.js';
import { BatchRedis } from '../record/batch-redis.js';
import { isSameAddress, rawClientOf, scriptClientOf } from '../record/client.js';
import { checkJobOptions, checkOneLine, checkQueueName } from '../validation.js';
import type { QueueLike } from './queue-like.js';
import type { Telemetry } from './trace.js';

/** A queue as members are added to it: with BullMQ's own methods, whether or not the queue was wrapped. */
export interface MemberQueue {
  readonly name: string;
  readonly prefix: string;
  readonly queue: QueueLike;
  add(name: string, data: unknown, opts: JobsOptions): Promise<Job>;
  /** Returns the job with this id, if it exists. */
  queueJob(id: string): Promise<Job | undefined>;
  addBulk(jobs: readonly { name: string; data: unknown; opts: JobsOptions }[]): Promise<Job[]>;
}

/** Where batches are kept: a Redis client, a prefix, and the queue of the batch jobs. */
export interface BatchContext {
  readonly redis: BatchRedis;
  readonly batches: Queue;
  /** The telemetry that the queue or the BatchWorker was given. */
  readonly telemetry: Telemetry | undefined;
  /** Returns the queue of this name in this Redis and prefix. */
  queueNamed(name: string): MemberQueue;
}

/** A BatchContext as it is seen through one queue: members and callbacks that name no queue go to that one. */
export interface QueueContext extends BatchContext {
  readonly own: MemberQueue;
  /** The callbacks that BatchWorkers run, if the queue was given them. */
  readonly callbackNames?: readonly string[] | undefined;
}

/** The queues that were wrapped, each with the name of the queue that holds its batches. */
const batchesQueues = new WeakMap<object, string>();

/**
 * Returns the name of the queue that holds the batches of a wrapped queue; undefined for a queue that was not wrapped.
 */
export function batchesQueueOf(queue: QueueLike): string | undefined {
  return batchesQueues.get(queue);
}

/** Notes that a queue was wrapped, and which queue holds its batches. */
export function keepBatchesIn(queue: QueueLike, batchesQueue: string): void {
  batchesQueues.set(queue, batchesQueue);
  const known = wrapped.get(queue.name) ?? [];
  wrapped.set(queue.name, [new WeakRef(queue), ...known.filter((ref) => ref.deref() !== undefined)]);
}

/** The queues that were wrapped in this process, by name, the latest first. */
const wrapped = new Map<string, readonly WeakRef<QueueLike>[]>();

/**
 * Finds the queue of this name that was wrapped in this process for the batches of this context: if there are several,
 * one with the same address, otherwise the one that was wrapped last. Only options are compared: a connection may be
 * down, and nothing is added through it.
 */
export function wrappedQueue(name: string, { redis, batches }: BatchContext): MemberQueue | undefined {
  const candidates = (wrapped.get(name) ?? []).flatMap((ref) => {
    const queue = ref.deref();
    const isOfPlace =
      queue !== undefined &&
      (queue.opts.prefix ?? DEFAULT_PREFIX) === redis.prefix &&
      batchesQueueOf(queue) === redis.batchesQueue;
    return isOfPlace ? [queue] : [];
  });
  const hasSameAddress = (queue: QueueLike) => isSameAddress(queue.opts.connection, batches.opts.connection);
  const found = candidates.find(hasSameAddress) ?? candidates[0];
  return found && memberQueueOf(found);
}

/** Refuses a queue that was wrapped to have its own batches elsewhere. */
export function checkSameBatches(what: string, { queue, name }: MemberQueue, context: BatchContext): void {
  const other = batchesQueueOf(queue);
  if (other !== undefined && other !== context.redis.batchesQueue) {
    throw new BatchOptionsError(
      `${what}: queue '${name}' was wrapped with the batchesQueue '${other}', and the batch is kept in the queue ` +
        `'${context.redis.batchesQueue}'. Give withBatches() the same batchesQueue for both.`,
    );
  }
}

const memberQueues = new WeakMap<object, MemberQueue>();

/**
 * Returns the queue with its methods as they were before it was wrapped. withBatches() calls this before it replaces
 * them; later calls return what was kept then.
 */
export function memberQueueOf(queue: QueueLike): MemberQueue {
  const known = memberQueues.get(queue);
  if (known !== undefined) {
    return known;
  }
  checkOneLine('The name of a queue', queue.name);
  checkOneLine(`The prefix of queue '${queue.name}'`, queue.opts.prefix ?? '');
  checkJobOptions(`The defaultJobOptions of queue '${queue.name}'`, queue.defaultJobOptions);
  const { add, addBulk } = queue as unknown as Queue;
  const member: MemberQueue = {
    name: queue.name,
    prefix: queue.opts.prefix ?? DEFAULT_PREFIX,
    queue,
    add: (name, data, opts) => add.call(queue, name, data, opts),
    queueJob: (id) => (queue as unknown as Queue).getJob(id),
    addBulk: (jobs) => addBulk.call(queue, jobs as Parameters<Queue['addBulk']>[0]),
  };
  memberQueues.set(queue, member);
  return member;
}

/** Refuses the queue that holds the batches: batches can be read through it, and nothing else may be put into it. */
export function checkNotBatches(name: string, batchesQueue: string): void {
  if (name === batchesQueue) {
    throw new BatchOptionsError(
      `The queue '${batchesQueue}' holds the batches themselves: BullMQ deletes a parent that shares a queue with ` +
        'its children when that queue is drained. Take a queue of another name for members and callbacks.',
    );
  }
}

/**
 * Finds the queue that a member or callback names; by default the one that the batch was opened through.
 *
 * @throws BatchOptionsError for a queue with another prefix, or with batches elsewhere, and for the batches queue.
 */
export function findQueue(what: string, wanted: unknown, context: QueueContext): MemberQueue {
  const { own } = context;
  if (wanted === undefined || wanted === own.name || wanted === own.queue) {
    checkNotBatches(own.name, context.batches.name);
    return own;
  }
  if (typeof wanted === 'string') {
    checkQueueName(what, wanted);
    checkNotBatches(wanted, context.batches.name);
    return context.queueNamed(wanted);
  }
  if (!isQueue(wanted)) {
    throw new BatchOptionsError(`${what} must be the name of a queue or a BullMQ Queue.`);
  }
  checkNotBatches(wanted.name, context.batches.name);
  const queue = memberQueueOf(wanted);
  if (queue.prefix !== own.prefix) {
    throw new BatchOptionsError(
      `${what}: queue '${queue.name}' has the prefix '${queue.prefix}', the batch has '${own.prefix}'. A batch, its ` +
        `members and its callbacks share one prefix.`,
    );
  }
  checkSameBatches(what, queue, context);
  return queue;
}

export function isQueue(value: unknown): value is QueueLike {
  const queue = value as Partial<QueueLike> | null | undefined;
  return (
    typeof queue === 'object' &&
    queue !== null &&
    typeof queue.name === 'string' &&
    typeof queue.add === 'function' &&
    typeof queue.addBulk === 'function' &&
    typeof queue.opts === 'object'
  );
}

const contexts = new WeakMap<object, BatchContext[]>();

/**
 * Returns the context of a queue's batches. Queues share it if they have the client, the prefix, the batches queue and
 * the telemetry in common.
 *
 * @param batchesQueue the queue that holds the batches. Default: as the queue was wrapped.
 */
export async function contextOf(
  queue: QueueLike,
  batchesQueue: string = batchesQueueOf(queue) ?? DEFAULT_BATCHES_QUEUE,
): Promise<BatchContext> {
  const { prefix = DEFAULT_PREFIX, telemetry } = queue.opts;
  return contextOn(await rawClientOf(queue), { prefix, batchesQueue }, telemetry as Telemetry | undefined);
}

/** Returns the context of the batches that are kept at this place, by a client that its owner closes. */
export function contextOn(client: object, place: BatchesPlace, telemetry: Telemetry | undefined): BatchContext {
  const { prefix, batchesQueue } = place;
  const known = contexts.get(client) ?? [];
  const found = known.find(
    ({ redis, telemetry: own }) => redis.prefix === prefix && redis.batchesQueue === batchesQueue && own === telemetry,
  );
  if (found !== undefined) {
    return found;
  }
  const context = createContext(client, place, telemetry);
  contexts.set(client, [...known, context]);
  return context;
}

function createContext(
  client: object,
  { prefix, batchesQueue }: BatchesPlace,
  telemetry: Telemetry | undefined,
): BatchContext {
  const queues = new Map<string, MemberQueue>();
  const options = { connection: client, prefix, ...(telemetry && { telemetry }) };
  return {
    redis: new BatchRedis(scriptClientOf(client), prefix, batchesQueue),
    batches: queueOnClient(batchesQueue, options),
    telemetry,
    queueNamed(name) {
      const queue = queues.get(name) ?? memberQueueOf(queueOnClient(name, options) as unknown as QueueLike);
      queues.set(name, queue);
      return queue;
    },
  };
}

/**
 * Makes a queue on a connection whose owner closes it. It does not write the queue's meta key, which would overwrite
 * the stream length that the user's own queue has set.
 */
function queueOnClient(name: string, options: object): Queue {
  const queue = new Queue(name, { ...options, skipMetasUpdate: true } as ConstructorParameters<typeof Queue>[1]);
  // The errors of the connection reach its owner. Without a listener here BullMQ would print them a second time.
  queue.on('error', () => {});
  return queue;
}
