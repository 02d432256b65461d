import { removePending } from '../../batch/cancel.js';
import type { Home } from '../../batch/home.js';
import { batchesNeeding } from '../../redis/needs.js';
import { readSnapshot } from '../../redis/snapshot.js';
import { Round } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 100;

/**
 * Removes the pending members of cancelled batches, as far as that is possible now: those that run may fail, and wait for
 * their next attempt, later. Each batch has its turn in each round, whether or not it has running members.
 */
export function cancels(home: Home, intervalMs: number): Service {
  return new Round({
    name: 'cancels',
    index: 'cancels',
    intervalMs,
    pace: { share: 0.5 },
    atOnce: 4,
    page: (cursor) => batchesNeeding(home.redis, 'cancel', { cursor, count: BATCHES_PER_PAGE }),
    async attend(batchId) {
      const snapshot = await readSnapshot(home.redis, batchId);
      if (snapshot?.cancelledAt !== undefined) {
        await removePending(home, batchId, { reason: snapshot.cancelReason });
      }
    },
  });
}
