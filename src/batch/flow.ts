import type { FlowJob, Job, JobsOptions } from 'bullmq';
import { BatchMemberError, BatchOptionsError } from '../errors.js';
import { checkKeys, checkMemberOptions, checkName, checkObject, describe, type MemberOptions } from '../options.js';
import { isConnectionError } from '../redis/connection-error.js';
import { detachIfBroken, takenKeys } from '../redis/flow.js';
import { jobKey } from '../redis/keys.js';
import type { Home } from './home.js';
import { freshIds } from './ids.js';
import { type Destination, explainCodes, knownJob, type Member, register, takeBack } from './members.js';

/** What becomes of the job above when this one fails for good: at most one of them is true, by default the first. */
type FailureOption =
  | 'failParentOnFailure'
  | 'continueParentOnFailure'
  | 'ignoreDependencyOnFailure'
  | 'removeDependencyOnFailure';

/** BullMQ's job options for a job inside of a flow. */
export type FlowChildOptions = MemberOptions & Pick<JobsOptions, FailureOption>;

/** A tree of jobs in the form of BullMQ's `FlowProducer`: each job runs when the jobs below it have. */
export interface Flow<Options = MemberOptions> {
  readonly name: string;
  /** The name of the job's queue. */
  readonly queueName: string;
  readonly data?: unknown;
  /** The prefix of the job's queue. Default, and only value: that of the batch. */
  readonly prefix?: string;
  readonly opts?: Options;
  readonly children?: readonly FlowChild[];
}

/** A job inside of a flow. Unless its options say what becomes of the job above when it fails, that fails as well. */
export type FlowChild = Flow<FlowChildOptions>;

/** The jobs of a flow as they were added: BullMQ's `JobNode`. */
export interface FlowNode {
  job: Job;
  children?: FlowNode[];
}

const FLOW_KEYS = ['name', 'queueName', 'data', 'prefix', 'opts', 'children'];
const FAILURE_OPTIONS: readonly FailureOption[] = [
  'failParentOnFailure',
  'continueParentOnFailure',
  'ignoreDependencyOnFailure',
  'removeDependencyOnFailure',
];

/** BullMQ stores a flow in one transaction, during which Redis does nothing else: 1,000 jobs took 20 ms. */
const MOST_JOBS = 500;

/** A job of a flow, found to be in order. */
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

interface Link {
  readonly node: Node;
  readonly key: string;
  readonly parentKey: string;
}

/** Adds a tree of jobs to a batch, of which the root becomes a member: registers the root, and then adds all of it. */
export async function addFlow(to: Destination, defaults: JobsOptions | undefined, flow: unknown): Promise<FlowNode> {
  const { home, batchId } = to;
  const root = checkFlow(flow, home);
  const named = linksOf(root).filter(({ node }) => node.isNamed);
  await refuseTaken(to, root, named);
  const { name, data, id, key } = root;
  const queue = home.queueNamed(root.queueName);
  const opts = { ...defaults, ...root.opts };
  const member: Member = { queue, name, data, opts, id };
  const [registration] = await register(to, [member], [key], !root.isNamed);
  if (registration === 'known') {
    return { job: knownJob(member) };
  }
  const parent = { id: batchId, queue: home.batches.qualifiedName };
  const refused = (cause: unknown) =>
    takeBack(home, batchId, queue, [{ member, key, position: 0 }], cause, 'Nor was any other job of its flow.');
  let added: FlowNode;
  try {
    added = await home
      .flowProducer()
      .add(asFlowJob({ ...root, opts: { ...opts, parent, ignoreDependencyOnFailure: true } }));
  } catch (cause) {
    throw await refused(explained(cause));
  }
  if (String(added.job.id) !== id) {
    throw await refused(new Error(explainCodes(new Set([String(added.job.id)]))));
  }
  await refuseBroken(to, member, key, named).catch(async (cause: unknown) => {
    throw isConnectionError(cause) ? await refused(cause) : cause;
  });
  return added;
}

/** BullMQ would leave a job that exists where it is, and the job above it would wait for it, for ever or not at all. */
async function refuseTaken({ home, batchId }: Destination, root: Node, named: readonly Link[]): Promise<void> {
  if (named.length === 0) {
    return;
  }
  const keys = named.map(({ key }) => key);
  const taken = await takenKeys(home.redis, batchId, root.key, keys);
  const nodes = named.filter(({ key }) => taken.has(key)).map(({ node }) => node);
  const [first] = nodes;
  if (first !== undefined) {
    throw new BatchMemberError(
      `The flow '${root.name}' was not added to batch '${batchId}': a job with the id '${first.id}' exists in queue ` +
        `'${first.queueName}'. Give the jobs of a flow ids of their own, or remove that job first.`,
      { batchId, jobIds: nodes.map(({ id }) => id) },
    );
  }
}

/** The same for an id that was used elsewhere between the look and the add: BullMQ's reply does not tell. */
async function refuseBroken(to: Destination, root: Member, rootKey: string, named: readonly Link[]): Promise<void> {
  if (named.length === 0) {
    return;
  }
  const { home, batchId } = to;
  const strays = await detachIfBroken(home.redis, batchId, rootKey, named);
  const nodes = named.filter(({ key }) => strays.has(key)).map(({ node }) => node);
  const [first] = nodes;
  if (first !== undefined) {
    // BullMQ removes what is below it too, unless something of that is running: then it runs on, outside of the batch.
    await root.queue.removeJob(root.id).catch(() => {});
    throw new BatchMemberError(
      `The flow '${root.name}' was not added to batch '${batchId}': a job with the id '${first.id}' was added to queue ` +
        `'${first.queueName}' by somebody else at the same time. Give the jobs of a flow ids of their own.`,
      { batchId, jobIds: nodes.map(({ id }) => id) },
    );
  }
}

/** BullMQ's own error names keys only. */
function explained(cause: unknown): unknown {
  const { code } = (cause ?? {}) as { readonly code?: unknown };
  return code === -5 || code === -7 ? new Error(explainCodes(new Set([String(code)])), { cause }) : cause;
}

function linksOf(node: Node): Link[] {
  return node.children.flatMap((child) => [{ node: child, key: child.key, parentKey: node.key }, ...linksOf(child)]);
}

function asFlowJob({ name, queueName, data, opts, id, children }: Node): FlowJob {
  return {
    name,
    queueName,
    data,
    opts: { ...opts, jobId: id },
    ...(children.length === 0 ? {} : { children: children.map(asFlowJob) }),
  } as FlowJob;
}

/** Refuses what can be seen to be wrong with a flow, before anything is written; what is returned is a copy. */
function checkFlow(flow: unknown, home: Home): Node {
  const { prefix } = home.redis;
  const nextId = freshIds();
  const keys = new Set<string>();
  let jobs = 0;
  const check = (what: string, node: unknown, above: ReadonlySet<unknown>): Node => {
    checkObject(what, node);
    if (above.has(node)) {
      throw new BatchOptionsError(`${what} is a job above itself: a flow is a tree.`);
    }
    if (++jobs > MOST_JOBS) {
      throw new BatchOptionsError(
        `A flow has at most ${MOST_JOBS} jobs, because BullMQ adds it in one transaction. Add more with addBulk(), or as a child batch.`,
      );
    }
    checkKeys(what, node, FLOW_KEYS);
    const { name, queueName, data, children = [] } = node;
    checkName(`The name of ${what}`, name);
    checkQueueName(`${what}.queueName`, queueName, home.batches.name);
    checkPrefix(what, node.prefix, prefix);
    checkData(what, data);
    const { jobId, ...opts } = above.size === 0 ? rootOptions(what, node.opts) : childOptions(what, node.opts);
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
      `${what} has the prefix ${describe(given)}, the batch has '${prefix}'. A batch and all jobs of its flows share one prefix.`,
    );
  }
}

function checkData(what: string, data: unknown): void {
  let json: string | undefined;
  try {
    json = JSON.stringify(data ?? null);
  } catch (cause) {
    throw new BatchOptionsError(`The data of ${what} is not JSON: ${(cause as Error).message}.`, { cause });
  }
  if (json === undefined) {
    throw new BatchOptionsError(`The data of ${what} is not JSON: it is ${describe(data)}.`);
  }
}

function rootOptions(what: string, opts: unknown = {}): Record<string, unknown> {
  checkMemberOptions(`The options of ${what}`, opts);
  return opts as Record<string, unknown>;
}

/** BullMQ's own default, to wait for ever for a child that has failed, would hold up the batch. */
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
      `The options of ${what} have '${chosen.join(`' and '`)}': only one of them can decide what becomes of the job above.`,
    );
  }
  if (chosen.length === 0 && opts.failParentOnFailure === false) {
    throw new BatchOptionsError(
      `The options of ${what} switch 'failParentOnFailure' off: the flow would wait for ever for a job that has failed. ` +
        `Set 'ignoreDependencyOnFailure' to go on without it.`,
    );
  }
  return { ...own, [chosen[0] ?? 'failParentOnFailure']: true };
}
