import type { Queue } from 'bullmq';
import type {
  BatchExplanation,
  OutstandingCallback,
  OutstandingChildren,
  OutstandingMembers,
  OutstandingQueue,
} from '../model/explanation.js';
import type { JobFacts, JobState } from '../model/job-facts.js';
import { reasonsFor, reasonsOfFinished } from '../model/reasons.js';
import { dueOf, isSettled, stateOf } from '../model/rules.js';
import type { Snapshot } from '../model/snapshot.js';
import { readDefinition } from '../record/change-definition.js';
import { childrenOf } from '../record/children.js';
import { jobFacts } from '../record/job-facts.js';
import { batchKeys, callbackKeys, jobKey, memberName } from '../record/keys.js';
import { OLDEST, type OutstandingGroup, outstandingPage } from '../record/outstanding.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import { connectedWorkers } from './connected-workers.js';
import { stagesOf } from './stages.js';
import { type StageStatus, snapshotOf } from './status.js';

const PAGE_SIZE = 250;

export async function explain(context: BatchContext, batchId: string): Promise<BatchExplanation> {
  const snapshot = await snapshotOf(context, batchId);
  const what = {
    id: batchId,
    description: snapshot.definition.description,
    state: stateOf(snapshot),
    sealed: snapshot.sealedAt !== undefined,
    createdAt: snapshot.createdAt,
  };
  const stages = await stagesAround(context, snapshot);
  const { groups, strangers, sampled } = await findOutstanding(context, batchId, snapshot);
  const callbacks = outstandingCallbacks(snapshot);
  const { prefix } = context.redis;
  const batchJob = batchKeys(context.redis, batchId).job;
  const facts = await jobFacts(context.redis, batchId, [
    batchJob,
    ...groups.flatMap(({ oldest }) => oldest.map(({ key }) => key)),
    ...callbacks.map(({ queue, jobId }) => jobKey(prefix, queue, jobId)),
  ]);
  const about = {
    ...what,
    // Of a batch that was created and sealed in one step, the seal is the only sign of life.
    lastSignOfLifeAt: facts.get(batchJob)?.registeredAt ?? snapshot.sealedAt,
    strangers,
    sampled,
    callbacks: callbacks.map((callback) =>
      callbackOf(callback, facts.get(jobKey(prefix, callback.queue, callback.jobId))),
    ),
  };
  if (
    snapshot.ended !== undefined &&
    groups.length === 0 &&
    strangers.length === 0 &&
    callbacks.every(({ state }) => state === 'failed')
  ) {
    const reasons = reasonsOfFinished(what.state, snapshot, stages);
    return { ...about, reasons, members: [], children: [], queues: [] };
  }
  const held = {
    ...about,
    members: groups.flatMap((group) => (isOfChildren(group) ? [] : membersOf(prefix, group, facts))),
    children: await Promise.all(groups.filter(isOfChildren).map((group) => explainChildren(context, group))),
    queues: await queuesOf(context, [...groups, ...callbacks]),
  };
  return { ...held, reasons: reasonsFor(held, snapshot, facts.get(batchJob), context.redis, stages) };
}

/** The stages of the run that the batch is; or, of a stage, all those of its run, also of one that is to be a run. */
async function stagesAround(
  context: BatchContext,
  { definition, startedAt }: Snapshot,
): Promise<StageStatus[] | undefined> {
  const { run, stage, parentId } = definition;
  if (run !== undefined && (stage === undefined || startedAt !== undefined)) {
    return stagesOf(context, definition);
  }
  const above =
    stage === undefined || parentId === undefined ? undefined : await readDefinition(context.redis, parentId);
  return above && stagesOf(context, above);
}

const STATES: readonly OutstandingGroup['state'][] = [
  ...(['active', 'waiting', 'prioritized', 'delayed', 'waiting-children'] as const),
  ...(['no job', 'failed', 'completed'] as const),
  ...(['open', 'running'] as const),
];

/** How many outstanding members are looked at, at most: in a larger batch they are a sample. */
const MOST_LOOKED_AT = 2000;

interface Outstanding {
  readonly groups: readonly OutstandingGroup[];
  readonly strangers: readonly string[];
  readonly sampled: number | undefined;
}

/** Finds the outstanding members, by queue and state, without the batch's own callbacks. */
async function findOutstanding(
  context: BatchContext,
  batchId: string,
  { definition, counts }: Snapshot,
): Promise<Outstanding> {
  const groups = new Map<string, OutstandingGroup>();
  const strangers = new Set<string>();
  const callbacks = callbackKeys(context.redis.prefix, batchId, definition);
  const part = { count: PAGE_SIZE, most: MOST_LOOKED_AT, callbackKeys: callbacks };
  let [cursor, looked] = ['0', 0];
  do {
    const page = await outstandingPage(context.redis, batchId, { ...part, cursor });
    for (const group of page.groups) {
      const name = `${group.queue}:${group.state}`;
      const known = groups.get(name);
      groups.set(name, known === undefined ? group : merge(known, group));
      looked += group.count;
    }
    for (const key of page.strangers) {
      strangers.add(key);
    }
    cursor = page.cursor;
  } while (cursor !== '0' && looked < MOST_LOOKED_AT);
  const isSample = cursor !== '0';
  const found = isSample
    ? await estimated(context, batchId, [...groups.values()], counts.pending)
    : [...groups.values()];
  const rank = ({ state }: OutstandingGroup) => STATES.indexOf(state);
  return {
    groups: found.sort((a, b) => a.queue.localeCompare(b.queue) || rank(a) - rank(b)),
    strangers: [...strangers].sort(),
    sampled: isSample ? looked : undefined,
  };
}

/** Estimates the groups from a sample of the members that are jobs; child batches are counted exactly. */
async function estimated(
  context: BatchContext,
  batchId: string,
  sample: readonly OutstandingGroup[],
  pending: number,
): Promise<OutstandingGroup[]> {
  const children = await groupsOfChildren(context, batchId);
  const jobs = sample.filter((group) => !isOfChildren(group));
  const looked = jobs.reduce((sum, { count }) => sum + count, 0);
  const all = pending - children.reduce((sum, { count }) => sum + count, 0);
  const share = (count: number) => Math.round((count / looked) * Math.max(all, looked));
  return [
    ...jobs.map((group) => ({ ...group, count: share(group.count), failing: share(group.failing) })),
    ...children,
  ];
}

async function groupsOfChildren(context: BatchContext, batchId: string): Promise<OutstandingGroup[]> {
  const groups = new Map<OutstandingGroup['state'], OutstandingGroup>();
  for await (const { id, collection, isClosed, createdAt } of childrenOf(context.redis, batchId)) {
    if (collection === 'dependencies') {
      const state = isClosed ? 'running' : 'open';
      const oldest = [{ key: batchKeys(context.redis, id).job, timestamp: createdAt }];
      const group = { queue: context.batches.name, state, count: 1, failing: 0, oldest } as const;
      const known = groups.get(state);
      groups.set(state, known === undefined ? group : merge(known, group));
    }
  }
  return [...groups.values()];
}

function merge(a: OutstandingGroup, b: OutstandingGroup): OutstandingGroup {
  const oldest = [...a.oldest, ...b.oldest].sort(
    (one, other) => one.timestamp - other.timestamp || (one.key < other.key ? -1 : 1),
  );
  return { ...a, count: a.count + b.count, failing: a.failing + b.failing, oldest: oldest.slice(0, OLDEST) };
}

type ChildrenGroup = OutstandingGroup & { readonly state: OutstandingChildren['state'] };

function isOfChildren(group: OutstandingGroup): group is ChildrenGroup {
  return group.state === 'open' || group.state === 'running';
}

function membersOf(
  prefix: string,
  { queue, state, count, failing, oldest }: OutstandingGroup,
  facts: ReadonlyMap<string, JobFacts>,
): OutstandingMembers {
  return {
    queue,
    state: state as JobState,
    count,
    failing,
    oldest: oldest.map(({ key }) => {
      const { name, timestamp, attemptsMade = 0, failedReason } = facts.get(key) ?? {};
      return { id: memberName(prefix, key).id, name, timestamp, attemptsMade, failedReason };
    }),
  };
}

async function explainChildren(
  context: BatchContext,
  { state, count, oldest }: ChildrenGroup,
): Promise<OutstandingChildren> {
  const children = await Promise.all(
    oldest.map(async ({ key }) => {
      const { id } = memberName(context.redis.prefix, key);
      const snapshot = await readSnapshot(context.redis, id);
      const { description } = snapshot?.definition ?? {};
      return snapshot && { id, description, state: stateOf(snapshot), pending: snapshot.counts.pending };
    }),
  );
  return { state, count, oldest: children.filter((child) => child !== undefined) };
}

/**
 * Returns the callbacks that hold the batch or have made it fail. A callback whose event has not happened holds
 * nothing.
 */
function outstandingCallbacks(snapshot: Snapshot): Snapshot['callbacks'] {
  // The moment that a BatchWorker will record when it looks at the batch next.
  const completedAt = snapshot.completedAt ?? (isSettled(snapshot) ? Date.now() : undefined);
  const due = snapshot.ended === undefined ? dueOf({ ...snapshot, completedAt }) : [];
  return snapshot.callbacks.filter(
    (callback) => callback.state === 'enqueued' || callback.state === 'failed' || due.includes(callback),
  );
}

function callbackOf(
  { event, queue, name, jobId, state }: Snapshot['callbacks'][number],
  facts: JobFacts | undefined,
): OutstandingCallback {
  const { state: jobState = 'no job', attemptsMade = 0, failedReason } = facts ?? {};
  return { event, queue, name, jobId, state, jobState, attemptsMade, failedReason };
}

async function queuesOf(
  context: BatchContext,
  parts: readonly { readonly queue: string }[],
): Promise<OutstandingQueue[]> {
  const queues: OutstandingQueue[] = [];
  for (const name of new Set([context.batches.name, ...parts.map(({ queue }) => queue)])) {
    const queue =
      name === context.batches.name ? context.batches : (context.queueNamed(name).queue as unknown as Queue);
    queues.push({ name, workers: await connectedWorkers(queue, context.redis.prefix), paused: await queue.isPaused() });
  }
  return queues;
}
