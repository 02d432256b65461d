import { type BatchState, hasHappened, progressOf, stateOf } from '../model/rules.js';
import type { Counts, Snapshot } from '../model/snapshot.js';
import { childrenOf } from '../record/children.js';
import { type LogLine, showRow } from '../record/row.js';
import { readSnapshot } from '../record/snapshot.js';
import type { Home } from './home.js';

/*
 * What Bull Board shows of a batch without anything of this package installed: BullMQ's `progress` of the batch job,
 * which it draws as a ring, and the job's log. Both are derived from a snapshot, so that any process can write them at
 * any time, and again.
 */

/** The `progress` of a batch job. Bull Board draws its integer of this name. */
interface ProgressRow extends Pick<Counts, 'total' | 'succeeded' | 'failed' | 'pending'> {
  /** Settled ÷ total in whole percent: of all jobs below, where there are child batches. */
  readonly progress: number;
  readonly status: BatchState;
  /** The counts of all jobs below, if there are child batches. */
  readonly jobs?: Jobs;
}

type Jobs = Pick<Counts, 'total' | 'pending'>;

async function progressRow(home: Home, { counts, ...standing }: Snapshot): Promise<ProgressRow> {
  const { total, succeeded, failed, pending } = counts;
  const row = { total, succeeded, failed, pending, status: stateOf({ counts, ...standing }) };
  const hasEnded = standing.ended !== undefined;
  if (!standing.childCount) {
    return { progress: progressOf(counts, hasEnded), ...row };
  }
  const jobs = await jobsBelow(home, standing.definition.id, counts);
  return { progress: progressOf(jobs, hasEnded), ...row, jobs };
}

/**
 * Adds up the rows of the child batches, which are themselves such sums: a tree of any depth costs one look per level.
 */
async function jobsBelow(home: Home, batchId: string, { total, pending }: Jobs): Promise<Jobs> {
  let jobs = { total, pending };
  for await (const { collection, progress } of childrenOf(home.redis, batchId)) {
    // People can set the progress of a job to anything.
    const row: Partial<ProgressRow> = Object(progress === '' ? {} : JSON.parse(progress));
    const below = row.jobs ?? { total: row.total ?? 0, pending: row.pending ?? 0 };
    jobs = {
      total: jobs.total - 1 + below.total,
      pending: jobs.pending - (collection === 'dependencies' ? 1 : 0) + below.pending,
    };
  }
  return jobs;
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
  const end = ended === 'completed' ? `finished: ${stateOf(snapshot)}` : `finished: ${failedReason ?? 'failed'}`;
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

/**
 * Updates the row of a batch, if no process holds its job; does nothing for a batch that is gone. Resolves with the id
 * of the batch above when anything was written, because the row of that batch has changed too.
 */
export async function refreshRow(home: Home, batchId: string): Promise<string | undefined> {
  const snapshot = await readSnapshot(home.redis, batchId);
  const isWritten = snapshot !== undefined && (await writeRow(home, batchId, snapshot, ''));
  return isWritten ? snapshot.definition.parentId : undefined;
}

/** Writes the row while holding the batch job's lock; a caller without the lock uses `refreshRow()`. */
export async function writeRow(home: Home, batchId: string, snapshot: Snapshot, token: string): Promise<boolean> {
  const progress = await progressRow(home, snapshot);
  return showRow(home.redis, batchId, { token, progress, log: lifeOf(snapshot) });
}
