import type { Home } from '../../batch/home.js';
import { expireBatch } from '../../batch/remove.js';
import { expiredBatches } from '../../record/expiry.js';
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
      const due = await expiredBatches(home.redis, from, from + BATCHES_PER_PAGE - 1);
      return due === undefined ? { cursor: '0', due: [] } : { cursor: String(from + BATCHES_PER_PAGE), due };
    },
    async attend(batchId) {
      // Whether it goes is decided once more by the script that marks it: it may be running again.
      await expireBatch(home, batchId);
    },
  });
}
