import type { Job, JobsOptions } from 'bullmq';
import { BatchMemberError, BatchOptionsError } from '../errors.js';
import type { BatchLife } from '../record/add-members.js';
import { jobKey } from '../record/keys.js';
import { checkKeys, checkMemberOptions, checkName, checkObject, describe, type MemberOptions } from '../validation.js';
import { type BatchContext, type MemberQueue, wrappedQueue } from './batch-context.js';
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
type FailureOption =
  | 'failParentOnFailure'
  | 'continueParentOnFailure'
  | 'ignoreDependencyOnFailure'
  | 'removeDependencyOnFailure';

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
const FAILURE_OPTIONS: readonly FailureOption[] = [
  'failParentOnFailure',
  'continueParentOnFailure',
  'ignoreDependencyOnFailure',
  'removeDependencyOnFailure',
];

/** Limited because a flow is stored in one step, during which Redis does nothing else: 300 jobs take 8 ms. */
const MOST_JOBS = 300;

/** A job of a flow that was checked. */
interface Node {
  readonly name: string;
  readonly queueName: string;
  readonly data: unknown;
  readonly opts: Record<string, unknown>;
  readonly id: string;
  readonly key: string;
  /** Whether the caller gave the id, so that a job may have it already. */
  readonly isNamed: boolean;
  readonly children: readonly Node[];
}

/** Adds a tree of jobs to a batch, of which the root becomes a member: all of it, in one step, or nothing. */
export async function addFlow(
  context: BatchContext,
  to: BatchAccess,
  flow: unknown,
  repetition: Repetition | undefined,
): Promise<FlowNode> {
  const { batch } = to;
  const options = memberOptionsOf(batch);
  const root = checkFlow(context, batch, flow, repetition);
  const own = {
    ...root,
    opts: { ...options.defaults, ...root.opts, ...options.fixed, ignoreDependencyOnFailure: true },
  };
  const nodes = withQueueDefaults(context, nodesOf(own));
  const adding: Adding = { batchId: batch.id, jobIds: [root.id], others: 'Nor was any other job of its flow.' };
  const queues = nodes.map(({ node }) => context.queueNamed(node.queueName));
  return inProducerSpans([{ name: root.name, queue: queues[0] as MemberQueue }], async (traceOf) => {
    const trace = traceOf(queues[0] as MemberQueue);
    const jobs = nodes.map((placed, i) => flowJob(context, batch.id, placed, queues[i] as MemberQueue, trace));
    const entries = nodes.map(({ node: { name, queueName, id, children }, above }, i) => {
      const kind = above === undefined ? 'member' : 'below';
      const options = { queue: queueName, id, kind, isParent: children.length > 0 };
      return newEntry(context, jobs[i] as Job, options, `of job '${name}'`, adding);
    });
    const result = await send(context, to, entries, !root.isNamed && repetition === undefined, adding);
    if ('taken' in result) {
      throw takenError(
        batch.id,
        root,
        result.taken.flatMap((position) => nodes[position]?.node ?? []),
      );
    }
    if (result.failed !== undefined) {
      throw notAdded(new Error(result.failed.error), adding);
    }
    const byNode = new Map(nodes.map(({ node }, i) => [node.key, jobs[i] as Job]));
    return result.known.size > 0 ? { job: jobs[0] as Job } : treeOf(root, byNode);
  });
}

/** A job of a flow with the job above it. */
interface Placed {
  readonly node: Node;
  readonly above: Node | undefined;
}

/** The jobs with the `defaultJobOptions` of their queues, as far as these were wrapped in this process. */
function withQueueDefaults(context: BatchContext, nodes: readonly Placed[]): Placed[] {
  const names = new Set(nodes.map(({ node }) => node.queueName));
  const defaults = new Map([...names].map((name) => [name, wrappedQueue(name, context)?.queue.defaultJobOptions]));
  return nodes.map(({ node, above }) => ({
    node: { ...node, opts: { ...defaults.get(node.queueName), ...node.opts } },
    above,
  }));
}

/** Returns the jobs of a flow, each before those below it. */
function nodesOf(node: Node, above?: Node): Placed[] {
  return [{ node, above }, ...node.children.flatMap((child) => nodesOf(child, node))];
}

function treeOf(node: Node, jobs: ReadonlyMap<string, Job>): FlowNode {
  const children = node.children.map((child) => treeOf(child, jobs));
  return { job: jobs.get(node.key) as Job, ...(children.length === 0 ? {} : { children }) };
}

function flowJob(
  context: BatchContext,
  batchId: string,
  { node, above }: Placed,
  queue: MemberQueue,
  trace: string | undefined,
): Job {
  const parent =
    above === undefined
      ? { id: batchId, queue: context.batches.qualifiedName }
      : { id: above.id, queue: context.queueNamed(above.queueName).queue.qualifiedName };
  const opts = { ...withTrace(node.opts, trace), jobId: node.id, parent } as JobsOptions;
  const job = newJob(queue, node.name, node.data, opts);
  return above === undefined ? asMember(job) : job;
}

/**
 * Says which ids are those of jobs that exist. BullMQ would leave such a job where it is, and the job above it would wait for ever,
 * or not at all.
 */
function takenError(batchId: string, root: Node, taken: readonly Node[]): BatchMemberError {
  const [first] = taken;
  return new BatchMemberError(
    `The flow '${root.name}' was not added to batch '${batchId}': a job with the id '${first?.id}' exists in queue ` +
      `'${first?.queueName}'. Give the jobs of a flow ids of their own, or remove that job first.`,
    { batchId, jobIds: taken.map(({ id }) => id) },
  );
}

/** Checks a flow before anything is written, and returns a copy of it. */
function checkFlow(context: BatchContext, batch: BatchLife, flow: unknown, repetition: Repetition | undefined): Node {
  const { prefix } = context.redis;
  const nextId = repetition === undefined ? freshIds(batch.nonce).next : flowIds(batch.nonce, flow, repetition);
  const keys = new Set<string>();
  let jobs = 0;
  const check = (what: string, node: unknown, above: ReadonlySet<unknown>): Node => {
    checkObject(what, node);
    if (above.has(node)) {
      throw new BatchOptionsError(`${what} is a job above itself: a flow is a tree.`);
    }
    if (++jobs > MOST_JOBS) {
      throw new BatchOptionsError(
        `A flow has at most ${MOST_JOBS} jobs, because it is added in one step. Add more with addBulk(), or as a ` +
          'child batch.',
      );
    }
    checkKeys(what, node, FLOW_KEYS);
    const { name, queueName, data, children = [] } = node;
    checkName(`The name of ${what}`, name);
    checkQueueName(`${what}.queueName`, queueName, context.batches.name);
    checkPrefix(what, node.prefix, prefix);
    checkData(what, data);
    const { jobId, ...opts } =
      above.size === 0 ? rootOptions(what, node.opts, batch.id) : childOptions(what, node.opts);
    const fresh = nextId();
    const id = jobId === undefined ? fresh : String(jobId);
    const key = jobKey(prefix, queueName, id);
    if (keys.has(key)) {
      throw new BatchOptionsError(
        `${what} has the jobId '${id}', which another job of the flow in '${queueName}' has.`,
      );
    }
    keys.add(key);
    if (!Array.isArray(children)) {
      throw new BatchOptionsError(`${what}.children must be an array, not ${describe(children)}.`);
    }
    const inside = new Set(above).add(node);
    const below = Array.from(children, (child, i) => check(`${what}.children[${i}]`, child, inside));
    return { name, queueName, data, opts, id, key, isNamed: jobId !== undefined, children: below };
  };
  return check('flow', flow, new Set());
}

/** The id of the root comes first: it decides whether the flow is known. */
function flowIds(nonce: string, flow: unknown, repetition: Repetition): () => string {
  const root = `${nonce}-${repetition.nextId(nonce, flow)}`;
  let n = 0;
  return () => (n++ === 0 ? root : `${root}.${n}`);
}

function checkQueueName(what: string, name: unknown, batchesQueue: string): asserts name is string {
  checkName(what, name);
  if (name === batchesQueue || name.includes(':')) {
    throw new BatchOptionsError(
      name === batchesQueue
        ? `${what} must not be '${batchesQueue}', the queue of the batches themselves.`
        : `${what} must not contain ':', BullMQ's separator: '${name}'.`,
    );
  }
}

function checkPrefix(what: string, given: unknown, prefix: string): void {
  if (given !== undefined && given !== prefix) {
    throw new BatchOptionsError(
      `${what} has the prefix ${describe(given)}, the batch has '${prefix}'. A batch and all jobs of its flows ` +
        'share one prefix.',
    );
  }
}

function rootOptions(what: string, opts: unknown = {}, batchId: string): Record<string, unknown> {
  checkMemberOptions(`The options of ${what}`, opts, batchId);
  return opts as Record<string, unknown>;
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
