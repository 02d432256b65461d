import type { BatchContext } from '../../batch/batch-context.js';
import { enqueueCallbacks } from '../../batch/enqueue.js';
import { dueOf } from '../../model/rules.js';
import { callbacksDone } from '../../record/amend.js';
import { settleSnapshot } from '../../record/decide.js';
import { readSnapshot } from '../../record/snapshot.js';
import { roundOfNeed } from './round.js';
import type { Service, Turn } from './service.js';

/**
 * Enqueues the callbacks that become due although the batch job does not wake: those registered after their event, and
 * those of `death` and `attempted`, which happen while members run. While such a callback runs, the batch does not wake
 * when its last member settles either; this service then finds that `complete` is due.
 */
export function lateCallbacks(context: BatchContext, intervalMs: number): Service {
  return roundOfNeed(context, 'callbacks', {
    intervalMs,
    pace: { share: 0.5 },
    atOnce: 10,
    attend: (batchId, turn) => attend(context, batchId, turn),
  });
}

async function attend(context: BatchContext, batchId: string, { who }: Turn): Promise<void> {
  const before = await readSnapshot(context.redis, batchId);
  const snapshot = before?.ended === undefined ? await settleSnapshot(context.redis, batchId) : before;
  if (snapshot === undefined) {
    return;
  }
  const due = dueOf(snapshot);
  await enqueueCallbacks(context, snapshot, due);
  const isRunning = due.length > 0 || snapshot.callbacks.some(({ state }) => state === 'enqueued');
  const isOver = snapshot.ended !== undefined || snapshot.completedAt !== undefined;
  await callbacksDone(context.redis, snapshot.definition, { who, isRunning: isRunning && !isOver });
}
