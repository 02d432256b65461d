import type {
  Batch,
  BatchExplanation,
  BatchFailure,
  BatchMethods,
  BatchStatus,
  BatchTree,
  FailureReasons,
  QueueLike,
} from '../../index.js';
import { type Ancestor, ancestorsOf, ifThere } from './ancestors.js';
import { type FailuresBelow, failuresBelow } from './failures-below.js';
import { History } from './history.js';
import type { Sample } from './pace.js';
import { isUnfinished, titleOf } from './parts.js';
import { inTime, NoAnswer, Readings } from './readings.js';

/** What child batches are called, by id. */
export type Names = ReadonlyMap<string, string>;

/** A batch as its page shows it. What is `undefined` takes long to read, and was not there in time. */
export interface BatchDetails {
  readonly status: BatchStatus;
  /** The batches above it, outermost first. */
  readonly ancestors: readonly Ancestor[];
  /** How the batch came here, as far as this process has seen it. */
  readonly samples: readonly Sample[];
  readonly tree: BatchTree | undefined;
  /** `finished`: there is nothing to explain. */
  readonly explanation: BatchExplanation | 'finished' | undefined;
  readonly reasons: FailureReasons | undefined;
  /** Of the failed jobs of child batches. */
  readonly reasonsBelow: FailuresBelow | undefined;
  /** What the child batches among the examples of failures are called. */
  readonly names: Names;
}

/** How long a page waits for what takes long to read in a large batch, before it goes without. */
const DETAILS_MS = 2000;

const NO_FAILURES: FailureReasons = { reasons: [], examined: 0, complete: true };

/** Reads what the pages of a batch show, and remembers for a while what takes long to read. */
export class BatchReader {
  readonly #batches: BatchMethods<QueueLike>;
  readonly #readings = new Readings();
  readonly #history = new History();

  constructor(batches: BatchMethods<QueueLike>) {
    this.#batches = batches;
  }

  async details(batch: Batch): Promise<BatchDetails> {
    const status = await batch.status();
    const members = this.#history.ofMembers(status);
    const [ancestors, read, explanation, reasons] = await Promise.all([
      this.ancestors(batch),
      ifInTime(this.#tree(batch, status)),
      isToBeExplained(status) ? ifInTime(this.explain(batch, status)) : ('finished' as const),
      this.reasonsInTime(batch, status),
    ]);
    const names = await this.namesOf(reasons?.reasons.flatMap(({ examples }) => examples) ?? []);
    const tree = read?.tree;
    const hasJobsBelow = tree !== undefined && tree.children.length > 0;
    const reasonsBelow = hasJobsBelow ? await ifInTime(this.reasonsBelow(tree)) : undefined;
    const samples = hasJobsBelow ? this.#history.ofJobs(status, tree, read?.at ?? Date.now()) : members;
    return { status, ancestors, samples, tree, explanation, reasons, reasonsBelow, names };
  }

  /** Remembers where a batch stands, for the course of its throughput. */
  hasSeen(status: BatchStatus): void {
    this.#history.ofMembers(status);
  }

  ancestors(batch: Batch): Promise<readonly Ancestor[]> {
    return ancestorsOf(this.#batches, batch);
  }

  async tree(batch: Batch, status: BatchStatus): Promise<BatchTree> {
    return (await this.#tree(batch, status)).tree;
  }

  /** The state is part of the key: a tree that was read in an earlier state is out of date. */
  #tree(batch: Batch, { state }: BatchStatus): Promise<{ readonly tree: BatchTree; readonly at: number }> {
    return this.#readings.read(`tree ${state} ${batch.id}`, async () => ({ tree: await batch.tree(), at: Date.now() }));
  }

  explain(batch: Batch, { state }: BatchStatus): Promise<BatchExplanation> {
    return this.#readings.read(`explain ${state} ${batch.id}`, () => batch.explain());
  }

  /** Counts a sample of the failures by reason, in some ten commands at most. */
  async reasons(batch: Batch, { failed, state }: BatchStatus): Promise<FailureReasons> {
    return failed === 0
      ? NO_FAILURES
      : this.#readings.read(`reasons ${state} ${batch.id}`, () => batch.failureReasons());
  }

  /** Counts a sample of the failed jobs of child batches by reason. */
  async reasonsBelow(tree: BatchTree): Promise<FailuresBelow | undefined> {
    return tree.jobs.failed === 0
      ? undefined
      : this.#readings.read(`below ${tree.state} ${tree.id}`, () => failuresBelow(this.#batches, tree));
  }

  reasonsInTime(batch: Batch, status: BatchStatus): Promise<FailureReasons | undefined> {
    return ifInTime(this.reasons(batch, status));
  }

  async namesOf(failures: readonly BatchFailure[]): Promise<Names> {
    const children = failures.filter(({ isBatch }) => isBatch);
    const found = await Promise.all(children.map(({ id }) => ifThere(this.#batches.getBatch(id))));
    return new Map(found.flatMap((batch) => (batch?.description === undefined ? [] : [[batch.id, titleOf(batch)]])));
  }
}

/** A finished batch needs an explanation only if a late callback has failed, which its outcome does not tell. */
function isToBeExplained({ state, callbacks }: BatchStatus): boolean {
  return isUnfinished(state) || (state !== 'failed' && callbacks.some((callback) => callback.state === 'failed'));
}

/** Undefined for what is not there in time: the reading goes on, and a later request finds its result. */
async function ifInTime<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await inTime(reading, DETAILS_MS);
  } catch (error) {
    if (error instanceof NoAnswer) {
      return undefined;
    }
    throw error;
  }
}
