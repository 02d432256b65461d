import type { Job, JobNode, Queue } from 'bullmq';
import { type Batch, BatchError, BatchNotFoundError, type BatchQueue, type BatchStatus } from '../../index.js';

/** How many batches are looked at together. */
const PAGE_SIZE = 100;

/** How many failures of a batch are shown in the flow of a job; there may be any number. */
const SHOWN_FAILURES = 20;

/** How often `removeAll` looks for batches that were created meanwhile. */
const PASSES = 10;

/** By this sentence Bull Board knows that `force` is needed, and offers it. */
const NEEDS_FORCE = 'Cannot obliterate queue with active jobs';

/** The states of BullMQ in which batches can be cleaned. */
const CLEANED = { completed: 'succeeded', failed: 'failed', delayed: 'open' } as const;

/**
 * The rows of the queue that holds the batches: BullMQ's jobs, whose progress is read and whose buttons act on the
 * batch.
 */
export class BatchRows {
  readonly #queue: BatchQueue<Queue>;

  constructor(queue: BatchQueue<Queue>) {
    this.#queue = queue;
  }

  showAll(jobs: readonly Job[]): Promise<Job[]> {
    return Promise.all(jobs.map((job) => this.#show(job, { isOneOfMany: true })));
  }

  show(job: Job): Promise<Job> {
    return this.#show(job, { isOneOfMany: false });
  }

  async showFlow(node: JobNode | undefined): Promise<void> {
    if (node?.job?.queueName === this.#queue.name) {
      await this.show(node.job);
    }
    // A job that was removed has no node.
    await Promise.all((node?.children ?? []).map((child) => this.showFlow(child)));
  }

  /** A job that is no batch, such as a copy, stays what it is. */
  async #show(job: Job, { isOneOfMany }: { readonly isOneOfMany: boolean }): Promise<Job> {
    const found = await this.#batchOf(job);
    if (found === undefined) {
      if ((job.data as { readonly id?: unknown } | null)?.id === job.id) {
        refuseAll(job, `Batch '${job.id}' is being removed. If that was cut short, a BatchWorker finishes it.`);
        if (isOneOfMany) {
          replaceMethods(job, { retry: () => Promise.resolve() });
        }
      }
      return job;
    }
    const { batch, status } = found;
    job.progress = progressOf(status);
    const retry = isOneOfMany && status.state !== 'succeeded' ? retryIfPossible : retryBatch;
    replaceMethods(job, {
      retry: () => act(() => retry(batch)),
      promote: () => act(() => batch.seal()),
      remove: () => act(() => batch.remove({ force: true })),
      removeUnprocessedChildren: () => act(() => batch.cancel('cancelled in Bull Board')),
      getIgnoredChildrenFailures: () => someFailuresOf(batch),
      updateData: () =>
        refuse(
          'The data of a batch says what it is, and is not edited. To have it call back once more, use ' +
            'batch.on(event, callback).',
        ),
      changeDelay: () =>
        refuse(
          'An open batch waits for its producer, and not for a time. Promote it to seal it: when everything has ' +
            'been added.',
        ),
      changePriority: () =>
        refuse(`A batch has no priority: its members have, through 'jobOptions' or their own options.`),
    });
    return job;
  }

  async #batchOf({ id }: Job): Promise<{ readonly batch: Batch; readonly status: BatchStatus } | undefined> {
    if (id === undefined) {
      return undefined;
    }
    try {
      const batch = (await this.#queue.getBatch(id)) as Batch;
      return { batch, status: await batch.status() };
    } catch (error) {
      if (error instanceof BatchNotFoundError) {
        return undefined;
      }
      throw error;
    }
  }

  refuseToAdd(): Promise<never> {
    return refuse(
      'A batch is created with createBatch() or addBatch(), and not copied: its members would not be. To run again ' +
        'what has failed in it, retry it.',
    );
  }

  refuseToDrain(): Promise<never> {
    return refuse(
      'The batches that wait here are about to call back, within milliseconds: nothing was removed. Clean removes ' +
        'finished and open batches.',
    );
  }

  /** Batches that are sealed run by themselves; those that are open wait for their producers. */
  async promoteSealed(): Promise<void> {
    await this.#each('open', async (batch) => {
      if ((await batch.status()).sealed) {
        await batch.seal();
      }
      return 'stays';
    });
  }

  async clean(status: string, graceMs: number): Promise<void> {
    const state = CLEANED[status as keyof typeof CLEANED];
    if (state === undefined) {
      return refuse('These batches run, or are about to call back: nothing was removed. Cancel them one by one.');
    }
    const before = Date.now() - graceMs;
    await this.#each(state, async (batch) => {
      const { finishedAt, createdAt, state: stands } = await batch.status();
      // A stage that waits has no producer that was forgotten: it goes with its run.
      if ((finishedAt ?? createdAt) > before || stands === 'waiting') {
        return 'stays';
      }
      await batch.remove({ force: state === 'open' });
      return 'gone';
    });
  }

  /** Every batch: cancelled first, and then removed in small steps. */
  async removeAll({ force }: { readonly force: boolean }): Promise<void> {
    const { open, running } = await this.#queue.getBatchCounts();
    if (open + running > 0 && !force) {
      throw new Error(NEEDS_FORCE);
    }
    for (let pass = 0; pass < PASSES; pass++) {
      for (const state of ['open', 'running', 'failed', 'succeeded'] as const) {
        await this.#each(state, async (batch) => {
          await batch.remove({ force: true });
          return 'gone';
        });
      }
      if ((await this.#queue.getBatches(undefined, 0, 0)).length === 0) {
        return;
      }
    }
    return refuse('New batches are created all the time: stop their producers, and obliterate again.');
  }

  /**
   * Looks at each batch of a state once, a page at a time. Batches that are removed make room for others at the same
   * rank; one that another process is removing is still listed, but not found any more.
   */
  async #each(
    state: 'open' | 'running' | 'failed' | 'succeeded',
    look: (batch: Batch) => Promise<'stays' | 'gone'>,
  ): Promise<void> {
    const seen = new Set<string>();
    for (let from = 0; ; ) {
      const page = (await this.#queue.getBatches(state, from, from + PAGE_SIZE - 1)) as Batch[];
      for (const batch of page) {
        from += seen.has(batch.id) || (await look(batch).catch(goneIfNotFound)) === 'stays' ? 1 : 0;
        seen.add(batch.id);
      }
      if (page.length === 0) {
        return;
      }
    }
  }
}

/** A batch that is not found any more was removed with its parent. */
function goneIfNotFound(error: unknown): 'gone' {
  if (error instanceof BatchNotFoundError) {
    return 'gone';
  }
  throw asRefusal(error);
}

async function act(action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    throw asRefusal(error);
  }
}

/** Turns what a batch refuses into an answer with status 409: it is no failure of the server. */
function asRefusal(error: unknown): unknown {
  return error instanceof BatchError ? refusal(error.message) : error;
}

/** The progress of a batch, in the form in which a BatchWorker writes it to the batch job from time to time. */
function progressOf(status: BatchStatus) {
  const { total, succeeded, failed, pending, state, jobs } = status;
  const { progress } = jobs ?? status;
  return { progress, total, succeeded, failed, pending, status: state, ...(jobs && { jobs }) };
}

async function retryBatch(batch: Batch): Promise<void> {
  const { state } = await batch.status();
  if (state === 'succeeded') {
    return refuse(`Batch '${batch.id}' has succeeded: there is nothing to run again.`);
  }
  await batch.retry();
}

/** For "Retry all": what was cancelled stays so, and a child may have succeeded by now, through its parent's retry. */
async function retryIfPossible(batch: Batch): Promise<void> {
  const { state } = await batch.status();
  if (state !== 'succeeded' && state !== 'cancelled') {
    await batch.retry();
  }
}

async function someFailuresOf(batch: Batch): Promise<Record<string, string>> {
  const failures: Record<string, string> = {};
  for await (const { queue, id, reason } of batch.failures()) {
    failures[`${queue}:${id}`] = reason;
    if (Object.keys(failures).length === SHOWN_FAILURES) {
      break;
    }
  }
  return failures;
}

/** Replaces methods of one job object, on which Bull Board calls them. */
function replaceMethods(job: Job, methods: { readonly [name in keyof Job]?: () => Promise<unknown> }): void {
  for (const [name, value] of Object.entries(methods)) {
    Object.defineProperty(job, name, { value, configurable: true, writable: true });
  }
}

/** BullMQ's own methods would take what is left of a batch in one command, and the jobs of its members with it. */
function refuseAll(job: Job, message: string): void {
  const refused = () => refuse(message);
  replaceMethods(job, {
    retry: refused,
    promote: refused,
    remove: refused,
    removeUnprocessedChildren: refused,
    updateData: refused,
    changeDelay: refused,
    changePriority: refused,
  });
}

/** Bull Board answers with the status and shows the message. */
function refusal(message: string): Error {
  return Object.assign(new Error(message), { statusCode: 409 });
}

async function refuse(message: string): Promise<never> {
  throw refusal(message);
}
