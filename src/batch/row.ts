import { type BatchState, hasHappened, progressOf, stateOf } from '../model/rules.js';
import type { MemberCounts, Snapshot } from '../model/snapshot.js';
import { childrenOf } from '../record/children.js';
import { type LogLine, showRow } from '../record/row.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';

/*
 * What Bull Board shows of a batch without anything of this package installed: BullMQ's `progress` of the batch job,
 * which it draws as a ring, and the job's log. Both are derived from a snapshot, so that any process can write them at
 * any time, and again.
 */

/** The `progress` of a batch job. Bull Board draws its integer of this name. */
interface ProgressRow extends Pick<MemberCounts, 'total' | 'succeeded' | 'failed' | 'pending'> {
  /** Settled ÷ total in whole percent: of all jobs below, where there are child batches. */
  readonly progress: number;
  readonly status: BatchState;
  /** The counts of all jobs below, if there are child batches. */
  readonly jobs?: Jobs;
}

type Jobs = Pick<MemberCounts, 'total' | 'pending'>;

function progressRow(snapshot: Snapshot, jobs: Jobs | undefined): ProgressRow {
  const { counts, ended } = snapshot;
  const { total, succeeded, failed, pending } = counts;
  return {
    progress: progressOf(jobs ?? counts, ended !== undefined),
    ...{ total, succeeded, failed, pending },
    status: stateOf(snapshot),
    ...(jobs === undefined ? {} : { jobs }),
  };
}

/**
 * Adds up the rows of the child batches, which are such sums themselves: only the children are read, not the batches
 * below them.
 */
async function jobsBelow(context: BatchContext, batchId: string, { total, pending }: Jobs): Promise<Jobs> {
  let jobs = { total, pending };
  for await (const { collection, progress } of childrenOf(context.redis, batchId)) {
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
function lifeOf(snapshot: Snapshot): LogLine[] {
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

function timeOf(event: Snapshot['callbacks'][number]['event'], { diedAt, attemptedAt, completedAt }: Snapshot): number {
  const times = { death: diedAt, attempted: attemptedAt, complete: completedAt, success: undefined };
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
export async function refreshRow(context: BatchContext, batchId: string): Promise<string | undefined> {
  const snapshot = await readSnapshot(context.redis, batchId);
  const isWritten = snapshot !== undefined && (await writeRow(context, batchId, snapshot, ''));
  return isWritten ? snapshot.definition.parentId : undefined;
}

/**
 * Writes the row of a batch as the holder of its job's lock; a caller without the lock uses `refreshRow()`. Unless the
 * batch has child batches, whose rows are read first, the command is sent before this returns its promise. Resolves
 * with whether anything was written.
 */
export async function writeRow(
  context: BatchContext,
  batchId: string,
  snapshot: Snapshot,
  token: string,
): Promise<boolean> {
  const jobs = snapshot.childCount ? await jobsBelow(context, batchId, snapshot.counts) : undefined;
  const endedAt = snapshot.ended && snapshot.finishedAt;
  return showRow(context.redis, batchId, {
    token,
    endedAt,
    progress: progressRow(snapshot, jobs),
    log: lifeOf(snapshot),
  });
}
