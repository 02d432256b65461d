import type { Job, JobType } from 'bullmq';
import { BatchOptionsError } from '../errors.js';
import { type BatchDefinition, isCallbackId } from '../model/definition.js';
import { readDefinition } from '../record/change-definition.js';
import { failuresOfJob } from '../record/failed-jobs.js';
import { linksAlong, pathToBatch } from '../record/flow.js';
import { readSnapshot } from '../record/snapshot.js';
import { checkName, checkOptions, describe } from '../validation.js';
import { Batch } from './batch.js';
import type { BatchContext, QueueContext } from './batch-context.js';
import type { JobLike, QueueLike } from './queue-like.js';
import { keepsFewTraces, Repetition } from './repetition.js';

/** The states by which batches can be listed and counted, as BullMQ keeps them; `running` includes `finishing`. */
export type ListedState = 'open' | 'running' | 'succeeded' | 'failed';

/** How many batches there are in each state. */
export type BatchCounts = Readonly<Record<ListedState, number>>;

const JOB_STATES: Readonly<Record<ListedState, readonly JobType[]>> = {
  open: ['delayed'],
  // A batch job that was given a priority by hand waits in 'prioritized'.
  running: ['waiting-children', 'waiting', 'prioritized', 'active'],
  succeeded: ['completed'],
  failed: ['failed'],
};

const LISTED: readonly ListedState[] = ['open', 'running', 'succeeded', 'failed'];

/**
 * Returns the batch that a job belongs to, with the job's right to add: a member to the batch, a callback to its parent
 * only.
 */
export async function batchOf<Q extends QueueLike>(context: QueueContext, job: JobLike): Promise<Batch<Q> | undefined> {
  if (typeof job !== 'object' || job === null || typeof job.queueQualifiedName !== 'string') {
    throw new BatchOptionsError(`batchOf(job) takes the BullMQ Job that a processor is given, not ${describe(job)}.`);
  }
  const line = await lineFrom(context, job);
  const id = line?.at(-1)?.slice(context.batches.qualifiedName.length + 1);
  const snapshot = id === undefined ? undefined : await readSnapshot(context.redis, id);
  if (line === undefined || id === undefined || snapshot === undefined) {
    return undefined;
  }
  const links = linksAlong(line);
  const isCallback = line.length === 2 && isCallbackId(id, job.id ?? '');
  return new Batch<Q>({
    context,
    definition: snapshot.definition,
    rights: { links: isCallback ? [] : links, parentLinks: links, repetition: await repetitionOf(context, job) },
  });
}

/** Asks Redis how often a job has failed only where its stack traces, of which it keeps a few, do not tell. */
async function repetitionOf({ redis }: BatchContext, job: JobLike): Promise<Repetition | undefined> {
  const { attemptsMade, attemptsStarted, queueQualifiedName, id } = job;
  if (attemptsMade === undefined || attemptsStarted === undefined || !keepsFewTraces(job)) {
    return Repetition.of(job);
  }
  const counts = { attemptsMade, attemptsStarted };
  return Repetition.of(job, await failuresOfJob(redis, `${queueQualifiedName}:${id}`, counts));
}

/**
 * Returns the keys from the job to the job of its batch. The job is a child of the batch job, or inside of a flow whose
 * root is one.
 */
async function lineFrom({ redis, batches }: BatchContext, job: JobLike): Promise<readonly string[] | undefined> {
  const { id, queueKey } = job.parent ?? {};
  if (id === undefined || queueKey === undefined) {
    return undefined;
  }
  const key = `${job.queueQualifiedName}:${job.id}`;
  const above = `${queueKey}:${id}`;
  if (queueKey === batches.qualifiedName) {
    return [key, above];
  }
  const line = await pathToBatch(redis, above);
  return line && [key, ...line];
}

/**
 * BullMQ loads a page of jobs in one script: 10,000 batches at once would keep Redis busy for a quarter of a second.
 */
const PAGE_SIZE = 100;

/** Which batches are wanted. */
export interface BatchQuery {
  /**
   * Only batches with this tag. Looks at all batches of these states, 100 per command. Default: with any tag, or none.
   */
  readonly tag?: string;
  /** One state or several. Default: all. */
  readonly states?: ListedState | readonly ListedState[] | undefined;
  /** The first position among the batches that are found, from 0. Default: 0. */
  readonly start?: number | undefined;
  /** The last position, inclusive; -1 is the end of the list. Default: -1. */
  readonly end?: number | undefined;
}

/** Lists the batches of a query: state by state, the newest first in each, as BullMQ's `getJobs` does. */
export async function getBatches<Q extends QueueLike>(context: QueueContext, query: BatchQuery): Promise<Batch<Q>[]> {
  checkOptions('getBatches', query, ['tag', 'states', 'start', 'end']);
  const { tag, states = LISTED, start = 0, end = -1 } = query;
  checkRange(start, end);
  if (tag !== undefined) {
    checkName('getBatches: tag', tag);
  }
  // Positions are those in each state, or those among all batches with the tag.
  const last = end === -1 ? Number.POSITIVE_INFINITY : end;
  const [from, to] = tag === undefined ? [start, last] : [0, Number.POSITIVE_INFINITY];
  const isEnough = () => tag !== undefined && found.size > last;
  const found = new Map<string, Batch<Q>>();
  for (const type of jobStates(states)) {
    for await (const definition of definitionsIn(context, type, from, to)) {
      if (isEnough()) {
        break;
      }
      if (tag === undefined || definition.tags?.includes(tag)) {
        found.set(definition.id, new Batch<Q>({ context, definition }));
      }
    }
  }
  return [...found.values()].slice(tag === undefined ? 0 : start);
}

/** Where BullMQ keeps the batches of these states. */
function jobStates(states: ListedState | readonly ListedState[]): Set<JobType> {
  const wanted: unknown = typeof states === 'string' ? [states] : states;
  if (!Array.isArray(wanted)) {
    throw new BatchOptionsError(
      `Batches are listed by one state or an array of them, ${LISTED.join(', ')}, not by ${describe(states)}.`,
    );
  }
  for (const state of wanted) {
    if (!LISTED.includes(state)) {
      throw new BatchOptionsError(
        `Batches are listed by the states ${LISTED.join(', ')}; there is no state ${describe(state)}.`,
      );
    }
  }
  return new Set(wanted.flatMap((state: ListedState) => JOB_STATES[state]));
}

/** What the batches are that BullMQ has in one state, newest first, page by page. */
async function* definitionsIn(
  context: BatchContext,
  type: JobType,
  start: number,
  end: number,
): AsyncGenerator<BatchDefinition> {
  for (let from = start; from <= end; from += PAGE_SIZE) {
    const to = Math.min(from + PAGE_SIZE - 1, end);
    const jobs: (Job | undefined)[] = await context.batches.getJobs([type], from, to);
    // Not the jobs' data, which people can edit.
    const ids = jobs.flatMap((job) => job?.id ?? []);
    const definitions = await Promise.all(ids.map((id) => readDefinition(context.redis, id)));
    yield* definitions.filter((definition) => definition !== undefined);
    if (jobs.length === 0) {
      return;
    }
  }
}

function checkRange(start: unknown, end: unknown): void {
  const isRank = (value: unknown) => Number.isInteger(value) && Number(value) >= 0;
  if (!isRank(start) || !(isRank(end) || end === -1)) {
    throw new BatchOptionsError(
      'getBatches(states, start, end): start and end are ranks from 0, and end may be -1 for the last; not ' +
        `${describe(start)} and ${describe(end)}.`,
    );
  }
}

export async function getBatchCounts(context: BatchContext): Promise<BatchCounts> {
  const counts = await context.batches.getJobCounts(...Object.values(JOB_STATES).flat());
  const sum = (state: ListedState) => JOB_STATES[state].reduce((total, name) => total + (counts[name] ?? 0), 0);
  // BullMQ 5 counts the waiting jobs of a paused queue apart, although it lists them as waiting.
  const paused = (counts as { readonly paused?: number }).paused ?? 0;
  return { open: sum('open'), running: sum('running') + paused, succeeded: sum('succeeded'), failed: sum('failed') };
}
