import type { MemberCounts } from '../model/snapshot.js';
import { COLLECTIONS, type Collection } from '../record/children.js';

/**
 * The jobs of a batch and of all batches below it. Child batches and callbacks are not counted, but a child batch that
 * vanished is a missing job.
 */
export interface TreeJobs extends MemberCounts {
  /** Settled ÷ total in whole percent; 100 only when the batch has finished. */
  readonly progress: number;
}

/**
 * Adds up the jobs of a batch and of all below it.
 *
 * @param own how the members of the batch stand, child batches among them.
 * @param children the collections in which its child batches are, or were seen last.
 * @param below the jobs of each child batch, and of all below that.
 */
export function jobsOf(
  own: MemberCounts,
  children: Iterable<Collection>,
  below: readonly MemberCounts[],
): MemberCounts {
  return below.reduce(plus, withoutChildren(own, children));
}

/** Adds up two sets of counts. */
function plus(counts: MemberCounts, more: MemberCounts): MemberCounts {
  const names = Object.keys(counts) as (keyof MemberCounts)[];
  return Object.fromEntries(names.map((name) => [name, counts[name] + more[name]])) as unknown as MemberCounts;
}

/**
 * Returns the counts of the members that are jobs. A child that has settled since it was seen is taken from the settled
 * ones.
 */
function withoutChildren(counts: MemberCounts, children: Iterable<Collection>): MemberCounts {
  const own: Record<string, number> = { ...counts };
  for (const collection of children) {
    const seenAs = COLLECTIONS[collection];
    const countedAs = [seenAs, ...Object.values(COLLECTIONS)].find((name) => (own[name] ?? 0) > 0);
    for (const name of countedAs === undefined ? [] : ['total', countedAs]) {
      own[name] = (own[name] ?? 0) - 1;
    }
  }
  return own as unknown as MemberCounts;
}
