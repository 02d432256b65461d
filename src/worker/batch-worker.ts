import { EventEmitter } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { type ConnectionOptions, type Job, Worker } from 'bullmq';
import { type BatchContext, contextOn } from '../batch/batch-context.js';
import { type CallbackHandlers, checkCallbackHandlers } from '../batch/callbacks.js';
import { getBatchCounts } from '../batch/lookup.js';
import type { BatchStatus } from '../batch/status.js';
import type { Telemetry } from '../batch/trace.js';
import { BatchOptionsError } from '../errors.js';
import { DEFAULT_BATCHES_QUEUE, DEFAULT_PREFIX } from '../model/place.js';
import { checkBackend, rawClientOf } from '../record/client.js';
import { checkKeys, checkName, checkObject, checkQueueName, describe } from '../validation.js';
import { callbackWorker, type FailedCallback } from './callback-worker.js';
import { enterQueue } from './enter-queue.js';
import { ErrorThrottle } from './error-throttle.js';
import { putBackForeignJob } from './foreign-job.js';
import { BatchFailedError, RemovedMeanwhileError, runBatchJob } from './lifecycle.js';
import { Maintainer } from './maintenance/maintainer.js';
import type { BatchRepair } from './maintenance/service.js';
import { checkLabels, prometheusMetrics } from './metrics.js';

/** Options of a BatchWorker; only `connection` is required. */
export interface BatchWorkerOptions {
  /** BullMQ's connection: ioredis options or an instance, as for a `Worker`. */
  readonly connection: ConnectionOptions;
  /** The prefix of the queues whose batches it drives. Default: BullMQ's, 'bull'. */
  readonly prefix?: string;
  /** The queue that holds the batches, as in `withBatches(queue, { batchesQueue })`. Default: 'batches'. */
  readonly batchesQueue?: string;
  /**
   * The callbacks that it runs itself, by name: those that batches are given by name only, `on: { complete: 'name' }`.
   * They wait in the queue 'batch-callbacks', which every BatchWorker with `callbacks` takes jobs from: give all of
   * them the same map. A callback that is not in it fails. Default: none, callbacks run on workers of your own.
   */
  readonly callbacks?: CallbackHandlers;
  /**
   * How many batches it moves on at the same time, each for milliseconds, and how many of `callbacks` it runs.
   * Default: 10.
   */
  readonly concurrency?: number;
  /** After how many ms without a sign of life of one BatchWorker another one takes its batch over. Default: 10,000. */
  readonly lockDuration?: number;
  /** How often, in ms, this BatchWorker looks for batches whose BatchWorker has died. Default: 5,000. */
  readonly stalledInterval?: number;
  /** How often, in ms, the leading BatchWorker looks for damage that BullMQ reports by no event. Default: 5,000. */
  readonly reconcileInterval?: number;
  /**
   * How often, in ms, one BatchWorker looks for first failures, failure policies and cancelled batches: `death` is
   * enqueued within about this time. Costs one small command each time while no batch needs any of it. Default: 500.
   */
  readonly sweepInterval?: number;
  /**
   * After how many ms a member of a sealed batch that has no job counts as missing, when the batch makes no other
   * progress. Default: 30,000.
   */
  readonly missingAfter?: number;
  /**
   * BullMQ's telemetry, e.g. `new BullMQOtel({ tracerName: 'app' })` of bullmq-otel: a batch, its members and its
   * callbacks are one trace, when the queues have it too. Default: none.
   */
  readonly telemetry?: Telemetry;
}

/** The events of a BatchWorker, with what their listeners are given. */
export interface BatchWorkerEvents {
  /** This BatchWorker has finished a batch. */
  finished: [
    batch: {
      /** The id of the batch. */
      readonly batchId: string;
      /** Whether the batch succeeded; otherwise it failed or was cancelled. */
      readonly succeeded: boolean;
    },
  ];
  /** One of its `callbacks` has failed; BullMQ tries it again as long as it has attempts left. */
  callbackFailed: [callback: FailedCallback];
  /** Maintenance has mended damage that BullMQ had reported by no event: in good order this does not happen. */
  repaired: [repair: BatchRepair];
  /**
   * Something went wrong and will be tried again. An error that repeats is reported at most every 10 seconds, with the
   * number of times. Without a listener it is printed; it never ends the process.
   */
  error: [error: Error];
}

const DEFAULTS = {
  concurrency: 10,
  lockDuration: 10_000,
  stalledInterval: 5_000,
  reconcileInterval: 5_000,
  sweepInterval: 500,
  missingAfter: 30_000,
};

/**
 * Attempts and stalls of a batch job are not limited: a batch is woken any number of times, and each time its
 * BatchWorker may die.
 */
const UNLIMITED = 1_000_000_000;

/** How long, in ms, `close()` waits for the maintenance step that is under way. */
const CLOSING_MS = 1000;

const OPTION_KEYS = ['connection', 'prefix', 'batchesQueue', 'callbacks', 'telemetry', ...Object.keys(DEFAULTS)];

/**
 * Drives the batches of one Redis and prefix: enqueues callbacks, finishes batches, repairs. Start at least one in any
 * of your worker processes, and several for availability: they share the work.
 *
 * It does not start on a queue that holds jobs of your application, nor while batches are kept in another one: an
 * 'error' event says what to set, and `waitUntilReady()` rejects.
 *
 * @throws BatchOptionsError for bad options.
 *
 * @example
 * const batchWorker = new BatchWorker({ connection, callbacks: { 'finished-import': (job) => mail(job.data.batch) } });
 * batchWorker.on('error', (error) => log.error(error));
 * process.once('SIGTERM', () => batchWorker.close());
 */
export class BatchWorker extends EventEmitter<BatchWorkerEvents> {
  readonly #worker: Worker;
  readonly #callbackWorker: Worker | undefined;
  readonly #context: Promise<BatchContext>;
  readonly #maintainer: Promise<Maintainer>;
  readonly #finished = { succeeded: 0, failed: 0 };
  readonly #repairs = { missing: 0, settled: 0, woken: 0 };
  readonly #errors = new ErrorThrottle();
  #closing: Promise<void> | undefined;

  constructor(options: BatchWorkerOptions) {
    super();
    checkOptions(options);
    const { connection, prefix = DEFAULT_PREFIX, batchesQueue = DEFAULT_BATCHES_QUEUE, telemetry } = options;
    const { concurrency, lockDuration, stalledInterval, ...maintenance } = numbersOf(options);
    const shared = {
      connection,
      prefix,
      concurrency,
      autorun: false,
      ...(telemetry === undefined ? {} : { telemetry }),
    };
    const onError = (error: unknown) => this.#report(error);
    // Refuses what can be refused before a connection is opened.
    checkBackend({ name: batchesQueue, opts: { prefix, connection } });
    this.#worker = new Worker(batchesQueue, (job: Job, token?: string) => this.#process(job, token ?? ''), {
      ...shared,
      lockDuration,
      stalledInterval,
      maxStalledCount: UNLIMITED,
    });
    this.#worker.on('error', onError);
    this.#worker.on('completed', (job) => this.#onFinished(job, true));
    this.#worker.on('failed', (job, error) => this.#onFailed(job, error));
    try {
      checkBackend(this.#worker);
    } catch (error) {
      this.#worker.close().catch(() => {});
      throw error;
    }
    this.#callbackWorker =
      options.callbacks &&
      callbackWorker(options.callbacks, shared, {
        onError,
        onFailed: (failed) => this.emit('callbackFailed', failed),
      });
    this.#context = rawClientOf(this.#worker).then((client) => contextOn(client, { prefix, batchesQueue }, telemetry));
    this.#maintainer = this.#context.then(async (context) => {
      await enterQueue(context, { onError, isClosing: () => this.#closing !== undefined });
      const maintainer = new Maintainer(context, maintenance, {
        onRepair: (repair) => this.#onRepair(repair),
        onError,
      });
      if (this.#closing === undefined) {
        maintainer.start();
        this.#worker.run().catch(onError);
        this.#callbackWorker?.run().catch(onError);
      }
      return maintainer;
    });
    this.#maintainer.catch((error) => {
      this.#report(error);
      return error instanceof BatchOptionsError ? this.close() : undefined;
    });
  }

  /**
   * Counts what the maintenance of this BatchWorker has mended since it started, for your metrics. In good order all
   * three numbers stay 0.
   *
   * @example
   * gauge.set(batchWorker.repairs.missing);
   */
  get repairs(): {
    /** Members whose job had vanished. */
    readonly missing: number;
    /** Members whose outcome had not been recorded. */
    readonly settled: number;
    /** Batches that were made to run. */
    readonly woken: number;
  } {
    return { ...this.#repairs };
  }

  /**
   * Writes metrics in Prometheus's text format, in the form of BullMQ's `queue.exportPrometheusMetrics()`: how many
   * batches there are by state, how many this BatchWorker has seen finish, and has mended, since it started, and how
   * members are added with the installed BullMQ.
   *
   * @param labels to be added to each of them, e.g. `{ app: 'shop' }`.
   * @throws BatchOptionsError for labels that Prometheus would not read.
   *
   * @example
   * app.get('/metrics', async (req, res) => res.type('text/plain').send(await batchWorker.exportPrometheusMetrics()));
   */
  async exportPrometheusMetrics(labels: Readonly<Record<string, string>> = {}): Promise<string> {
    checkLabels(labels);
    const context = await this.#context;
    const done = { finished: this.#finished, repairs: this.#repairs, writer: context.redis.writer };
    return prometheusMetrics(context.redis.prefix, await getBatchCounts(context), done, labels);
  }

  #onRepair(repair: BatchRepair): void {
    this.#repairs.missing += repair.missing;
    this.#repairs.settled += repair.settled;
    this.#repairs.woken += repair.woken ? 1 : 0;
    this.emit('repaired', repair);
  }

  /**
   * Resolves when the connection is ready and batches are being driven.
   *
   * @throws BatchOptionsError when the queue belongs to your application, or batches are kept in another one.
   *
   * @example
   * await batchWorker.waitUntilReady();
   */
  async waitUntilReady(): Promise<void> {
    // The maintainer comes first: when it has refused to start, the worker is being closed, and would not get ready.
    await this.#maintainer;
    await this.#worker.waitUntilReady();
    await this.#callbackWorker?.waitUntilReady();
  }

  /**
   * Finishes the steps and the callbacks that are under way and closes the connections. Batches go on with any other
   * BatchWorker.
   *
   * @example
   * process.once('SIGTERM', () => batchWorker.close());
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const ended = this.#maintainer.then((maintainer) => maintainer.close()).catch(() => {});
    // Not longer than CLOSING_MS: without Redis, a command that was sent never ends.
    await Promise.race([ended, pause(CLOSING_MS, undefined, { ref: false })]);
    await Promise.all([this.#worker.close(), this.#callbackWorker?.close()]);
  }

  async #process(job: Job, token: string): Promise<BatchStatus> {
    const context = await this.#context;
    await putBackForeignJob(context, job, token, (error) => this.#report(error));
    return runBatchJob(context, job, token);
  }

  /** Tells the end of a batch from an error of the infrastructure, after which the step is tried again. */
  #onFailed(job: Job | undefined, error: Error): void {
    if (error instanceof BatchFailedError) {
      this.#onFinished(job, false);
    } else if (!(error instanceof RemovedMeanwhileError)) {
      this.#report(error);
    }
  }

  #onFinished(job: Job | undefined, succeeded: boolean): void {
    this.#finished[succeeded ? 'succeeded' : 'failed'] += 1;
    this.emit('finished', { batchId: job?.id ?? '', succeeded });
  }

  #report(error: unknown): void {
    const reported = this.#errors.next(error instanceof Error ? error : new Error(String(error)));
    if (reported === undefined) {
      return;
    }
    if (this.listenerCount('error') > 0) {
      this.emit('error', reported);
    } else {
      console.error('bullmq-batches: BatchWorker:', reported);
    }
  }
}

/** An option that is undefined, as one from a configuration may be, has its default. */
function numbersOf(options: BatchWorkerOptions): typeof DEFAULTS {
  const names = Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[];
  return Object.fromEntries(names.map((name) => [name, options[name] ?? DEFAULTS[name]])) as typeof DEFAULTS;
}

function checkOptions(options: BatchWorkerOptions): void {
  checkObject('The options of BatchWorker', options, 'new BatchWorker({ connection })');
  checkKeys('BatchWorker', options, OPTION_KEYS);
  checkObject('BatchWorker: connection', options.connection, `{ host: 'localhost', port: 6379 }`);
  if (options.prefix !== undefined) {
    checkName('BatchWorker: prefix', options.prefix);
  }
  if (options.batchesQueue !== undefined) {
    checkQueueName('BatchWorker: batchesQueue', options.batchesQueue);
  }
  if (options.callbacks !== undefined) {
    checkCallbackHandlers('BatchWorker', options.callbacks);
  }
  for (const name of Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[]) {
    const value = options[name];
    if (value !== undefined && !(Number.isInteger(value) && value > 0)) {
      throw new BatchOptionsError(`BatchWorker: ${name} must be a positive integer, not ${describe(value)}.`);
    }
  }
}
