import type { Job, JobsOptions } from 'bullmq';
import { BatchMemberError, BatchOptionsError } from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import { jobKey } from '../record/keys.js';
import {
  checkKeys,
  checkMemberOptions,
  checkName,
  checkObject,
  checkQueueName,
  describe,
  type MemberOptions,
} from '../validation.js';
import { type BatchContext, checkNotBatches, type MemberQueue, wrappedQueue } from './batch-context.js';
import { freshIds } from './ids.js';
import { checkData } from './job.js';
import { asMember, memberOptionsOf, newEntry, newJob, withTrace } from './member-jobs.js';
import { type BatchAccess, send } from './members.js';
import { type Adding, notAdded } from './not-added.js';
import type { Repetition } from './repetition.js';
import { inProducerSpans } from './trace.js';

/**
 * BullMQ's options for what happens to the job above when this one fails for good. At most one may be true. Default:
 * `failParentOnFailure`.
 */
const FAILURE_OPTIONS = [
  'failParentOnFailure',
  'continueParentOnFailure',
  'ignoreDependencyOnFailure',
  'removeDependencyOnFailure',
] as const;

type FailureOption = (typeof FAILURE_OPTIONS)[number];

/** BullMQ's job options for a job inside of a flow. */
export type FlowChildOptions = MemberOptions & Pick<JobsOptions, FailureOption>;

/** A tree of jobs in the form of BullMQ's `FlowProducer`: each job runs when the jobs below it have. */
export interface Flow<Options = MemberOptions> {
  /** The name of the job. */
  readonly name: string;
  /** The name of the job's queue. */
  readonly queueName: string;
  /** The data of the job, which JSON must be able to carry. */
  readonly data?: unknown;
  /** The prefix of the job's queue. Default, and only value: that of the batch. */
  readonly prefix?: string;
  /** BullMQ's options of the job. */
  readonly opts?: Options;
  /** The jobs that must have run before this one does. */
  readonly children?: readonly FlowChild[];
}

/** A job inside of a flow. Unless its options say what becomes of the job above when it fails, that fails as well. */
export type FlowChild = Flow<FlowChildOptions>;

/** The jobs of a flow as they were added: BullMQ's `JobNode`. */
export interface FlowNode {
  /** The job of this node. */
  job: Job;
  /** The nodes below it; absent for a job without children. */
  children?: FlowNode[];
}

const FLOW_KEYS = ['name', 'queueName', 'data', 'prefix', 'opts', 'children'];

/** Limited because a flow is stored in one step, during which Redis does nothing else: 300 jobs take 8 ms. */
const MOST_JOBS = 300;

/** A job of a flow that was checked. */
interface Node {
  readonly name: string;
  readonly queue: MemberQueue;
  readonly data: unknown;
  readonly opts: object;
  readonly id: string;
  readonly key: string;
  /** Whether the caller gave the id, so that a job may have it already. */
  readonly isNamed: boolean;
  /** Whether it waits for jobs below it. */
  readonly isParent: boolean;
  /** The job above it; undefined for the root. */
  readonly above: Node | undefined;
}

/** Adds a tree of jobs to a batch, of which the root becomes a member: all of it, in one step, or nothing. */
export async function addFlow(
  context: BatchContext,
  to: BatchAccess,
  flow: unknown,
  repetition: Repetition | undefined,
): Promise<FlowNode> {
  const { batch } = to;
  const nodes = checkFlow(context, batch, flow, repetition);
  const root = nodes[0] as Node;
  const adding: Adding = { batchId: batch.id, jobIds: [root.id], others: 'Nor was any other job of its flow.' };
  return inProducerSpans([root], async (traceOf) => {
    const trace = traceOf(root.queue);
    const jobs = new Map(nodes.map((node) => [node, flowJob(context, batch.id, node, trace)]));
    const entries = [...jobs].map(([{ name, queue, id, isParent, above }, job]) => {
      const options = { queue: queue.name, id, kind: above === undefined ? 'member' : 'below', isParent };
      return newEntry(context, job, options, `of job '${name}'`, adding);
    });
    const result = await send(context, to, entries, !root.isNamed && repetition === undefined, adding);
    if ('taken' in result) {
      const taken = result.taken.flatMap((position) => nodes[position] ?? []);
      throw takenError(batch.id, root, taken);
    }
    if (result.failed !== undefined) {
      throw notAdded(new Error(result.failed.error), adding);
    }
    return result.known.size > 0 ? { job: jobs.get(root) as Job } : treeOf(root, jobs);
  });
}

function treeOf(node: Node, jobs: ReadonlyMap<Node, Job>): FlowNode {
  const below = [...jobs.keys()].filter(({ above }) => above === node);
  const children = below.map((child) => treeOf(child, jobs));
  return { job: jobs.get(node) as Job, ...(children.length > 0 && { children }) };
}

function flowJob(
  context: BatchContext,
  batchId: string,
  { queue, name, data, opts, id, above }: Node,
  trace: string | undefined,
): Job {
  const parent =
    above === undefined
      ? { id: batchId, queue: context.batches.qualifiedName }
      : { id: above.id, queue: above.queue.queue.qualifiedName };
  const job = newJob(queue, name, data, { ...withTrace(opts, trace), jobId: id, parent });
  return above === undefined ? asMember(job) : job;
}

/**
 * Says which ids are those of jobs that exist. BullMQ would leave such a job where it is, and the job above it would
 * wait for ever, or not at all.
 */
function takenError(batchId: string, root: Node, taken: readonly Node[]): BatchMemberError {
  const [first] = taken;
  return new BatchMemberError(
    `The flow '${root.name}' was not added to batch '${batchId}': a job with the id '${first?.id}' exists in queue ` +
      `'${first?.queue.name}'. Give the jobs of a flow ids of their own, or remove that job first.`,
    { batchId, jobIds: taken.map(({ id }) => id) },
  );
}

/** Checks a flow before anything is written, and returns a copy of its jobs, each before those below it. */
function checkFlow(
  context: BatchContext,
  batch: BatchDefinition,
  flow: unknown,
  repetition: Repetition | undefined,
): Node[] {
  const { prefix } = context.redis;
  const nextId = repetition === undefined ? freshIds(batch.nonce).next : flowIds(batch.nonce, flow, repetition);
  const nodes: Node[] = [];
  const check = (what: string, given: unknown, line: readonly unknown[], above: Node | undefined): void => {
    checkObject(what, given);
    if (line.includes(given)) {
      throw new BatchOptionsError(`${what} is a job above itself: a flow is a tree.`);
    }
    if (nodes.length === MOST_JOBS) {
      throw new BatchOptionsError(
        `A flow has at most ${MOST_JOBS} jobs, because it is added in one step. Add more with addBulk(), or as a ` +
          'child batch.',
      );
    }
    checkKeys(what, given, FLOW_KEYS);
    const { name, queueName, data, children = [] } = given;
    checkName(`The name of ${what}`, name);
    checkQueueName(`${what}.queueName`, queueName);
    checkNotBatches(queueName, context.batches.name);
    checkPrefix(what, given.prefix, prefix);
    checkData(what, data);
    const { jobId, ...own } =
      above === undefined ? rootOptions(what, given.opts, batch) : childOptions(what, given.opts);
    const opts = { ...wrappedQueue(queueName, context)?.queue.defaultJobOptions, ...own };
    const made = nextId();
    const id = jobId === undefined ? made : String(jobId);
    const key = jobKey(prefix, queueName, id);
    if (nodes.some((other) => other.key === key)) {
      throw new BatchOptionsError(
        `${what} has the jobId '${id}', which another job of the flow in '${queueName}' has.`,
      );
    }
    if (!Array.isArray(children)) {
      throw new BatchOptionsError(`${what}.children must be an array, not ${describe(children)}.`);
    }
    const queue = context.queueNamed(queueName);
    const isParent = children.length > 0;
    const node = { name, queue, data, opts, id, key, isNamed: jobId !== undefined, isParent, above };
    nodes.push(node);
    Array.from(children, (child, i) => check(`${what}.children[${i}]`, child, [...line, given], node));
  };
  check('flow', flow, [], undefined);
  return nodes;
}

/** The id of the root comes first: it decides whether the flow is known. */
function flowIds(nonce: string, flow: unknown, repetition: Repetition): () => string {
  const root = `${nonce}-${repetition.nextId(nonce, flow)}`;
  let n = 0;
  return () => (n++ === 0 ? root : `${root}.${n}`);
}

function checkPrefix(what: string, given: unknown, prefix: string): void {
  if (given !== undefined && given !== prefix) {
    throw new BatchOptionsError(
      `${what} has the prefix ${describe(given)}, the batch has '${prefix}'. A batch and all jobs of its flows ` +
        'share one prefix.',
    );
  }
}

/** Returns the options of the root, which is a member. */
function rootOptions(what: string, opts: unknown = {}, batch: BatchDefinition): Record<string, unknown> {
  checkMemberOptions(`The options of ${what}`, opts, batch.id);
  const { defaults, fixed } = memberOptionsOf(batch);
  return { ...defaults, ...opts, ...fixed, ignoreDependencyOnFailure: true };
}

/**
 * Returns the options of a job inside of a flow. BullMQ's own default, to wait for ever for a failed child, would hold
 * up the batch.
 */
function childOptions(what: string, opts: unknown = {}): Record<string, unknown> {
  checkObject(`The options of ${what}`, opts);
  const { parent, ...others } = opts;
  if (parent) {
    throw new BatchOptionsError(`The options of ${what} must not have 'parent': that is the job above it in the flow.`);
  }
  const own = Object.fromEntries(
    Object.entries(others).filter(([option]) => !FAILURE_OPTIONS.includes(option as FailureOption)),
  );
  checkMemberOptions(`The options of ${what}`, own);
  const chosen = FAILURE_OPTIONS.filter((option) => opts[option]);
  if (chosen.length > 1) {
    throw new BatchOptionsError(
      `The options of ${what} have '${chosen.join("' and '")}': only one of them can decide what becomes of the job ` +
        'above.',
    );
  }
  if (chosen.length === 0 && opts.failParentOnFailure === false) {
    throw new BatchOptionsError(
      `The options of ${what} switch 'failParentOnFailure' off: the flow would wait for ever for a job that has ` +
        `failed. Set 'ignoreDependencyOnFailure' to go on without it.`,
    );
  }
  return { ...own, [chosen[0] ?? 'failParentOnFailure']: true };
}
