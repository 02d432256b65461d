import type { Job } from 'bullmq';
import { runInside } from '../context.js';
import { BatchError, BatchNotFoundError, BatchOptionsError } from '../errors.js';
import { type BatchDefinition, type BatchEvent, EVENTS, openTimeoutOf } from '../model/definition.js';
import type { BatchExplanation } from '../model/explanation.js';
import type { Snapshot } from '../model/snapshot.js';
import type { AttachmentLink } from '../record/add-members.js';
import { isCancelled } from '../record/climb.js';
import { batchKeys } from '../record/keys.js';
import { touchBatch } from '../record/seal.js';
import { readSnapshot } from '../record/snapshot.js';
import {
  checkName,
  checkObject,
  checkOptions,
  describe,
  escapedId,
  type MemberOptions,
  mayBeBatchId,
} from '../validation.js';
import { checkSameBatches, findQueue, type MemberQueue, type QueueContext } from './batch-context.js';
import { type BatchOptions, checkBatchOptions } from './batch-options.js';
import { type Callback, checkCallbackCount, storeCallback, storeCallbacks } from './callbacks.js';
import { refuseCallbacksElsewhere } from './callbacks-elsewhere.js';
import { cancelBatch } from './cancel.js';
import { defineBatch } from './create.js';
import { explain } from './explain.js';
import { type FailureReasons, type FailureReasonsOptions, failureReasonsOf } from './failure-reasons.js';
import { addFlow, type Flow, type FlowNode } from './flow.js';
import { derivedIds, firstIds, freshIds, type MemberIds, repeatableIds } from './ids.js';
import { type BatchJobs, type CheckedJob, checkData, checkIterable, checkJob, checkJobs, checkMember } from './job.js';
import { addCallback } from './late.js';
import { memberOf } from './member-jobs.js';
import { type BatchMembersPage, type MembersPageOptions, membersPage } from './member-pages.js';
import { addMembers, type BatchAccess, type BulkAdded, countMembers } from './members.js';
import { updateMetadata } from './metadata.js';
import { orderedResults } from './ordered.js';
import type { DataOf, JobOf, NamedQueue, NameOf, QueueLike, ResultOf } from './queue-like.js';
import { removeBatch } from './remove.js';
import { removeMember } from './remove-member.js';
import type { Repetition } from './repetition.js';
import { retryFailed } from './retry.js';
import { jobsInRow } from './row.js';
import { sealAndRevive } from './seal.js';
import {
  type BatchFailure,
  type BatchFailuresPage,
  type BatchResult,
  type FailuresPageOptions,
  failuresOf,
  failuresPage,
  resultsOf,
} from './settled.js';
import { allStagesOf } from './stages.js';
import { type BatchStatus, snapshotOf, statusOf } from './status.js';
import { CHUNK_SIZE, inChunks } from './stream.js';
import { inTrace } from './trace.js';
import { type BatchTree, treeOf } from './tree.js';
import { LONGEST_TIMER_MS, waitUntilFinished, watch } from './wait.js';

/**
 * What the holder of a handle may show in order to add: nothing for a caller from outside, or links that prove that it
 * is an outstanding part of the batch.
 */
export interface AddRights {
  /**
   * The maker of ids for everything that a running job adds through this handle, and through handles that come from it.
   */
  readonly repetition?: Repetition | undefined;
  /** Links that the batch itself accepts. Without one, adding ends with the seal. */
  readonly links: readonly AttachmentLink[];
  /** Links that the parent accepts. A callback has only these. */
  readonly parentLinks: readonly AttachmentLink[];
}

const NO_RIGHTS: AddRights = { links: [], parentLinks: [] };

/**
 * A handle on a batch: a group of jobs that is followed as one unit and calls back when it has finished. Handles are
 * cheap, hold no state of the batch, and any number of them, in any process, may be used at the same time.
 *
 * @example
 * const batch = await users.createBatch({ description: 'Import', on: { complete: { name: 'report' } } });
 * await batch.addBulk(rows);
 * await batch.seal();
 */
export class Batch<Q extends QueueLike = QueueLike, Names extends string = string> {
  /** The id of the batch: your own, or a generated one of 20 characters. */
  readonly id: string;
  /** False when `createBatch` found a batch with this id, or when the handle comes from a look-up. */
  readonly created: boolean;
  /**
   * Whether it was created with all of its members, and sealed.
   *
   * @internal
   */
  readonly isFilled: boolean;
  readonly #context: QueueContext;
  readonly #definition: BatchDefinition;
  readonly #rights: AddRights;
  readonly #parent: Batch | undefined;

  /**
   * Handles come from a wrapped queue: `createBatch`, `addBatch`, `getBatch`, `batchOf`.
   *
   * @internal
   */
  constructor(parts: {
    context: QueueContext;
    definition: BatchDefinition;
    created?: boolean;
    isFilled?: boolean;
    rights?: AddRights | undefined;
    parent?: Batch | undefined;
  }) {
    this.id = parts.definition.id;
    this.created = parts.created ?? false;
    this.isFilled = parts.isFilled ?? false;
    this.#context = parts.context;
    this.#definition = parts.definition;
    this.#rights = parts.rights ?? NO_RIGHTS;
    this.#parent = parts.parent;
  }

  /**
   * What the batch was created as.
   *
   * @internal
   */
  get definition(): BatchDefinition {
    return this.#definition;
  }

  /**
   * What the job is to the batch that the handle was asked for with.
   *
   * @internal
   */
  get isAddedToBy(): 'member' | 'callback' | undefined {
    const { links, parentLinks } = this.#rights;
    return links.length > 0 ? 'member' : parentLinks.length > 0 ? 'callback' : undefined;
  }

  /** The id of the parent batch; undefined for a batch without a parent. */
  get parentId(): string | undefined {
    return this.#definition.parentId;
  }

  /** What `createBatch` was given for people to read in lists; undefined if there was none. */
  get description(): string | undefined {
    return this.#definition.description;
  }

  /** The tags that `createBatch` was given; an empty list if there were none. */
  get tags(): readonly string[] {
    return this.#definition.tags ?? [];
  }

  /**
   * Adds one job as a member, and returns BullMQ's `Job`.
   *
   * Anyone may add while the batch is open. Once it is sealed, only what is itself outstanding in it: a running member
   * through `queue.batchOf(job)`, and the callback of a child batch through `batchOf(job).parent()`.
   *
   * @param name the name of the job.
   * @param data the data of the job, which JSON must be able to carry.
   * @param opts BullMQ's job options; they win over the batch's `jobOptions`. A `jobId` that is a member is left alone.
   * @throws BatchSealedError, BatchFinishedError when adding has ended for the caller; nothing was added.
   * @throws BatchMemberError when the job could not be stored.
   * @throws BatchOptionsError for options that break batches, e.g. `repeat` or another `parent`.
   *
   * @example
   * const job = await batch.add('send', { to: 'ada@example.com' }, { attempts: 3 });
   */
  async add(name: NameOf<Q>, data: DataOf<Q>, opts?: MemberOptions): Promise<JobOf<Q>> {
    const [job] = await this.addTo(this.#context.own, [{ name, data, opts }]);
    return job as JobOf<Q>;
  }

  /**
   * Adds many jobs as members, from an array, an iterable or an async iterable. The source is read as fast as Redis
   * takes it: at most 2,000 of its jobs are in memory, however long it is.
   *
   * @param jobs each `{ name, data, opts?, queue? }`; `queue` is a queue or its name, by default the batch's own.
   * @returns how many were added, and how many `known` were members already (ids given with `opts.jobId`).
   * @throws as `add`. An array is checked as a whole before anything is written; of a stream, what was stored before
   * the error stays in the batch.
   *
   * @example
   * await batch.addBulk(rows.map((row) => ({ name: 'import-row', data: row })));
   */
  async addBulk(jobs: BatchJobs<Q>): Promise<BulkAdded> {
    checkIterable('addBulk', jobs);
    return this.addChecked(Array.isArray(jobs) ? checkJobs(jobs, this.#context, this.id) : jobs, false);
  }

  /**
   * Adds jobs from a source: an array of jobs that were checked, or others, which are checked one by one.
   *
   * @param isRepeatable whether the jobs get the same ids when the same source is read again.
   * @internal
   */
  async addChecked(jobs: BatchJobs<Q> | readonly CheckedJob[], isRepeatable: boolean): Promise<BulkAdded> {
    const ids = isRepeatable ? repeatableIds(this.id, this.#definition.nonce) : this.#newIds();
    let [added, known, position] = [0, 0, 0];
    const check = Array.isArray(jobs)
      ? (job: unknown) => job as CheckedJob
      : (job: unknown) => checkJob(`job ${position++}`, job, this.#context, this.id);
    const add = async (chunk: unknown[]) => {
      const members = chunk.map((job) => memberOf(check(job), ids));
      const done = await this.#traced(() => countMembers(this.#context, this.access, members));
      added += done.added;
      known += done.known;
    };
    await this.#whileTouched(() => inChunks(jobs as Iterable<unknown>, add));
    return { added, known };
  }

  #newIds(): MemberIds {
    const { repetition } = this.#rights;
    const { nonce } = this.#definition;
    return repetition === undefined ? freshIds(nonce) : derivedIds(nonce, repetition);
  }

  /**
   * Adds a tree of jobs, in the form of BullMQ's `FlowProducer`, of which the root becomes one member: it runs when the
   * jobs below it have, and what becomes of it is what counts. A job below that fails for good fails the one above it,
   * up to the root, unless its options say otherwise (`ignoreDependencyOnFailure`, …). The `defaultJobOptions` apply of
   * queues that this process has wrapped with `withBatches()`; the batch's `jobOptions` do to the root.
   *
   * @param flow `{ name, queueName, data?, opts?, children? }`, at most 300 jobs in all.
   * @returns `{ job, children? }` for each job, as FlowProducer does; for a root that was a member already only its
   * `job`.
   * @throws as `add`; BatchMemberError also when a job below has the id of one that exists. Then none of them was
   * added.
   *
   * @example
   * const { job } = await batch.addFlow({
   *   name: 'publish', queueName: 'videos',
   *   children: [{ name: 'encode', queueName: 'encoding', data: { format: 'webm' } }],
   * });
   */
  async addFlow(flow: Flow): Promise<FlowNode> {
    const { repetition } = this.#rights;
    return this.#traced(() => addFlow(this.#context, this.access, flow, repetition));
  }

  /** Gives signs of life while a producer works, so that a slow one is not taken for dead. */
  async #whileTouched<T>(work: () => Promise<T>): Promise<T> {
    const { redis } = this.#context;
    // A sign of life that fails is not reported to the producer: the next one may succeed, and so may its jobs.
    const touch = () => void touchBatch(redis, this.#definition).catch(() => {});
    const timer = setInterval(touch, Math.min(openTimeoutOf(this.#definition) / 3, LONGEST_TIMER_MS));
    timer.unref();
    try {
      return await work();
    } finally {
      clearInterval(timer);
    }
  }

  /**
   * Adds jobs that a wrapped queue was given inside of `jobs(fn)`; the queue's own methods return them.
   *
   * @internal
   */
  async addTo(given: MemberQueue, jobs: readonly { name: string; data: unknown; opts?: unknown }[]): Promise<Job[]> {
    if (!Array.isArray(jobs)) {
      throw new BatchOptionsError(`addBulk() of a queue takes an array of jobs, not ${describe(jobs)}.`);
    }
    const queue = findQueue(`Batch '${this.id}'`, given.queue, this.#context);
    const ids = this.#newIds();
    const members = Array.from(jobs, (job, i) => {
      const what = jobs.length === 1 ? 'the job' : `job ${i}`;
      checkObject(what, job);
      return memberOf(checkMember(what, queue, job, this.id), ids);
    });
    if (members.length > CHUNK_SIZE) {
      // What cannot be sent is found before the first of several steps.
      members.forEach(({ name, data }, i) => void checkData(`job ${i} ('${name}')`, data));
    }
    const added: Job[] = [];
    for (let from = 0; from < members.length; from += CHUNK_SIZE) {
      const some = members.slice(from, from + CHUNK_SIZE);
      added.push(...(await this.#traced(() => addMembers(this.#context, this.access, some))));
    }
    return added;
  }

  /** Runs `work` in the trace of the batch, whatever trace is active where the job is added. */
  #traced<T>(work: () => T): T {
    return inTrace(this.#context.telemetry, this.#definition.trace, work);
  }

  /**
   * Where members are added, with what entitles this handle to do so.
   *
   * @internal
   */
  get access(): BatchAccess {
    return { batch: this.#definition, links: this.#rights.links };
  }

  /**
   * Runs `fn`, in which `add` and `addBulk` of any wrapped queue add to this batch, and `createBatch` creates a child
   * of it: existing code becomes a batch without being rewritten. Seal the batch afterwards.
   *
   * @param fn may be async: all that it awaits is inside. What it leaves running, and Workers that it makes, cannot add
   * with a wrapped queue once it has ended: that throws a BatchError.
   * @returns what `fn` returns.
   * @throws what `fn` throws; BatchOptionsError when it is not a function.
   *
   * @example
   * await batch.jobs(() => importCustomers(file));   // code that calls users.add(…)
   * await batch.seal();
   */
  async jobs<T>(fn: () => T | Promise<T>): Promise<T> {
    if (typeof fn !== 'function') {
      throw new BatchOptionsError(
        `jobs() needs a function that adds the jobs, not ${describe(fn)}: batch.jobs(() => queue.add(…)).`,
      );
    }
    return this.#whileTouched(() => runInside(this, fn));
  }

  /**
   * Creates a child batch: it is one member of this batch, and settles when its own callbacks have run. Its members go
   * into `queue`, by default into the queue of this batch; `queue.createBatch({ parent })` does the same.
   *
   * @param options as of `queue.createBatch()`, without another `parent`.
   * @throws as `add` and `queue.createBatch`.
   *
   * @example
   * const ofAcme = await batch.createBatch({ queue: users, description: 'Users of ACME' });
   * await ofAcme.add('import-user', { name: 'Ada' });   // a job of the queue 'users'
   */
  createBatch<C extends QueueLike>(options: BatchOptions<Names> & { readonly queue: C }): Promise<Batch<C, Names>>;
  createBatch(options: BatchOptions<Names> & { readonly queue: string }): Promise<Batch<NamedQueue, Names>>;
  createBatch(options?: BatchOptions<Names> & { readonly queue?: undefined }): Promise<Batch<Q, Names>>;
  async createBatch(
    given: BatchOptions<Names> & { readonly queue?: string | QueueLike | undefined } = {},
  ): Promise<Batch<QueueLike, Names>> {
    checkObject('The options of a batch', given);
    const { queue, ...options } = given;
    checkBatchOptions(options);
    if (options.parent !== undefined && options.parent !== this) {
      throw new BatchOptionsError(
        `batch.createBatch() creates a child of batch '${this.id}': it takes no other 'parent'.`,
      );
    }
    const own = findQueue(`batch.createBatch(): queue`, queue, this.#context);
    return createBatch({ ...this.#context, own }, { ...options, parent: this });
  }

  /**
   * Creates a child of this batch through the queue that was asked for it.
   *
   * @internal
   */
  async createChild<C extends QueueLike>(
    context: QueueContext,
    options: BatchOptions,
    members: readonly CheckedJob[] = [],
  ): Promise<Batch<C>> {
    checkSameBatches(`A child of batch '${this.id}'`, context.own, this.#context);
    const { repetition } = this.#rights;
    const named =
      repetition === undefined || options.id !== undefined
        ? options
        : { ...options, id: this.#childId(context, options, repetition) };
    const idsOf = (definition: BatchDefinition) => firstIdsOf(definition, options.id !== undefined, repetition);
    const defined = await this.#traced(() => defineBatch(context, named, this.access, { members, idsOf }));
    return new Batch<C>({ ...defined, context, parent: this, rights: { ...NO_RIGHTS, repetition } });
  }

  /** Makes the id of a child batch that a running member creates: a second run of the member finds it. */
  #childId(context: QueueContext, { id, on, parent, ...content }: BatchOptions, repetition: Repetition): string {
    return repetition.nextId(this.#definition.nonce, context.own.name, content, storeCallbacks(on, context));
  }

  /**
   * Says that everything has been added: from now on the batch can finish. Sealing again does nothing. An empty sealed
   * batch calls back at once. A batch that was abandoned is revived; a run of a workflow when it has failed because of
   * that, for which this waits.
   *
   * @throws BatchNotFoundError when the batch has been removed; BatchError for a run that was abandoned, when no
   * BatchWorker ends it within half a minute.
   *
   * @example
   * await batch.addBulk(rows);
   * await batch.seal();
   */
  async seal(): Promise<void> {
    if (!(await sealAndRevive(this.#context, this.#definition))) {
      throw new BatchNotFoundError(this.id);
    }
  }

  /**
   * Runs again what has failed: the failed members, those of child batches too, and the failed callbacks. When
   * everything has succeeded, `success` fires, on this batch and on those above it, and the status says `recovered`.
   * `complete` does not fire again. Members whose job is gone stay failed, and missing members stay missing.
   *
   * A failed member that is retried by hand (`job.retry()`, Bull Board) heals its batch in the same way, within
   * seconds.
   *
   * @returns how many jobs run again.
   * @throws BatchNotFoundError when the batch has been removed; BatchError when it was cancelled, and when nothing can
   * run again because what had failed inside of its flows has been removed.
   *
   * @example
   * const { retried } = await (await users.getBatch(id)).retry();
   */
  async retry(): Promise<{
    /** How many jobs run again. */
    readonly retried: number;
  }> {
    const snapshot = await this.#snapshot();
    if (snapshot.cancelledAt !== undefined) {
      throw new BatchError(
        `Batch '${this.id}' was cancelled, and stays so: create a new batch for what is to run again.`,
        {
          batchId: this.id,
        },
      );
    }
    return { retried: await retryFailed(this.#context, this.id, snapshot.definition) };
  }

  /**
   * Stops the batch, its child batches included: members that have not started are removed and counted as `cancelled`,
   * running ones may finish but are not tried again, and nothing can be added any more. `complete` fires when the last
   * one has ended, and tells `cancelled` and `cancelReason`; `success` never does, and the batch ends `cancelled`.
   *
   * When it resolves, no member begins any more, nor does any attempt of a member that was running. The child batches
   * are marked first, then members are taken out in small steps, in seconds also when 100,000 are waiting. A running
   * member that fails with attempts left is `cancelled`; it leaves its queue when a worker takes it again, which does
   * not run it, or when a BatchWorker has seen it. Members further than 100,000 jobs from both ends of a queue's list
   * are counted at once, and stay in the list until a worker comes to them: it removes them without running them, with
   * a `failed` event.
   *
   * @param reason why, for the status, the callbacks and the parent's `failures()`.
   * @throws BatchError when all members are settled already, BatchNotFoundError when the batch has been removed.
   *
   * @example
   * await batch.cancel('wrong file');
   */
  async cancel(reason?: string): Promise<void> {
    if (reason !== undefined) {
      checkName('cancel(reason): the reason', reason);
    }
    await cancelBatch(this.#context, this.#definition, reason);
  }

  /**
   * Returns whether this batch, or one above it, was cancelled: a long-running member asks it to stop early. One
   * command, however deep the batch is.
   *
   * @throws BatchNotFoundError when the batch has been removed.
   *
   * @example
   * const batch = await users.batchOf(job);
   * for (const row of rows) {
   *   if (await batch?.isCancelled()) return;
   *   await importRow(row);
   * }
   */
  async isCancelled(): Promise<boolean> {
    const cancelled = await isCancelled(this.#context.redis, this.id, this.#definition.nonce);
    if (cancelled === undefined) {
      throw new BatchNotFoundError(this.id);
    }
    return cancelled;
  }

  /**
   * Registers one more callback. When its event is past, it is enqueued at once. Each call adds one: it is not
   * idempotent.
   *
   * @param event 'complete', 'success', 'death' or 'attempted'.
   * @param callback `{ name, data?, queue?, opts? }`, as in `createBatch({ on })`.
   * @throws BatchOptionsError for a callback that `createBatch` would refuse, and for the 101st of a batch.
   * @throws BatchNotFoundError when the batch has been removed.
   *
   * @example
   * await batch.on('success', { name: 'tell-ops', queue: mail });
   */
  async on(event: BatchEvent, callback: Names | Callback): Promise<void> {
    checkName('on(event, callback): the event', event);
    if (!EVENTS.includes(event)) {
      throw new BatchOptionsError(`A batch has no event '${event}'. Known are: ${EVENTS.join(', ')}.`);
    }
    const stored = storeCallback(`on('${event}')`, callback, this.#context);
    await refuseCallbacksElsewhere(this.#context, [callback]);
    checkCallbackCount(`on('${event}')`, (await this.#snapshot()).callbacks.length + 1);
    await addCallback(this.#context, this.#definition, event, stored);
  }

  /**
   * Changes the batch's metadata: the given properties are set, and those that are `undefined` are removed. Changes by
   * several processes at the same time are all kept.
   *
   * @param change the properties; with them the metadata may have 10,000 characters of JSON.
   * @returns the metadata as it is then.
   * @throws BatchNotFoundError when the batch has been removed; BatchOptionsError for what JSON cannot carry, or for
   * too much.
   *
   * @example
   * await batch.updateMetadata({ rows: 5000, startedBy: 'ada' });
   */
  async updateMetadata(change: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>> {
    return updateMetadata(this.#context, this.#definition, change);
  }

  /**
   * Removes the finished batch now, with its child batches and the jobs of its callbacks, in small steps. The members'
   * jobs stay in your queues.
   *
   * @param options `members: true` removes the members' jobs too. `force: true` cancels an unfinished batch first and
   * does not wait: its callbacks do not run, members that are running end outside of any batch, and a parent counts it
   * as missing.
   * @throws BatchError when the batch has not finished, BatchNotFoundError when there is none.
   *
   * @example
   * await (await users.getBatch('november')).remove({ members: true });
   */
  async remove(options: { readonly members?: boolean; readonly force?: boolean } = {}): Promise<void> {
    checkOptions('remove', options, ['members', 'force']);
    for (const [name, value] of Object.entries(options)) {
      if (value !== undefined && typeof value !== 'boolean') {
        throw new BatchOptionsError(`remove(): ${name} must be true or false, not ${describe(value)}.`);
      }
    }
    const { members = false, force = false } = options;
    await removeBatch(this.#context, this.#definition, { members, force });
  }

  /**
   * Returns the parent batch, or undefined. In a callback, or in a member, this is how work is added further up the
   * tree: the right to do so comes from the job that `batchOf` was asked about, and ends with it.
   *
   * @throws BatchNotFoundError when the parent has been removed.
   *
   * @example
   * const parent = await (await users.batchOf(job))?.parent();
   * await parent?.add('cs-import', { org: 7 });
   */
  async parent(): Promise<Batch<Q> | undefined> {
    if (this.#parent !== undefined) {
      return this.#parent as Batch<Q>;
    }
    const { parentId } = this;
    if (parentId === undefined) {
      return undefined;
    }
    const { redis } = this.#context;
    const { parentLinks, repetition } = this.#rights;
    const link = { dependencies: batchKeys(redis, parentId).dependencies, memberKey: batchKeys(redis, this.id).job };
    const links = parentLinks.length === 0 ? [] : [...parentLinks, link];
    return loadBatch<Q>(this.#context, parentId, { links, parentLinks: links, repetition });
  }

  /**
   * Reads where the batch stands, in one round trip and in the same time for a batch of any size. Of a run of a
   * workflow, also where its `stages` stand, in one more, and one per level of workflows that are stages.
   *
   * @throws BatchNotFoundError when the batch has been removed.
   *
   * @example
   * const { state, succeeded, total, progress } = await batch.status();
   */
  async status(): Promise<BatchStatus> {
    const snapshot = await this.#snapshot();
    return this.#withStages(this.#statusOf(snapshot), snapshot.definition);
  }

  #statusOf(snapshot: Snapshot): BatchStatus {
    const jobs = jobsInRow(snapshot);
    return { ...statusOf(snapshot), ...(jobs && { jobs }) };
  }

  async #withStages(status: BatchStatus, definition: BatchDefinition): Promise<BatchStatus> {
    const stages = await allStagesOf(this.#context, definition);
    return { ...status, ...(stages && { stages }) };
  }

  #snapshot(): Promise<Snapshot> {
    return snapshotOf(this.#context, this.id);
  }

  /**
   * Says what holds the batch: the members, child batches and callbacks that are outstanding, with counts and the
   * oldest of each kind, queues that are paused or have no worker, a missing BatchWorker, a missing seal. `reasons`
   * says the same in sentences, most important first, with what to do. Of a finished batch it says how it ended.
   *
   * Looks at up to 2,000 outstanding members, 250 per command. Of a larger batch these are a sample: `sampled` says how
   * many they were, the counts of `members` are estimates, and sentences say "about"; child batches are counted
   * exactly. For people and alarms; for a progress bar there is `status()`.
   *
   * @throws BatchNotFoundError when the batch has been removed.
   *
   * @example
   * const { reasons } = await batch.explain();
   * console.log(reasons.join('\n'));   // No BatchWorker is running: start one with new BatchWorker({ connection }).
   */
  explain(): Promise<BatchExplanation> {
    return explain(this.#context, this.id);
  }

  /**
   * Reads the batch with all batches below it; `jobs` are the totals of all jobs down there, in which child batches do
   * not count. While it is running, the numbers of different batches may be moments apart. A child that is removed
   * meanwhile is left out.
   *
   * Takes about two commands for each batch, however many jobs there are, and holds only the batches in memory.
   *
   * @throws BatchNotFoundError when the batch has been removed.
   *
   * @example
   * const { jobs, children } = await batch.tree();
   * console.log(`${jobs.succeeded} of ${jobs.total} jobs in ${children.length} child batches`);
   */
  tree(): Promise<BatchTree> {
    return treeOf(this.#context, this.id);
  }

  /**
   * Yields the members that succeeded, with what they returned; page by page, in no particular order. While the batch
   * is running, and when Redis is restarted meanwhile, a member may be yielded twice.
   *
   * @param options `ordered: true` yields them in the order in which each producer has added them, those with ids of
   * their own last, by id. All are held in memory: at most 100,000, or a BatchError says so. Default: false.
   * @throws BatchNotFoundError, in the end, when the batch was removed or has expired: what it has yielded is not all.
   *
   * @example
   * for await (const { id, value } of batch.results()) sheet.addRow([id, value]);
   */
  results(options: { readonly ordered?: boolean } = {}): AsyncGenerator<BatchResult<ResultOf<Q>>, void> {
    checkOptions('results', options, ['ordered']);
    return options.ordered ? orderedResults(this.#context, this.id) : resultsOf(this.#context, this.id);
  }

  /**
   * Reads one page of the members, jobs and child batches, with how they stand, their data while their job exists, and
   * what they returned or why they failed. While the batch is running, a member that settles meanwhile may be on two
   * pages, or on none. With a cursor of before a restart or failover of Redis the first page comes again.
   *
   * @param options `state`: 'pending', 'succeeded' or 'failed', by default all; `cursor` of the page before, and about
   * how many are wanted: `count`, 1 to 1,000, by default 100.
   * @throws BatchOptionsError for a cursor that no page has returned, and other states and counts.
   *
   * @example
   * const { members, cursor } = await batch.members({ state: 'pending' });
   */
  async members(options: MembersPageOptions = {}): Promise<BatchMembersPage<DataOf<Q>, ResultOf<Q> | BatchStatus>> {
    return membersPage(this.#context, this.id, options);
  }

  /**
   * Takes a job that has not started out of the batch and out of its queue: it is not counted any more, and the batch
   * does not wait for it.
   *
   * @param id the id of the job.
   * @param options `queue`: the job's queue, or its name; by default that of the batch.
   * @returns whether the batch had such a member.
   * @throws BatchError for a member that runs or has settled, a flow whose jobs wait or run, and a child batch;
   * BatchNotFoundError when the batch has been removed.
   *
   * @example
   * await batch.removeMember('row-7');
   */
  async removeMember(id: string, options: { readonly queue?: string | QueueLike } = {}): Promise<boolean> {
    checkName('removeMember(id): the id', id);
    checkOptions('removeMember', options, ['queue']);
    return removeMember(this.#context, this.#definition, { id, queue: options.queue });
  }

  /**
   * Counts the members that failed for good by their reasons. Reasons that differ in numbers, ids or quoted values only
   * are one, with '…' for these: "duplicate of row …".
   *
   * @param options `limit`: how many failures are looked at, by default 1,000; `Infinity` for all.
   * @returns the `reasons` with their counts, the most frequent first; how many failures were `examined`, and whether
   * the count is `complete`.
   * @throws BatchOptionsError for another limit.
   *
   * @example
   * const { reasons } = await batch.failureReasons();
   * for (const { reason, count } of reasons) console.log(`${count} × ${reason}`);
   */
  async failureReasons(options: FailureReasonsOptions = {}): Promise<FailureReasons> {
    return failureReasonsOf(this.#context, this.id, options);
  }

  /**
   * Yields the members that failed for good, with the reason and, as long as the job exists, its data. They come page
   * by page, in no particular order. While the batch is running, and when Redis is restarted meanwhile, a member may be
   * yielded twice.
   *
   * @throws BatchNotFoundError, in the end, when the batch was removed or has expired: what it has yielded is not all.
   *
   * @example
   * for await (const { data, reason } of batch.failures()) errorSheet.addRow([data, reason]);
   */
  failures(): AsyncGenerator<BatchFailure<DataOf<Q>>, void> {
    return failuresOf(this.#context, this.id, { withData: true });
  }

  /**
   * Reads one page of `failures()`, for a web page or an API that goes on in another request. A page may hold more or
   * fewer failures than asked for; only the last one, without a `cursor`, may be empty. With a cursor of before a
   * restart or failover of Redis the first page comes again: failures may come twice, none is passed over.
   *
   * @param options `cursor` of the page before; about how many are wanted: `count`, 1 to 1,000, by default 100; and
   * `reason`, for those that have one of the reasons that `failureReasons()` tells. A page of these looks at some 1,000
   * failures at most, and may be empty with a `cursor` to go on from.
   * @throws BatchOptionsError for a cursor that no page has returned, or another count.
   *
   * @example
   * const { failures, cursor } = await batch.failuresPage({ count: 50 });
   * const next = cursor && (await batch.failuresPage({ cursor, count: 50 }));
   */
  async failuresPage(options: FailuresPageOptions = {}): Promise<BatchFailuresPage<DataOf<Q>>> {
    return failuresPage(this.#context, this.id, options);
  }

  /**
   * Yields the status now, and again each time that it has changed, until the batch has finished; the last one is
   * final. Changes that follow each other quickly are yielded as one.
   *
   * @throws BatchNotFoundError when the batch has been removed.
   *
   * @example
   * for await (const { progress, state } of batch.watch()) console.log(`${state}: ${progress} %`);
   */
  watch(): AsyncGenerator<BatchStatus, void> {
    return watch(this);
  }

  /**
   * Waits until the batch and its callbacks have finished, and resolves with the final status whatever the outcome.
   *
   * @param ttl how many milliseconds to wait at most; without it, as long as it takes.
   * @throws BatchTimeoutError when `ttl` has passed; a connection that is lost meanwhile, and comes back, is no error.
   * @throws BatchNotFoundError when the batch has been removed.
   *
   * @example
   * const { state, failedReason } = await batch.waitUntilFinished(60_000);
   */
  async waitUntilFinished(ttl?: number): Promise<BatchStatus> {
    if (ttl !== undefined && !(typeof ttl === 'number' && ttl >= 0)) {
      throw new BatchOptionsError(`waitUntilFinished(ttl): ttl is a number of milliseconds, not ${describe(ttl)}.`);
    }
    // Its stages are read once, in the end.
    const { id } = this;
    const light = { id, status: async () => this.#statusOf(await this.#snapshot()), explain: () => this.explain() };
    return this.#withStages(await waitUntilFinished(light, ttl), this.#definition);
  }
}

/** Makes the ids of the members with which a batch is created in one step. */
function firstIdsOf({ id, nonce }: BatchDefinition, isRepeatable: boolean, repetition?: Repetition): MemberIds {
  if (isRepeatable) {
    return repeatableIds(id, nonce);
  }
  return repetition === undefined ? firstIds(nonce) : derivedIds(nonce, repetition);
}

/**
 * Creates a batch from options that were checked, or returns the one that has the id.
 *
 * @param members all of its members, with which it is created and sealed at once if that can be one step.
 */
export async function createBatch<Q extends QueueLike, Names extends string = string>(
  context: QueueContext,
  options: BatchOptions<Names>,
  members: readonly CheckedJob[] = [],
): Promise<Batch<Q, Names>> {
  const { parent } = options;
  if (parent === undefined) {
    const idsOf = (definition: BatchDefinition) => firstIdsOf(definition, options.id !== undefined);
    return new Batch<Q, Names>({ ...(await defineBatch(context, options, undefined, { members, idsOf })), context });
  }
  return asParent(parent).createChild<Q>(context, options, members);
}

/** Returns what was given as `parent`, if it is a batch. */
export function asParent(parent: unknown): Batch {
  if (!(parent instanceof Batch)) {
    throw new BatchOptionsError(
      `'parent' must be a Batch, not ${describe(parent)}: pass what createBatch() or getBatch() returned.`,
    );
  }
  return parent;
}

/**
 * Returns the handle of a batch that exists.
 *
 * @throws BatchNotFoundError when there is none.
 */
export async function loadBatch<Q extends QueueLike>(
  context: QueueContext,
  id: string,
  rights?: AddRights,
): Promise<Batch<Q>> {
  const batchId = escapedId(id);
  const snapshot = mayBeBatchId(batchId) ? await readSnapshot(context.redis, batchId) : undefined;
  if (snapshot === undefined) {
    throw new BatchNotFoundError(id);
  }
  return new Batch<Q>({ context, definition: snapshot.definition, rights });
}
