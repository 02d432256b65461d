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
import { batchKeys, jobKey, memberName } from '../record/keys.js';
import {
  addToGroup,
  findOutstanding,
  type Outstanding,
  type OutstandingGroup,
  type OutstandingGroups,
} from '../record/outstanding.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import { connectedWorkers } from './connected-workers.js';
import { stagesOf } from './stages.js';
import { type StageStatus, snapshotOf } from './status.js';

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
  const { groups, strangers: attached, sampled } = await outstandingGroups(context, batchId, snapshot.counts.pending);
  const strangers = [...attached].sort();
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

/** Returns the groups of outstanding members by queue and state; estimated if there are many. */
async function outstandingGroups(
  context: BatchContext,
  batchId: string,
  pending: number,
): Promise<Omit<Outstanding, 'groups'> & { readonly groups: readonly OutstandingGroup[] }> {
  const { groups: found, strangers, sampled } = await findOutstanding(context.redis, batchId);
  const all = [...found.values()];
  const groups = sampled === undefined ? all : await estimated(context, batchId, all, pending);
  const rank = ({ state }: OutstandingGroup) => STATES.indexOf(state);
  return {
    groups: groups.sort((a, b) => a.queue.localeCompare(b.queue) || rank(a) - rank(b)),
    strangers,
    sampled,
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
  const groups: OutstandingGroups = new Map();
  const queue = context.batches.name;
  for await (const { id, collection, isClosed, createdAt } of childrenOf(context.redis, batchId)) {
    if (collection === 'dependencies') {
      const oldest = [{ key: batchKeys(context.redis, id).job, timestamp: createdAt }];
      addToGroup(groups, { queue, state: isClosed ? 'running' : 'open', count: 1, failing: 0, oldest });
    }
  }
  return [...groups.values()];
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
