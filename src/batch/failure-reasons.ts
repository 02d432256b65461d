import { BatchOptionsError } from '../errors.js';
import { reasonPattern } from '../model/reason-pattern.js';
import { checkOptions, describe } from '../validation.js';
import type { BatchContext } from './batch-context.js';
import { type BatchFailure, failuresOf } from './settled.js';

/** Failures that have a reason in common. */
export interface FailureReason {
  /**
   * The first line of the reason; with '…' for numbers, ids and quoted values where they differ, as in "duplicate of
   * row …".
   */
  readonly reason: string;
  /** How many of the failures that were looked at have it. */
  readonly count: number;
  /** Up to three of them, without their data. */
  readonly examples: readonly BatchFailure<never>[];
}

/** The failures of a batch, counted by reason. */
export interface FailureReasons {
  /** The most frequent one first. */
  readonly reasons: readonly FailureReason[];
  /** How many failures were looked at. */
  readonly examined: number;
  /** Whether all failures of the batch were looked at. */
  readonly complete: boolean;
}

/** How many failures `batch.failureReasons()` looks at. */
export interface FailureReasonsOptions {
  /** How many failures are looked at, in no particular order: from 1 to Infinity; default 1,000. */
  readonly limit?: number | undefined;
}

const DEFAULT_LIMIT = 1000;
const EXAMPLES = 3;

/** How many reasons are told apart; all further ones count as one. */
const MOST_REASONS = 1000;
const OTHER = '…';

export async function failureReasonsOf(
  context: BatchContext,
  batchId: string,
  options: FailureReasonsOptions,
): Promise<FailureReasons> {
  const limit = checkLimit(options);
  const found = new Map<string, { reason: string; count: number; examples: BatchFailure<never>[] }>();
  let examined = 0;
  for await (const failure of failuresOf<never>(context, batchId, { withData: false })) {
    if (examined === limit) {
      return { reasons: sorted(found.values()), examined, complete: false };
    }
    examined++;
    const pattern = reasonPattern(failure.reason);
    const key = found.has(pattern) || found.size < MOST_REASONS ? pattern : OTHER;
    const group = found.get(key) ?? { reason: key, count: 0, examples: [] };
    found.set(key, group);
    group.count++;
    if (group.examples.length < EXAMPLES) {
      group.examples.push(failure);
    }
  }
  return { reasons: sorted(found.values()), examined, complete: true };
}

function sorted(groups: Iterable<FailureReason>): FailureReason[] {
  return [...groups].sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1));
}

function checkLimit(options: FailureReasonsOptions): number {
  checkOptions('failureReasons', options, ['limit']);
  const { limit = DEFAULT_LIMIT } = options;
  if (!(limit === Number.POSITIVE_INFINITY || Number.isInteger(limit)) || limit < 1) {
    throw new BatchOptionsError(
      `failureReasons(): limit must be an integer from 1, or Infinity, not ${describe(limit)}.`,
    );
  }
  return limit;
}
