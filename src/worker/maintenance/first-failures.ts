import type { BatchContext } from '../../batch/batch-context.js';
import { markIfPending } from '../../batch/cancel.js';
import { announceDeath } from '../../batch/death.js';
import { isToBeCancelled, policyReason } from '../../model/rules.js';
import { firstFailures as firstFailuresPage } from '../../record/first-failures.js';
import { readSnapshot } from '../../record/snapshot.js';
import { Round } from './round.js';
import type { Service } from './service.js';

const BATCHES_PER_PAGE = 1000;
/**
 * Ms between two slices of five pages. This takes about a fifth of Redis's time while there are many batches, and goes
 * through 100,000 of them in half a second.
 */
const SLICE_EVERY_MS = 25;

/**
 * Announces first failures, and cancels batches whose failure policy asks for it, while other members run. Each sweep
 * goes through all batches that wait for either, so a page reads little of each batch.
 */
export function firstFailures(context: BatchContext, intervalMs: number): Service {
  let round = 0;
  return new Round({
    name: 'first failures',
    index: 'failures',
    intervalMs,
    pace: { everyMs: SLICE_EVERY_MS },
    atOnce: 10,
    async page(cursor) {
      round += cursor === '0' ? 1 : 0;
      return firstFailuresPage(context.redis, { cursor, count: BATCHES_PER_PAGE, round });
    },
    attend: (batchId) => attend(context, batchId),
  });
}

async function attend(context: BatchContext, batchId: string): Promise<void> {
  const snapshot = await readSnapshot(context.redis, batchId);
  if (snapshot === undefined || snapshot.ended !== undefined) {
    return;
  }
  if ((snapshot.deaths > 0 || snapshot.isToBeSorted) && snapshot.diedAt === undefined) {
    await announceDeath(context, batchId);
  }
  if (isToBeCancelled(snapshot)) {
    await markIfPending(context, batchId, policyReason(snapshot), snapshot.definition.nonce);
  }
}
