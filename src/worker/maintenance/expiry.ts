import type { Home } from '../../batch/home.js';
import { removeIfFinished } from '../../batch/remove.js';
import { expiredBatches, finishedBatches } from '../../redis/purge.js';
import { Round } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 100;

/** Removes finished batches that have had their time. Ranks shift as batches go: the next round finds the others. */
export function expiry(home: Home, intervalMs: number): Service {
  return new Round({
    name: 'expiry',
    intervalMs,
    pace: { share: 0.2 },
    atOnce: 2,
    async page(cursor) {
      const from = Number(cursor);
      const finished = await finishedBatches(home.redis, from, from + BATCHES_PER_PAGE - 1);
      return finished === undefined
        ? { cursor: '0', due: [] }
        : { cursor: String(from + BATCHES_PER_PAGE), due: await expiredBatches(home.redis, finished) };
    },
    async attend(batchId) {
      // Gone, or running again, since it was listed: nothing to do.
      await removeIfFinished(home, batchId, { members: false, force: false });
    },
  });
}
