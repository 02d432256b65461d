/**
 * Batches in Bull Board, with buttons that act on whole batches.
 *
 * @module bullmq-batches/bull-board
 */

import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type { FlowProducer, Job, JobNode, Queue } from 'bullmq';
import { BatchOptionsError, type QueueLike, withBatches } from '../../index.js';
import { BatchRows } from './batch-rows.js';
import { linkOf } from './links.js';
import { addOutsideOfBatches, cleanInSlices, drainInSlices } from './member-rows.js';

/** What Bull Board's `BullMQAdapter` takes, and where to find the page of batches. */
export type BatchBoardOptions = NonNullable<ConstructorParameters<typeof BullMQAdapter>[1]> & {
  /**
   * Where the page of `bullmq-batches/page` is mounted, e.g. '/batches': jobs and batches then link to it. Default:
   * they link to their batch in the board, whose queue of batches must be on it, without a `prefix` of its own.
   */
  readonly page?: string;
  /** The queue that holds the batches: the same as that of `withBatches`. Default: 'batches'. */
  readonly batchesQueue?: string;
};

const DESCRIPTION = 'Each row is a batch of jobs: delayed while it is open, waiting for its children while it runs.';

/**
 * Shows a queue in Bull Board as its `BullMQAdapter` does, and batches as batches: take it for the queue that holds
 * them and for the queues of members. Progress is that of the moment; jobs link to their batch, and child batches to
 * their parent. The buttons of a batch do what they say to the whole batch, in steps that do not block Redis: Retry
 * runs again what has failed, Promote seals it, "Remove unprocessed children" cancels it, Clean and the trash remove
 * it. What would break a batch is refused with a sentence.
 *
 * @throws BatchOptionsError for a queue that cannot hold batches, or was wrapped with another `batchesQueue`, and a
 * `page` that is no address.
 *
 * @example
 * createBullBoard({
 *   queues: [new BatchBoardAdapter(new Queue('batches', { connection })), new BatchBoardAdapter(users)],
 *   serverAdapter,
 * });
 */
export class BatchBoardAdapter extends BullMQAdapter {
  readonly #queue: Queue;
  readonly #batchesQueue: string;
  /** Undefined unless this is the queue that holds the batches: the rows of other queues are ordinary jobs. */
  readonly #batches: BatchRows | undefined;

  constructor(queue: QueueLike, { page, batchesQueue = 'batches', ...options }: BatchBoardOptions = {}) {
    checkPage(page);
    // The queue may come from another copy of BullMQ: Bull Board only looks at its methods.
    const wrapped = withBatches(queue as unknown as Queue, { batchesQueue });
    const holdsBatches = queue.name === batchesQueue;
    const link = (job: Partial<Job>) =>
      linkOf(job, { page, isBatch: holdsBatches, batchesQueue }) ?? options.externalJobUrl?.(job as never);
    super(wrapped, {
      ...(holdsBatches ? { description: DESCRIPTION } : {}),
      ...options,
      externalJobUrl: link as NonNullable<BatchBoardOptions['externalJobUrl']>,
      // A batch that has succeeded has nothing to run again.
      ...(holdsBatches ? { allowCompletedRetries: false } : {}),
    });
    this.#queue = wrapped;
    this.#batchesQueue = batchesQueue;
    this.#batches = holdsBatches ? new BatchRows(wrapped) : undefined;
  }

  /** Reads one row; a batch with its progress of the moment. */
  override async getJob(id: string): Promise<Job | undefined> {
    const stored = this.#batches === undefined ? withPercentColons(id) : asBatchId(id);
    const job = (await super.getJob(id)) ?? (stored === id ? undefined : await super.getJob(stored));
    return job && (this.#batches?.show(job) ?? job);
  }

  /** Reads a page of rows; batches with their progress of the moment. */
  override async getJobs(...page: Parameters<BullMQAdapter['getJobs']>): Promise<Job[]> {
    const jobs = await super.getJobs(...page);
    return this.#batches === undefined ? jobs : this.#batches.showAll(jobs);
  }

  /** Adds a job outside of any batch, which is what Duplicate does. Refused in the queue that holds the batches. */
  override addJob(name: string, data: unknown, options: Parameters<BullMQAdapter['addJob']>[2]): Promise<Job> {
    return (
      this.#batches?.refuseToAdd() ?? addOutsideOfBatches(this.#queue, this.#batchesQueue, { name, data, options })
    );
  }

  /** Removes the rows of a state in small steps: in the queue that holds the batches, whole batches. */
  override clean(...[status, graceMs]: Parameters<BullMQAdapter['clean']>): Promise<void> {
    return this.#batches?.clean(status, graceMs) ?? cleanInSlices(this.#queue, status, graceMs);
  }

  /**
   * Removes the waiting jobs in small steps. Refused in the queue that holds the batches, which are about to call back.
   */
  override empty(): Promise<void> {
    return this.#batches?.refuseToDrain() ?? drainInSlices(this.#queue);
  }

  /** Runs delayed jobs now. In the queue that holds the batches only sealed ones: open batches stay open. */
  override async promoteAll(): Promise<void> {
    return this.#batches === undefined ? super.promoteAll() : this.#batches.promoteSealed();
  }

  /** Removes all jobs of the queue; from the queue that holds the batches, whole batches first, in small steps. */
  override async obliterate(options: { force?: boolean } = {}): Promise<void> {
    await this.#batches?.removeAll({ force: options.force === true });
    await super.obliterate(options);
  }

  /** Returns what reads the flow of a job, in which batches have their progress of the moment. */
  override async getFlowProducer(): Promise<FlowProducer | null> {
    const producer = await super.getFlowProducer();
    const batches = this.#batches;
    if (producer === null || batches === undefined) {
      return producer;
    }
    const getFlow = async (options: Parameters<FlowProducer['getFlow']>[0]): Promise<JobNode> => {
      const flow = await producer.getFlow(options);
      await batches.showFlow(flow);
      return flow;
    };
    return Object.create(producer, { getFlow: { value: getFlow } });
  }
}

/**
 * Bull Board unescapes the id in an address once too often: '%3A', as ':' is in the ids of batches and of their
 * members, arrives as ':'.
 */
const withPercentColons = (id: string) => id.replaceAll(':', '%3A');

/** The ids of batches have none of the characters that are escaped in them. */
const asBatchId = (id: string) => withPercentColons(id).replaceAll('~', '%7E').replaceAll('\n', '%0A');

function checkPage(page: unknown): void {
  if (page !== undefined && !(typeof page === 'string' && /^(\/|https?:\/\/)/.test(page))) {
    throw new BatchOptionsError(
      `BatchBoardAdapter: page must be where the page of batches is mounted, e.g. '/batches', not ` +
        `${JSON.stringify(page)}.`,
    );
  }
}
