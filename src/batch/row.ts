import { hasHappened, progressOf, stateOf } from '../model/rules.js';
import type { Snapshot } from '../model/snapshot.js';
import { type LogLine, showRow } from '../record/row.js';
import { readSnapshot } from '../record/snapshot.js';
import type { Home } from './home.js';

/*
 * What Bull Board shows of a batch without anything of this package installed: BullMQ's `progress` of the batch job,
 * which it draws as a ring, and the job's log. Both are derived from a snapshot, so that any process can write them at
 * any time, and again.
 */

/** Returns the `progress` of a batch job. Bull Board draws an integer of this name. */
export function progressRow({ counts, ...standing }: Snapshot) {
  const { total, succeeded, failed, pending } = counts;
  const progress = progressOf(counts, standing.ended !== undefined);
  return { progress, total, succeeded, failed, pending, status: stateOf({ counts, ...standing }) };
}

/** Returns the life of a batch so far, in the order in which it happened. */
export function lifeOf(snapshot: Snapshot): LogLine[] {
  const { createdAt, sealedAt, diedAt, abandonedAt, cancelledAt, cancelReason, completedAt, finishedAt } = snapshot;
  const { ended, failedReason, attemptedAt } = snapshot;
  const line = (at: number | undefined, text: string, mayRecur = false): LogLine[] =>
    at === undefined ? [] : [{ at, text, mayRecur }];
  const past = [
    ...line(createdAt, 'created'),
    ...line(sealedAt, 'sealed: everything has been added'),
    // In a batch whose last member settled before it was looked at, the first failure is noted only afterwards.
    ...line(diedAt && Math.min(diedAt, completedAt ?? diedAt), 'first failure: a member has failed for good'),
    ...line(attemptedAt, 'attempted: every member has run'),
    ...line(abandonedAt, 'abandoned: its producer gives no sign of life'),
    ...line(cancelledAt, cancelReason === undefined ? 'cancelled' : `cancelled: ${cancelReason}`),
    ...line(completedAt, `completed: ${outcome(snapshot)}`),
  ];
  const callbacks = snapshot.callbacks.flatMap(({ event, name, queue, state }) =>
    state === 'pending' || !hasHappened(event, snapshot)
      ? []
      : line(timeOf(event, snapshot), `${event} callback '${name}' enqueued in queue '${queue}'`),
  );
  const end = ended === 'completed' ? 'finished: succeeded' : `finished: ${failedReason ?? 'failed'}`;
  return [...past.sort((a, b) => a.at - b.at), ...callbacks, ...line(ended && finishedAt, end, true)];
}

function timeOf(event: Snapshot['callbacks'][number]['event'], { diedAt, attemptedAt }: Snapshot): number {
  const times = { death: diedAt, attempted: attemptedAt, complete: undefined, success: undefined };
  return times[event] ?? Date.now();
}

function outcome({ completedCounts, counts }: Snapshot): string {
  const { total, succeeded, failed, cancelled, missing } = completedCounts ?? counts;
  return [
    `${succeeded} of ${total} succeeded`,
    ...Object.entries({ failed, cancelled, missing }).flatMap(([what, count]) => (count > 0 ? `${count} ${what}` : [])),
  ].join(', ');
}

/** Updates the row of a batch, if no process holds its job. Does nothing for a batch that is gone. */
export async function refreshRow(home: Home, batchId: string): Promise<void> {
  const snapshot = await readSnapshot(home.redis, batchId);
  if (snapshot !== undefined) {
    await writeRow(home, batchId, snapshot, '');
  }
}

/** Writes the row while holding the batch job's lock; a caller without the lock uses `refreshRow()`. */
export async function writeRow(home: Home, batchId: string, snapshot: Snapshot, token: string): Promise<void> {
  await showRow(home.redis, batchId, { token, progress: progressRow(snapshot), log: lifeOf(snapshot) });
}
