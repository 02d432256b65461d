import type { Home } from '../../batch/home.js';
import { findUntried } from '../../record/attempted.js';
import { batchesNeeding, noteAttempted, noteNeverAttempted } from '../../record/needs.js';
import { readSnapshot } from '../../record/snapshot.js';
import { Round } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 100;
const MEMBERS_PER_PAGE = 500;
/** How many pages of one batch's members are searched in one round. */
const PAGES_PER_ROUND = 20;
/** How many searches are remembered. When there are more, all are forgotten, also those of batches that have ended. */
const SEARCHES_KEPT = 10_000;

/** How far the search of a batch for members that have not run has come. */
interface Search {
  readonly witness: string;
  readonly cursor: string;
  /** The number of members when the search began. */
  readonly total: string | undefined;
}

const NOTHING_SEEN: Search = { witness: '', cursor: '0', total: undefined };

/**
 * Notes when every member of a batch has run at least once. No event tells so: a failed attempt does not reach the
 * batch.
 */
export function attempted(home: Home, intervalMs: number): Service {
  const searches = new Map<string, Search>();
  return new Round({
    name: 'attempted',
    index: 'attempted',
    intervalMs,
    pace: { share: 0.2 },
    atOnce: 10,
    page: (cursor) => batchesNeeding(home.redis, 'attempted', { cursor, count: BATCHES_PER_PAGE }),
    attend: (batchId) => searchOn(home, batchId, searches),
    reset: () => searches.clear(),
  });
}

/** Goes on with the search where the last round stopped, at a member that has not run yet. */
async function searchOn(home: Home, batchId: string, searches: Map<string, Search>): Promise<void> {
  let search = searches.get(batchId) ?? NOTHING_SEEN;
  for (let pages = 0; pages < PAGES_PER_ROUND; pages++) {
    const { witness, cursor, total } = await findUntried(home.redis, batchId, { ...search, count: MEMBERS_PER_PAGE });
    const isWhole = witness === '' && cursor === '0';
    if (isWhole && (search.total ?? total) === total) {
      searches.delete(batchId);
      await note(home, batchId, total);
      return;
    }
    // The search may have passed over members that were added meanwhile: begin again.
    search = isWhole ? NOTHING_SEEN : { witness, cursor, total: search.total ?? total };
    if (searches.size >= SEARCHES_KEPT) {
      searches.clear();
    }
    searches.set(batchId, search);
    if (witness !== '') {
      return;
    }
  }
}

/** A missing member may never have run, and nothing brings it back: such a batch is not waited for. */
async function note(home: Home, batchId: string, total: string): Promise<void> {
  const snapshot = await readSnapshot(home.redis, batchId);
  if (snapshot === undefined) {
    return;
  }
  if (snapshot.counts.missing > 0) {
    await noteNeverAttempted(home.redis, snapshot.definition);
  } else {
    await noteAttempted(home.redis, snapshot.definition, total);
  }
}
