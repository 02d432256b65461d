import type { Job, JobType } from 'bullmq';
import { BatchOptionsError } from '../errors.js';
import { isCallbackId } from '../model/definition.js';
import { readDefinition } from '../record/change-definition.js';
import { lineToBatch, linksAlong } from '../record/flow.js';
import { readSnapshot } from '../record/snapshot.js';
import { describe } from '../validation.js';
import { Batch } from './batch.js';
import type { Home } from './home.js';
import type { Opener } from './job.js';
import type { JobLike, QueueLike } from './queue-like.js';

/** The states by which batches can be listed and counted, as BullMQ keeps them; `running` includes `finishing`. */
export type ListedState = 'open' | 'running' | 'succeeded' | 'failed';

/** How many batches there are in each state. */
export type BatchCounts = Readonly<Record<ListedState, number>>;

const JOB_STATES: Readonly<Record<ListedState, readonly JobType[]>> = {
  open: ['delayed'],
  // A batch that was given a priority by hand waits in 'prioritized'.
  running: ['waiting-children', 'waiting', 'prioritized', 'active'],
  succeeded: ['completed'],
  failed: ['failed'],
};

const LISTED: readonly ListedState[] = ['open', 'running', 'succeeded', 'failed'];

/**
 * The batch that a job belongs to, with the job's own right to add: as a member, or as a callback (to the parent only).
 */
export async function batchOf<Q extends QueueLike>(opener: Opener, job: JobLike): Promise<Batch<Q> | undefined> {
  if (typeof job !== 'object' || job === null || typeof job.queueQualifiedName !== 'string') {
    throw new BatchOptionsError(`batchOf(job) takes the BullMQ Job that a processor is given, not ${describe(job)}.`);
  }
  const { home } = opener;
  const line = await lineFrom(home, job);
  const id = line?.at(-1)?.slice(home.batches.qualifiedName.length + 1);
  const snapshot = id === undefined ? undefined : await readSnapshot(home.redis, id);
  if (line === undefined || id === undefined || snapshot === undefined) {
    return undefined;
  }
  const links = linksAlong(line);
  const isCallback = line.length === 2 && isCallbackId(id, job.id ?? '');
  return new Batch<Q>({
    id,
    opener,
    definition: snapshot.definition,
    standing: { links: isCallback ? [] : links, parentLinks: links },
  });
}

/** The keys from the job to its batch's job: it is a child of the batch job, or inside of a flow whose root is one. */
async function lineFrom({ redis, batches }: Home, job: JobLike): Promise<readonly string[] | undefined> {
  const { id, queueKey } = job.parent ?? {};
  if (id === undefined || queueKey === undefined) {
    return undefined;
  }
  const key = `${job.queueQualifiedName}:${job.id}`;
  const above = `${queueKey}:${id}`;
  if (queueKey === batches.qualifiedName) {
    return [key, above];
  }
  const line = await lineToBatch(redis, above);
  return line && [key, ...line];
}

/**
 * BullMQ loads a page of jobs in one script: 10,000 batches at once would keep Redis busy for a quarter of a second.
 */
const PAGE_SIZE = 100;

/** Lists batches by state, newest first, as BullMQ's `getJobs` does. */
export async function getBatches<Q extends QueueLike>(
  opener: Opener,
  states: ListedState | readonly ListedState[] = LISTED,
  start = 0,
  end = -1,
): Promise<Batch<Q>[]> {
  const wanted = typeof states === 'string' ? [states] : states;
  checkRange(start, end);
  for (const state of wanted) {
    if (!LISTED.includes(state)) {
      throw new BatchOptionsError(
        `Batches are listed by the states ${LISTED.join(', ')}; there is no state ${describe(state)}.`,
      );
    }
  }
  const found = new Map<string, Batch<Q>>();
  for (const type of new Set(wanted.flatMap((state) => JOB_STATES[state]))) {
    for (let from = start; end === -1 || from <= end; from += PAGE_SIZE) {
      const to = from + PAGE_SIZE - 1;
      const jobs: (Job | undefined)[] = await opener.home.batches.getJobs(
        [type],
        from,
        end === -1 ? to : Math.min(to, end),
      );
      // Not the jobs' data, which people can edit.
      const ids = jobs.flatMap((job) => job?.id ?? []);
      const definitions = await Promise.all(ids.map((id) => readDefinition(opener.home.redis, id)));
      for (const definition of definitions) {
        if (definition !== undefined) {
          found.set(definition.id, new Batch<Q>({ id: definition.id, opener, definition }));
        }
      }
      if (jobs.length === 0) {
        break;
      }
    }
  }
  return [...found.values()];
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

export async function getBatchCounts({ home }: Pick<Opener, 'home'>): Promise<BatchCounts> {
  const counts = await home.batches.getJobCounts(...Object.values(JOB_STATES).flat());
  const sum = (state: ListedState) => JOB_STATES[state].reduce((total, name) => total + (counts[name] ?? 0), 0);
  // BullMQ 5 counts what waits in a paused queue apart, though it lists it with what is waiting.
  const paused = (counts as { readonly paused?: number }).paused ?? 0;
  return { open: sum('open'), running: sum('running') + paused, succeeded: sum('succeeded'), failed: sum('failed') };
}
