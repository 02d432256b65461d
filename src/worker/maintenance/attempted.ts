import type { BatchContext } from '../../batch/batch-context.js';
import { noteAttempted, noteNeverAttempted } from '../../record/amend.js';
import { findMemberNotRun } from '../../record/attempted.js';
import { readSnapshot } from '../../record/snapshot.js';
import { roundOfNeed } from './round.js';
import type { Service } from './service.js';

const MEMBERS_PER_PAGE = 500;
/** How many pages of one batch's members are searched in one round. */
const PAGES_PER_ROUND = 20;
/** How many searches are remembered. When there are more, all are forgotten, also those of batches that have ended. */
const SEARCHES_KEPT = 10_000;

/** How far the search of a batch for members that have not run has come. */
interface Search {
  /** The member at which the last round stopped, because it had not run; '' for none. */
  readonly notRun: string;
  readonly cursor: string;
  /** The number of members when the search began. */
  readonly total: string | undefined;
}

const NOTHING_SEEN: Search = { notRun: '', cursor: '0', total: undefined };

/**
 * Notes when every member of a batch has run at least once. BullMQ does not report this: a failed attempt changes
 * nothing in the batch.
 */
export function attempted(context: BatchContext, intervalMs: number): Service {
  const searches = new Map<string, Search>();
  return roundOfNeed(context, 'attempted', {
    intervalMs,
    pace: { share: 0.2 },
    atOnce: 10,
    attend: (batchId) => searchOn(context, batchId, searches),
    reset: () => searches.clear(),
  });
}

/** Goes on with the search where the last round stopped, at a member that has not run yet. */
async function searchOn(context: BatchContext, batchId: string, searches: Map<string, Search>): Promise<void> {
  let search = searches.get(batchId) ?? NOTHING_SEEN;
  for (let pages = 0; pages < PAGES_PER_ROUND; pages++) {
    const { notRun, cursor, total } = await findMemberNotRun(context.redis, batchId, {
      ...search,
      count: MEMBERS_PER_PAGE,
    });
    const isWhole = notRun === '' && cursor === '0';
    if (isWhole && (search.total ?? total) === total) {
      searches.delete(batchId);
      await note(context, batchId, total);
      return;
    }
    // The search may have passed over members that were added meanwhile: begin again.
    search = isWhole ? NOTHING_SEEN : { notRun, cursor, total: search.total ?? total };
    if (searches.size >= SEARCHES_KEPT) {
      searches.clear();
    }
    searches.set(batchId, search);
    if (notRun !== '') {
      return;
    }
  }
}

/** Notes that every member has run; with a missing member, which may never have run, that this cannot happen. */
async function note(context: BatchContext, batchId: string, total: string): Promise<void> {
  const snapshot = await readSnapshot(context.redis, batchId);
  if (snapshot === undefined) {
    return;
  }
  if (snapshot.counts.missing > 0) {
    await noteNeverAttempted(context.redis, snapshot.definition);
  } else {
    await noteAttempted(context.redis, snapshot.definition, total);
  }
}
