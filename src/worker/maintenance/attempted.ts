import type { BatchContext } from '../../batch/batch-context.js';
import { noteAttempted, noteNeverAttempted } from '../../record/amend.js';
import { beginSearch, continueSearch, type NotRunSearch } from '../../record/search-not-run.js';
import { readSnapshot } from '../../record/snapshot.js';
import { roundOfNeed } from './round.js';
import type { Service } from './service.js';

/** How many pages of one batch's members are searched in one round. */
const PAGES_PER_ROUND = 20;
/** How many searches are remembered. When there are more, all are forgotten, also those of batches that have ended. */
const SEARCHES_KEPT = 10_000;

/**
 * Notes when every member of a batch has run at least once. BullMQ does not report this: a failed attempt changes
 * nothing in the batch.
 */
export function attempted(context: BatchContext, intervalMs: number): Service {
  const searches = new Map<string, NotRunSearch>();
  return roundOfNeed(context, 'attempted', {
    intervalMs,
    pace: { share: 0.2 },
    atOnce: 10,
    attend: (batchId) => searchOn(context, batchId, searches),
  });
}

/** Goes on with the search where the last round stopped, at a member that has not run yet. */
async function searchOn(context: BatchContext, batchId: string, searches: Map<string, NotRunSearch>): Promise<void> {
  let search = searches.get(batchId) ?? (await beginSearch(context.redis, batchId));
  searches.delete(batchId);
  for (let pages = 0; pages < PAGES_PER_ROUND && search !== undefined; pages++) {
    const found = await continueSearch(context.redis, batchId, search);
    if (found === 'all have run') {
      // Nothing is noted if members were added meanwhile: the next round begins again.
      await note(context, batchId, search);
      return;
    }
    search = found;
    if (found.notRun !== undefined) {
      break;
    }
  }
  if (search !== undefined) {
    if (searches.size >= SEARCHES_KEPT) {
      searches.clear();
    }
    searches.set(batchId, search);
  }
}

/** Notes that every member has run; with a missing member, which may never have run, that this cannot happen. */
async function note(context: BatchContext, batchId: string, { nonce, total }: NotRunSearch): Promise<void> {
  const snapshot = await readSnapshot(context.redis, batchId);
  if (snapshot?.definition.nonce !== nonce) {
    return;
  }
  if (snapshot.counts.missing > 0) {
    await noteNeverAttempted(context.redis, snapshot.definition);
  } else {
    await noteAttempted(context.redis, snapshot.definition, total);
  }
}
