import type { BatchStatus, ListedState, QueueLike } from '../../index.js';
import { type Batch, type BatchCounts, type BatchMethods, BatchOptionsError } from '../../index.js';
import { Ancestors, ifThere } from './ancestors.js';

export type Batches = BatchMethods<QueueLike>;

/** The states in the order of the page: what needs attention first. */
export const STATES: readonly ListedState[] = ['running', 'open', 'failed', 'succeeded'];

/** Batches of one state, with those above them: a child batch is shown below its parent. */
export interface Family {
  readonly batches: readonly BatchStatus[];
  /** The batches above that are not among `batches` themselves. They may be in any state. */
  readonly parents: readonly BatchStatus[];
  /** How many more child batches were seen below an outermost batch, by its id. */
  readonly notShown: Readonly<Record<string, number>>;
}

export interface Section extends Family {
  readonly state: ListedState;
  readonly count: number;
}

/** `overview`: the newest of every state; `state`: a page of one; `search`: a page of what was found. */
export type BatchList = { readonly counts: BatchCounts } & (
  | { readonly kind: 'overview'; readonly sections: readonly Section[] }
  | ({ readonly kind: 'state'; readonly state: ListedState; readonly page: number; readonly hasMore: boolean } & Family)
  | {
      readonly kind: 'search';
      readonly q: string;
      readonly state: ListedState | undefined;
      readonly batches: readonly BatchStatus[];
      /** What the parents of the batches are called, by id. */
      readonly parentTitles: Readonly<Record<string, string>>;
      readonly found: number;
      readonly page: number;
      readonly hasMore: boolean;
      /** How many batches were looked at, and whether these were all. */
      readonly examined: number;
      readonly complete: boolean;
    }
);

/** How many outermost batches of a state the overview shows, and how many of the batches below each. */
const IN_OVERVIEW = 10;
const BELOW_EACH = 10;

/** How many batches of a state the overview looks at: one import may have hundreds of child batches. */
const LOOKED_AT = 200;
const LOOK_STEP = 50;

const PAGE_SIZE = 25;

export async function readOverview(queue: Batches): Promise<BatchList> {
  const counts = await queue.getBatchCounts();
  const ancestors = new Ancestors(queue);
  const sections = await Promise.all(
    STATES.map(async (state) => ({
      state,
      count: counts[state],
      ...(counts[state] === 0 ? NOBODY : await newest(queue, ancestors, state)),
    })),
  );
  return { kind: 'overview', counts, sections };
}

const NOBODY: Family = { batches: [], parents: [], notShown: {} };

/** The newest batches of a state, until there are enough outermost ones among them. */
async function newest(queue: Batches, ancestors: Ancestors, state: ListedState): Promise<Family> {
  const families = new Map<string, Batch[]>();
  const notShown: Record<string, number> = {};
  for (let rank = 0; rank < LOOKED_AT && families.size < IN_OVERVIEW; rank += LOOK_STEP) {
    const page = await queue.getBatches(state, rank, rank + LOOK_STEP - 1);
    await ancestors.findAbove(page);
    for (const batch of page) {
      const outermost = ancestors.outermostOf(batch).id;
      const family = families.get(outermost) ?? [];
      if (families.has(outermost) || families.size < IN_OVERVIEW) {
        families.set(outermost, family);
        if (family.length < BELOW_EACH || batch.id === outermost) {
          family.push(batch);
        } else {
          notShown[outermost] = (notShown[outermost] ?? 0) + 1;
        }
      }
    }
    if (page.length === 0) {
      break;
    }
  }
  return { ...(await familyOf([...families.values()].flat(), ancestors)), notShown };
}

async function familyOf(batches: readonly Batch[], ancestors: Ancestors): Promise<Family> {
  const listed = new Set(batches.map(({ id }) => id));
  const above = new Map(batches.flatMap((batch) => ancestors.above(batch)).map((batch) => [batch.id, batch]));
  const [statuses, parents] = await Promise.all([
    statusesOf(batches),
    statusesOf([...above.values()].filter(({ id }) => !listed.has(id))),
  ]);
  return { batches: statuses, parents, notShown: {} };
}

/** Reads a page of one state. BullMQ keeps running batches in several lists; a page has the same ranks of each. */
export async function readState(queue: Batches, state: ListedState, page: number): Promise<BatchList> {
  const start = (page - 1) * PAGE_SIZE;
  const [counts, batches, next] = await Promise.all([
    queue.getBatchCounts(),
    queue.getBatches(state, start, start + PAGE_SIZE - 1),
    queue.getBatches(state, start + PAGE_SIZE, start + PAGE_SIZE),
  ]);
  const ancestors = new Ancestors(queue);
  await ancestors.findAbove(batches);
  return { kind: 'state', counts, state, ...(await familyOf(batches, ancestors)), page, hasMore: next.length > 0 };
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
  const { found, examined, complete } = await lookThrough(queue, q, state === undefined ? STATES : [state], counts);
  const start = (page - 1) * PAGE_SIZE;
  const shown = found.slice(start, start + PAGE_SIZE);
  const ancestors = new Ancestors(queue);
  await ancestors.findAbove(shown);
  return {
    kind: 'search',
    counts,
    q,
    state,
    batches: await statusesOf(shown),
    parentTitles: ancestors.titles(),
    found: found.length,
    page,
    hasMore: found.length > start + PAGE_SIZE,
    examined,
    complete,
  };
}

async function lookThrough(
  queue: Batches,
  q: string,
  states: readonly ListedState[],
  counts: BatchCounts,
): Promise<{ readonly found: readonly Batch[]; readonly examined: number; readonly complete: boolean }> {
  const found = new Map<string, Batch>();
  const exact = await batchNamed(queue, q);
  if (exact !== undefined) {
    found.set(exact.id, exact);
  }
  const wanted = q.toLowerCase();
  const until = Date.now() + SEARCH_MS;
  let [examined, complete] = [0, true];
  for (const state of states) {
    let rank = 0;
    while (rank < Math.min(counts[state], SEARCHED) && Date.now() < until) {
      for (const batch of await queue.getBatches(state, rank, rank + SEARCH_STEP - 1)) {
        examined++;
        if ([batch.description ?? '', batch.id, ...batch.tags].join('\n').toLowerCase().includes(wanted)) {
          found.set(batch.id, batch);
        }
      }
      rank += SEARCH_STEP;
    }
    complete &&= rank >= counts[state];
  }
  return { found: [...found.values()], examined, complete };
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

/** A batch that is removed meanwhile is left out. */
async function statusesOf(batches: readonly Batch[]): Promise<BatchStatus[]> {
  const statuses = await Promise.all(batches.map((batch) => ifThere(batch.status())));
  return statuses.filter((status) => status !== undefined);
}
