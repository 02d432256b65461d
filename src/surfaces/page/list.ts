import type { BatchStatus, ListedState, QueueLike } from '../../index.js';
import { type Batch, type BatchCounts, type BatchMethods, BatchNotFoundError, BatchOptionsError } from '../../index.js';

export type Batches = BatchMethods<QueueLike>;

/** In the order in which they matter to whoever looks. */
export const STATES: readonly ListedState[] = ['running', 'open', 'failed', 'succeeded'];

export interface Section {
  readonly state: ListedState;
  readonly count: number;
  readonly batches: readonly BatchStatus[];
}

/** `overview`: the newest of every state; `state`: a page of one; `search`: a page of what was found. */
export type BatchList = { readonly counts: BatchCounts } & (
  | { readonly kind: 'overview'; readonly sections: readonly Section[] }
  | {
      readonly kind: 'state';
      readonly state: ListedState;
      readonly batches: readonly BatchStatus[];
      readonly page: number;
      readonly hasMore: boolean;
    }
  | {
      readonly kind: 'search';
      readonly q: string;
      readonly state: ListedState | undefined;
      readonly batches: readonly BatchStatus[];
      readonly found: number;
      readonly page: number;
      readonly hasMore: boolean;
      /** Whether every batch was looked at. */
      readonly complete: boolean;
    }
);

const IN_OVERVIEW = 10;
const PAGE_SIZE = 25;

export async function readOverview(queue: Batches): Promise<BatchList> {
  const counts = await queue.getBatchCounts();
  const sections = await Promise.all(
    STATES.map(async (state) => {
      const batches = counts[state] === 0 ? [] : await queue.getBatches(state, 0, IN_OVERVIEW - 1);
      return { state, count: counts[state], batches: await statusesOf(batches.slice(0, IN_OVERVIEW)) };
    }),
  );
  return { kind: 'overview', counts, sections };
}

/** BullMQ has three states for what is running here; a page is the same ranks of each, and so may be longer. */
export async function readState(queue: Batches, state: ListedState, page: number): Promise<BatchList> {
  const start = (page - 1) * PAGE_SIZE;
  const [counts, batches, next] = await Promise.all([
    queue.getBatchCounts(),
    queue.getBatches(state, start, start + PAGE_SIZE - 1),
    queue.getBatches(state, start + PAGE_SIZE, start + PAGE_SIZE),
  ]);
  return { kind: 'state', counts, state, batches: await statusesOf(batches), page, hasMore: next.length > 0 };
}

/** How many batches of each state a search looks at, and for how long. */
export const SEARCHED = 2000;
const SEARCH_STEP = 100;
const SEARCH_MS = 2000;

/** Redis keeps no index of descriptions: the newest batches are looked through, in small steps. */
export async function search(
  queue: Batches,
  q: string,
  state: ListedState | undefined,
  page: number,
): Promise<BatchList> {
  const counts = await queue.getBatchCounts();
  const found = new Map<string, Batch>();
  const exact = await batchNamed(queue, q);
  if (exact !== undefined) {
    found.set(exact.id, exact);
  }
  const wanted = q.toLowerCase();
  const until = Date.now() + SEARCH_MS;
  let complete = true;
  for (const one of state === undefined ? STATES : [state]) {
    let rank = 0;
    while (rank < Math.min(counts[one], SEARCHED) && Date.now() < until) {
      for (const batch of await queue.getBatches(one, rank, rank + SEARCH_STEP - 1)) {
        if (`${batch.description ?? ''}\n${batch.id}`.toLowerCase().includes(wanted)) {
          found.set(batch.id, batch);
        }
      }
      rank += SEARCH_STEP;
    }
    complete &&= rank >= counts[one];
  }
  const start = (page - 1) * PAGE_SIZE;
  const batches = await statusesOf([...found.values()].slice(start, start + PAGE_SIZE));
  const hasMore = found.size > start + PAGE_SIZE;
  return { kind: 'search', counts, q, state, batches, found: found.size, page, hasMore, complete };
}

/** A search may be for anything, also for what is no id. */
async function batchNamed(queue: Batches, id: string): Promise<Batch | undefined> {
  try {
    return await ifThere(queue.getBatch(id));
  } catch (error) {
    if (error instanceof BatchOptionsError) {
      return undefined;
    }
    throw error;
  }
}

/** One that is removed meanwhile is left out. */
async function statusesOf(batches: readonly Batch[]): Promise<BatchStatus[]> {
  const statuses = await Promise.all(batches.map((batch) => ifThere(batch.status())));
  return statuses.filter((status) => status !== undefined);
}

/** What is read of a batch, or undefined when there is no such batch (any more). */
export async function ifThere<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof BatchNotFoundError) {
      return undefined;
    }
    throw error;
  }
}
