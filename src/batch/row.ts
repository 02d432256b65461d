import { type BatchState, hasHappened, progressOf, stateOf } from '../model/rules.js';
import type { MemberCounts, Snapshot } from '../model/snapshot.js';
import { type Collection, childrenOf } from '../record/children.js';
import { type LogLine, showRow } from '../record/row.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import { jobsOf, type TreeJobs } from './jobs-below.js';

/*
 * What Bull Board shows of a batch without anything of this package installed: BullMQ's `progress` of the batch job,
 * which it draws as a ring, and the job's log. Both are derived from a snapshot, so that any process can write them at
 * any time, and again.
 */

/** The `progress` of a batch job. Bull Board draws its integer of this name. */
interface ProgressRow extends RowCounts {
  /** Settled ÷ total in whole percent: of all jobs below, where there are child batches. */
  readonly progress: number;
  readonly status: BatchState;
  /** The counts of all jobs below, if there are child batches. */
  readonly jobs?: RowCounts;
}

/** MemberCounts as they are stored: `cancelled` and `missing` only where there are any. */
type RowCounts = Pick<MemberCounts, 'total' | 'succeeded' | 'failed' | 'pending'> &
  Partial<Pick<MemberCounts, 'cancelled' | 'missing'>>;

function progressRow(snapshot: Snapshot, jobs: MemberCounts | undefined): ProgressRow {
  const { counts, ended } = snapshot;
  return {
    progress: progressOf(jobs ?? counts, ended !== undefined),
    ...rowCounts(counts),
    status: stateOf(snapshot),
    ...(jobs === undefined ? {} : { jobs: rowCounts(jobs) }),
  };
}

function rowCounts({ total, succeeded, failed, pending, cancelled, missing }: MemberCounts): RowCounts {
  return {
    ...{ total, succeeded, failed, pending },
    ...(cancelled > 0 ? { cancelled } : {}),
    ...(missing > 0 ? { missing } : {}),
  };
}

/**
 * Reads the `progress` of a batch job: the counts of all jobs below the batch, or of its members in one without child
 * batches. People can set it to anything.
 */
function countsIn(progress: string): { readonly members: MemberCounts; readonly jobs: MemberCounts | undefined } {
  const row: Partial<ProgressRow> = Object(parsed(progress));
  return { members: counted(row), jobs: row.jobs && counted(Object(row.jobs)) };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return {};
  }
}

function counted(stored: Partial<RowCounts>): MemberCounts {
  const numberOf = (name: keyof RowCounts) => (Number.isInteger(stored[name]) ? Math.max(0, Number(stored[name])) : 0);
  const [total, pending, failed] = [numberOf('total'), numberOf('pending'), numberOf('failed')];
  const [cancelled, missing] = [numberOf('cancelled'), numberOf('missing')];
  const succeeded = Math.max(0, total - pending - failed - cancelled - missing);
  return { total, pending, succeeded, failed, cancelled, missing };
}

/**
 * The jobs of a batch with child batches and of all batches below it, as they were added up last: cheap to read, and
 * at most some seconds old. Undefined for a batch without child batches, and before they were added up; also when the
 * row of a finished batch was written before its end, and not again, because a row below it came late.
 */
export function jobsInRow({ childCount, progress, ended }: Snapshot): TreeJobs | undefined {
  const { jobs } = countsIn(childCount ? (progress ?? '') : '');
  const isOutdated = ended !== undefined && jobs !== undefined && jobs.pending > 0;
  return jobs === undefined || isOutdated ? undefined : { ...jobs, progress: progressOf(jobs, ended !== undefined) };
}

/**
 * Adds up the rows of the child batches, which are such sums themselves: only the children are read, not the batches
 * below them.
 */
async function jobsBelow(context: BatchContext, batchId: string, own: MemberCounts): Promise<MemberCounts> {
  const children: Collection[] = [];
  const below: MemberCounts[] = [];
  for await (const { collection, progress } of childrenOf(context.redis, batchId)) {
    const { members, jobs } = countsIn(progress);
    children.push(collection);
    below.push(jobs ?? members);
  }
  return jobsOf(own, children, below);
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
