import type { BatchState, BatchStatus, MemberCounts } from '../../index.js';
import type { Style } from './output.js';
import { number } from './text.js';

const STYLES: Readonly<Partial<Record<string, Style>>> = {
  succeeded: 'green',
  failed: 'red',
  cancelled: 'yellow',
  open: 'dim',
  pending: 'dim',
  waiting: 'dim',
  skipped: 'dim',
};

export const styleOf = (state: string): Style | undefined => STYLES[state];

/** What became of those that are not pending and have not succeeded; nothing for nothing. */
export function lossesOf({ failed, cancelled, missing }: MemberCounts): string[] {
  const losses = [
    [failed, 'failed'],
    [cancelled, 'cancelled'],
    [missing, 'missing'],
  ] as const;
  return losses.flatMap(([count, name]) => (count > 0 ? [`${number(count)} ${name}`] : []));
}

export const hasEnded = (state: BatchState): boolean =>
  state === 'succeeded' || state === 'failed' || state === 'cancelled' || state === 'skipped';

/** Why a batch has failed, or was cancelled: without its state, which stands before it. */
export function whyOf({ failedReason, cancelReason }: BatchStatus): string | undefined {
  return (failedReason ?? cancelReason)?.replace(/^cancelled(: |$)/, '') || undefined;
}
