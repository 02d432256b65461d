import type { CallbackSnapshot, Counts, Snapshot } from '../redis/snapshot.js';

/*
 * What a batch is, and what has to happen next, as functions of one snapshot. No Redis here: these are the rules that the
 * promises rest on, and rules.test.ts is their table.
 */

/** `finishing`: every member is settled, callbacks are outstanding. */
export type BatchState = 'open' | 'running' | 'finishing' | 'succeeded' | 'failed';

export function missingOf({ total, pending, succeeded, failed }: Counts): number {
  return total - pending - succeeded - failed;
}

/** Settled members in whole percent; 100 is said of a finished batch only. */
export function progressOf(counts: Counts, isFinished: boolean): number {
  if (isFinished) {
    return 100;
  }
  const settled = counts.total - counts.pending;
  return counts.total === 0 ? 0 : Math.min(99, Math.floor((100 * settled) / counts.total));
}

export function stateOf({
  ended,
  sealedAt,
  abandonedAt,
  counts,
}: Pick<Snapshot, 'ended' | 'sealedAt' | 'abandonedAt' | 'counts'>): BatchState {
  if (ended !== undefined) {
    return ended === 'completed' ? 'succeeded' : 'failed';
  }
  if (sealedAt === undefined && abandonedAt === undefined) {
    return 'open';
  }
  return counts.pending > 0 ? 'running' : 'finishing';
}

export type Step =
  | { readonly kind: 'await seal' }
  | { readonly kind: 'await members' }
  | { readonly kind: 'enqueue'; readonly due: readonly CallbackSnapshot[] }
  | { readonly kind: 'await callbacks' }
  | { readonly kind: 'succeed' }
  | { readonly kind: 'fail'; readonly reason: string };

/**
 * Says what a batch needs. `success` comes after the `complete` callbacks have succeeded, and only when no member failed
 * or is missing; a callback that failed for good fails the batch, and so holds back the `success` of its ancestors. A batch
 * that was abandoned goes the same way, without `success`.
 */
export function nextStep(snapshot: Pick<Snapshot, 'sealedAt' | 'abandonedAt' | 'counts' | 'callbacks'>): Step {
  const { sealedAt, abandonedAt, counts, callbacks } = snapshot;
  const isAbandoned = sealedAt === undefined && abandonedAt !== undefined;
  if (sealedAt === undefined && !isAbandoned) {
    return { kind: 'await seal' };
  }
  if (counts.pending > 0) {
    return { kind: 'await members' };
  }
  const allSucceeded = counts.succeeded === counts.total && !isAbandoned;
  for (const event of allSucceeded ? (['complete', 'success'] as const) : (['complete'] as const)) {
    const ofEvent = callbacks.filter((callback) => callback.event === event);
    const due = ofEvent.filter(({ state }) => state === 'pending');
    if (due.length > 0) {
      return { kind: 'enqueue', due };
    }
    if (ofEvent.some(({ state }) => state === 'enqueued')) {
      return { kind: 'await callbacks' };
    }
    if (ofEvent.some(({ state }) => state === 'failed')) {
      return { kind: 'fail', reason: failureReason(counts, callbacks, isAbandoned) };
    }
  }
  return allSucceeded ? { kind: 'succeed' } : { kind: 'fail', reason: failureReason(counts, callbacks, isAbandoned) };
}

/** A sentence for people, e.g. "2 of 30 members failed, 1 is missing". */
export function failureReason(counts: Counts, callbacks: readonly CallbackSnapshot[], isAbandoned = false): string {
  const missing = missingOf(counts);
  const reasons = [
    ...(isAbandoned ? ['abandoned: it was never sealed, and its producer gives no sign of life'] : []),
    ...(counts.failed > 0 ? [`${counts.failed} of ${plural(counts.total, 'member')} failed`] : []),
    ...(missing > 0 ? [`${missing} of ${plural(counts.total, 'member')} ${missing === 1 ? 'is' : 'are'} missing`] : []),
    ...callbacks
      .filter(({ state }) => state === 'failed')
      .map(
        ({ event, queue, name, failedReason }) =>
          `the ${event} callback '${name}' in queue '${queue}' failed: ${failedReason}`,
      ),
  ];
  return reasons.join('; ');
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
