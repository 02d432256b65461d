import type { Job, JobsOptions } from 'bullmq';
import { BatchOptionsError } from '../errors.js';
import { type BatchDefinition, type BatchEvent, EVENTS, type StoredCallback } from '../model/definition.js';
import { CALLBACKS_QUEUE } from '../model/place.js';
import type { CallbackSnapshot, MemberCounts, Snapshot } from '../model/snapshot.js';
import {
  type CallbackJobOptions,
  checkJobOptions,
  checkJson,
  checkKeys,
  checkName,
  checkObject,
  describe,
  nearest,
} from '../validation.js';
import { findQueue, type QueueContext } from './batch-context.js';
import type { QueueLike } from './queue-like.js';

/** A job that is enqueued once, when the event happens, and that is a BullMQ job like any other from then on. */
export interface Callback {
  /**
   * Which queue: its name (BullMQ's default job options apply), or the queue itself (its own do). Default: the queue
   * that the batch is created from.
   */
  readonly queue?: string | QueueLike;
  /** The job's name. */
  readonly name: string;
  /** The job's data, a JSON object; `batch` is added to it (see {@link CallbackBatch}). */
  readonly data?: Readonly<Record<string, unknown>>;
  /** BullMQ's job options, e.g. `attempts` and `backoff`: a callback is retried under its own. */
  readonly opts?: CallbackJobOptions;
}

/**
 * Callbacks by event, one or several each, at most 100 in all: jobs of your queues, or the names of callbacks that
 * BatchWorkers run themselves (the option `callbacks` of BatchWorker).
 */
export type Callbacks<Names extends string = string> = {
  readonly [event in BatchEvent]?: Names | Callback | readonly (Names | Callback)[];
};

/**
 * What the job of a callback finds in `job.data.batch`. The counts are as of the moment when the event happened:
 * `pending` is 0, except for `death` and `attempted`.
 */
export interface CallbackBatch extends MemberCounts {
  /** The id of the batch that calls back. */
  readonly id: string;
  /** The event that has happened. */
  readonly event: BatchEvent;
  /** The description of the batch, if it has one. */
  readonly description?: string;
  /** The id of the parent batch, if there is one. */
  readonly parentId?: string;
  /** Present, and true, when the batch was never sealed: its producer died. */
  readonly abandoned?: true;
  /** Why the batch was cancelled, when it was and a reason was given. */
  readonly cancelReason?: string;
  /** The batch's metadata, as it was when the callback was enqueued. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** The job of a callback, as a BatchWorker hands it to the function that runs it. */
export type CallbackJob<Data extends object = Record<string, unknown>> = Job<
  Data & {
    /** The batch that calls back, with its counts at the moment of the event. */
    readonly batch: CallbackBatch;
  }
>;

/** A method, because its parameter is checked both ways: a function for jobs with certain data fits. */
type Handler = { run(job: CallbackJob): unknown };

/** The callbacks that BatchWorkers run themselves, by name. */
export type CallbackHandlers = Readonly<Record<string, Handler['run']>>;

/** Checks that the callbacks are a map of functions. */
export function checkCallbackHandlers(who: string, callbacks: unknown): asserts callbacks is CallbackHandlers {
  checkObject(`${who}: callbacks`, callbacks);
  for (const [name, run] of Object.entries(callbacks)) {
    if (typeof run !== 'function') {
      throw new BatchOptionsError(`${who}: callbacks['${name}'] must be a function of the job, not ${describe(run)}.`);
    }
  }
}

const CALLBACK_KEYS = ['queue', 'name', 'data', 'opts'];

/** The number is limited because each look at a batch looks at all of its callbacks. */
const MOST_CALLBACKS = 100;

/** Refuses a number of callbacks that only a mistake can register, such as one per row. */
export function checkCallbackCount(what: string, count: number): void {
  if (count > MOST_CALLBACKS) {
    throw new BatchOptionsError(
      `${what} makes ${count} callbacks: a batch has at most ${MOST_CALLBACKS}, of all events together. ` +
        'Add the others as jobs from one callback, or as members.',
    );
  }
}

/**
 * Checks the callbacks of a batch, and resolves their queues and the default options of these, which only the creating
 * process knows.
 */
export function storeCallbacks(on: unknown, context: QueueContext): BatchDefinition['on'] {
  if (on === undefined) {
    return {};
  }
  checkObject(`'on'`, on);
  checkKeys(`'on'`, on, EVENTS);
  checkCallbackCount(`'on'`, EVENTS.flatMap((event) => on[event] ?? []).length);
  const stored: { [event in BatchEvent]?: StoredCallback[] } = {};
  for (const event of EVENTS) {
    const registered = on[event];
    if (registered !== undefined) {
      const list: unknown[] = Array.isArray(registered) ? registered : [registered];
      stored[event] = list.map((callback, i) =>
        storeCallback(Array.isArray(registered) ? `on.${event}[${i}]` : `on.${event}`, callback, context),
      );
    }
  }
  return stored;
}

export function storeCallback(what: string, given: unknown, context: QueueContext): StoredCallback {
  const callback = typeof given === 'string' ? { queue: CALLBACKS_QUEUE, name: given } : given;
  if (typeof callback === 'function') {
    throw new BatchOptionsError(
      `${what} must be a job or a name, not a function: other processes could not call it. Give the function to the ` +
        `BatchWorker, new BatchWorker({ connection, callbacks: { report: … } }), and its name here: 'report'.`,
    );
  }
  checkObject(what, callback, `'report', or { name: 'report', queue: 'mail', data: {} }`);
  checkKeys(what, callback, CALLBACK_KEYS);
  const { name, data, opts = {} } = callback;
  checkName(typeof given === 'string' ? what : `${what}.name`, name);
  if (data !== undefined) {
    checkObject(`${what}.data`, data);
    checkJson(`${what}.data`, data);
    if ('batch' in data) {
      throw new BatchOptionsError(
        `${what}.data must not have a property 'batch': the callback's job finds the batch's counts there.`,
      );
    }
  }
  checkJobOptions(`${what}.opts`, opts);
  checkJson(`${what}.opts`, opts);
  for (const option of ['jobId', 'removeOnComplete', 'removeOnFail'] as const) {
    if (option in opts) {
      throw new BatchOptionsError(
        `${what}.opts must not have '${option}': the batch gives a callback's job its id, and decides how long it is ` +
          'kept.',
      );
    }
  }
  if ('sizeLimit' in opts) {
    throw new BatchOptionsError(
      `${what}.opts must not have 'sizeLimit': a callback that is refused when its event happens would be lost.`,
    );
  }
  const queue = findQueue(`${what}.queue`, callback.queue, context);
  const { callbackNames } = context;
  if (queue.name === CALLBACKS_QUEUE && callbackNames !== undefined && !callbackNames.includes(name)) {
    throw new BatchOptionsError(unknownCallback(what, name, callbackNames));
  }
  const { removeOnComplete, removeOnFail, sizeLimit, ...defaults } = queue.queue.defaultJobOptions;
  checkJson(`The defaultJobOptions of queue '${queue.name}'`, defaults);
  const resolved: JobsOptions = { ...defaults, ...opts };
  return { queue: queue.name, name, data, opts: Object.keys(resolved).length === 0 ? undefined : resolved };
}

/** Returns the message about a callback that is in no map, with the names that are known. */
export function unknownCallback(what: string, name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  const hint = near === undefined ? '' : ` Did you mean '${near}'?`;
  return `${what}: there is no callback '${name}' among 'callbacks'.${hint} Known are: ${known.join(', ')}.`;
}

/** Makes the job of one callback, as it is enqueued. */
export function callbackJob(snapshot: Snapshot, due: CallbackSnapshot) {
  const { definition, completedCounts, counts, abandonedAt, cancelReason } = snapshot;
  const { event, index } = due;
  const callback = definition.on[event]?.[index];
  const batch: CallbackBatch = {
    id: definition.id,
    event,
    ...(definition.description === undefined ? {} : { description: definition.description }),
    ...(definition.parentId === undefined ? {} : { parentId: definition.parentId }),
    ...(event === 'complete' ? (completedCounts ?? counts) : counts),
    ...(abandonedAt === undefined ? {} : { abandoned: true as const }),
    ...(cancelReason === undefined ? {} : { cancelReason }),
    ...(definition.metadata === undefined ? {} : { metadata: definition.metadata }),
  };
  return { name: due.name, data: { ...callback?.data, batch }, opts: { ...callback?.opts } };
}
