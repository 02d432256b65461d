import type { BatchEvent, FailurePolicy } from './definition.js';
import type { CallbackSnapshot, MemberCounts, Snapshot } from './snapshot.js';

/*
 * What state a batch is in and what has to happen next, as functions of one snapshot. Nothing here asks Redis. The
 * promises of the library rest on these rules; test/model/rules.test.ts has a table of them.
 */

/**
 * `finishing`: every member is settled, callbacks are outstanding. `waiting` and `skipped` are states of a workflow's
 * stages: one that has not started, and one that can not start.
 */
export type BatchState =
  | 'open'
  | 'waiting'
  | 'running'
  | 'finishing'
  | 'succeeded'
  | 'failed'
  | 'cancelled'
  | 'skipped';

/** What the rules need of a snapshot. */
export type Standing = Pick<
  Snapshot,
  | 'ended'
  | 'sealedAt'
  | 'abandonedAt'
  | 'cancelledAt'
  | 'cancelReason'
  | 'completedAt'
  | 'diedAt'
  | 'attemptedAt'
  | 'deaths'
  | 'counts'
  | 'anyFailure'
  | 'callbacks'
  | 'startedAt'
  | 'skippedAt'
> & { readonly definition: Pick<Snapshot['definition'], 'parentId' | 'policy' | 'stage'> };

/** Returns the share of settled members in whole percent; 100 only for a finished batch. */
export function progressOf(counts: Pick<MemberCounts, 'total' | 'pending'>, isFinished: boolean): number {
  if (isFinished) {
    return 100;
  }
  const settled = counts.total - counts.pending;
  return counts.total === 0 ? 0 : Math.min(99, Math.floor((100 * settled) / counts.total));
}

export function stateOf(standing: Standing): BatchState {
  const { ended, cancelledAt, counts, startedAt, skippedAt } = standing;
  if (ended === 'failed') {
    return cancelledAt === undefined ? 'failed' : 'cancelled';
  }
  if (skippedAt !== undefined) {
    return 'skipped';
  }
  if (ended === 'completed') {
    return 'succeeded';
  }
  if (!isClosed(standing)) {
    return standing.definition.stage === undefined ? 'open' : startedAt === undefined ? 'waiting' : 'running';
  }
  return counts.pending > 0 ? 'running' : 'finishing';
}

/**
 * Whether the batch takes no more members from outside: it was sealed, abandoned or cancelled. LUA_IS_CLOSED is the
 * same rule for scripts.
 */
export function isClosed({
  sealedAt,
  abandonedAt,
  cancelledAt,
}: Pick<Standing, 'sealedAt' | 'abandonedAt' | 'cancelledAt'>): boolean {
  return sealedAt !== undefined || abandonedAt !== undefined || cancelledAt !== undefined;
}

/** Whether all members are settled and no more can come: only callbacks can be outstanding. */
export function isSettled(standing: Standing): boolean {
  return isClosed(standing) && standing.counts.pending === 0;
}

function isAbandoned({ sealedAt, abandonedAt }: Standing): boolean {
  return sealedAt === undefined && abandonedAt !== undefined;
}

/**
 * Whether the members make the batch a success: all of them succeeded, or as many as `succeedIf` asks for and none is
 * missing.
 */
export function isGoodEnough(counts: MemberCounts, policy: FailurePolicy | undefined): boolean {
  const { total, succeeded, cancelled } = counts;
  if (counts.missing > 0 || cancelled > 0) {
    return false;
  }
  return succeeded === total || succeeded * 100 >= (policy?.succeedIfPercent ?? Number.POSITIVE_INFINITY) * total;
}

/** Whether the batch may succeed as far as its members are concerned; callbacks are not looked at. */
function deservesSuccess(standing: Standing): boolean {
  const { cancelledAt, counts, definition } = standing;
  return !isAbandoned(standing) && cancelledAt === undefined && isGoodEnough(counts, definition.policy);
}

function hasFailedCallback({ callbacks }: Standing): boolean {
  return callbacks.some(({ state }) => state === 'failed');
}

/** Whether so many members have failed that the batch asks to be cancelled. */
export function isToBeCancelled({
  ended,
  sealedAt,
  cancelledAt,
  counts,
  definition: { policy = {} },
}: Standing): boolean {
  const { cancelAfter = Number.POSITIVE_INFINITY, cancelAtPercent = Number.POSITIVE_INFINITY } = policy;
  const { total, pending, failed } = counts;
  if (ended !== undefined || cancelledAt !== undefined || (sealedAt !== undefined && pending === 0)) {
    return false;
  }
  // A share of the members can be judged only when all of them are known.
  return failed >= cancelAfter || (sealedAt !== undefined && failed > 0 && failed * 100 >= cancelAtPercent * total);
}

/** Returns why a failure policy cancels the batch, in a sentence. */
export function policyReason({ counts }: Standing): string {
  return `onFailure: ${counts.failed} of ${plural(counts.total, 'member')} failed`;
}

/** Whether an event has happened, so that its callbacks are due. */
export function hasHappened(event: BatchEvent, standing: Standing): boolean {
  const { counts, callbacks } = standing;
  if (standing.skippedAt !== undefined) {
    return false;
  }
  switch (event) {
    case 'death':
      return standing.diedAt !== undefined || standing.deaths > 0;
    case 'attempted':
      return (
        standing.attemptedAt !== undefined ||
        (isSettled(standing) && !isAbandoned(standing) && counts.succeeded + counts.failed === counts.total)
      );
    case 'complete':
      return standing.completedAt !== undefined;
    case 'success':
      return (
        standing.ended === 'completed' ||
        (standing.completedAt !== undefined &&
          isSettled(standing) &&
          deservesSuccess(standing) &&
          callbacks.every(
            ({ event: other, state }) => other === 'success' || state === 'succeeded' || !hasHappened(other, standing),
          ))
      );
  }
}

/** Returns the callbacks that are due and have not been enqueued. */
export function dueOf(standing: Standing): CallbackSnapshot[] {
  return standing.callbacks.filter(({ event, state }) => state === 'pending' && hasHappened(event, standing));
}

export type Step =
  | { readonly kind: 'await seal' }
  | { readonly kind: 'await members' }
  | { readonly kind: 'announce death' }
  | { readonly kind: 'enqueue'; readonly due: readonly CallbackSnapshot[] }
  | { readonly kind: 'await callbacks' }
  | { readonly kind: 'succeed' }
  | { readonly kind: 'skip' }
  | { readonly kind: 'fail'; readonly reason: string };

/**
 * Returns what the batch needs next. `success` comes after the callbacks of the other events have succeeded, and only
 * when no member failed or is missing. A callback that failed for good fails the batch, and so holds back the `success`
 * of its ancestors. A batch that was abandoned or cancelled takes the same steps, without `success`.
 */
export function nextStep(standing: Standing): Step {
  const { counts, callbacks } = standing;
  if (!isClosed(standing)) {
    return { kind: 'await seal' };
  }
  if (counts.pending > 0) {
    return { kind: 'await members' };
  }
  if (standing.deaths > 0 && standing.diedAt === undefined && concernsAnybody(standing)) {
    return { kind: 'announce death' };
  }
  const due = dueOf(standing);
  if (due.length > 0) {
    return { kind: 'enqueue', due };
  }
  if (callbacks.some(({ state }) => state === 'enqueued')) {
    return { kind: 'await callbacks' };
  }
  if (standing.skippedAt !== undefined && standing.cancelledAt === undefined) {
    return { kind: 'skip' };
  }
  const isSuccess = deservesSuccess(standing) && !hasFailedCallback(standing);
  return isSuccess ? { kind: 'succeed' } : { kind: 'fail', reason: failureReason(standing) };
}

/** Whether a failed batch would not fail now: members run again, or nothing stands against its success any more. */
export function isToBeRevived(standing: Standing): boolean {
  const { ended, cancelledAt, counts } = standing;
  if (ended !== 'failed' || cancelledAt !== undefined) {
    return false;
  }
  return counts.pending > 0 || (deservesSuccess(standing) && !hasFailedCallback(standing));
}

/**
 * Whether the batch failed only because of a cancel: it was cancelled itself, or its failed members are child batches
 * that were. Such a failure is no `death` for its parent.
 */
export function isFailedByCancel(standing: Standing): boolean {
  const { cancelledAt, counts, deaths } = standing;
  return (
    cancelledAt !== undefined ||
    (counts.failed > 0 &&
      deaths === 0 &&
      counts.missing === 0 &&
      !isAbandoned(standing) &&
      !hasFailedCallback(standing))
  );
}

/** Whether a first failure has to be announced: to the batch's own `death` callbacks, or to the batches above. */
function concernsAnybody({ definition, callbacks }: Standing): boolean {
  return definition.parentId !== undefined || callbacks.some(({ event }) => event === 'death');
}

/**
 * Returns why a batch failed, as a sentence for people, e.g. "2 of 30 members failed: no e-mail, …; 1 of 30 members is
 * missing".
 */
export function failureReason(standing: Standing): string {
  const { counts, callbacks, cancelledAt, cancelReason } = standing;
  const { missing } = counts;
  const reasons = [
    ...(cancelledAt === undefined ? [] : [cancelReason === undefined ? 'cancelled' : `cancelled: ${cancelReason}`]),
    ...(isAbandoned(standing) && cancelledAt === undefined
      ? ['abandoned: it was never sealed, and its producer gives no sign of life']
      : []),
    ...(counts.failed > 0 ? [`${counts.failed} of ${plural(counts.total, 'member')} failed${why(standing)}`] : []),
    ...(missing > 0 ? [`${missing} of ${plural(counts.total, 'member')} ${missing === 1 ? 'is' : 'are'} missing`] : []),
    ...callbacks
      .filter(({ state }) => state === 'failed')
      .map(
        ({ event, queue, name, failedReason }) =>
          `the ${event} callback '${name}' in queue '${queue}' failed: ${sentencePart(failedReason)}`,
      ),
  ];
  return reasons.join('; ');
}

/**
 * Returns the reason of one failed member, as the end of a sentence. A cancelled batch gives no reason: its members
 * failed because of the cancel.
 */
function why({ anyFailure, cancelledAt, counts }: Standing): string {
  if (anyFailure === undefined || cancelledAt !== undefined) {
    return '';
  }
  // The reason of a child batch may end with ", …" itself.
  const one = sentencePart(anyFailure).replace(/, …$/, '');
  return `: ${one}${counts.failed > 1 ? ', …' : ''}`;
}

/**
 * Returns a failure reason as it was given: workers of BullMQ's Python port store it as a JSON string, which may have
 * been cut.
 */
export function plainReason(reason: string): string {
  if (!reason.startsWith('"')) {
    return reason;
  }
  for (const text of [reason, `${reason}"`]) {
    try {
      return String(JSON.parse(text));
    } catch {
      // The text is not JSON: a reason that begins with a quotation mark, or one that was cut.
    }
  }
  return reason;
}

const LONGEST = 200;

/** Returns the first line of an error's message, shortened so that it can stand inside of a sentence. */
export function sentencePart(reason = 'no reason was given'): string {
  const [line = ''] = plainReason(reason).split('\n');
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line.replace(/\.$/, '');
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
