import { BatchOptionsError } from '../errors.js';
import { reasonPattern } from '../model/reason-pattern.js';
import { checkKeys, checkObject, describe } from '../validation.js';
import type { Home } from './home.js';
import { type BatchFailure, failuresWithoutData } from './settled.js';

/** Failures that have a reason in common. */
export interface FailureReason {
  /** The first line of the reason, with '…' for numbers, ids and quoted values: "duplicate of row …". */
  readonly reason: string;
  /** How many of the failures that were looked at have it. */
  readonly count: number;
  /** Up to three of them, without their data. */
  readonly examples: readonly BatchFailure<never>[];
}

/** What the failures of a batch come to. */
export interface FailureReasons {
  /** The most frequent one first. */
  readonly reasons: readonly FailureReason[];
  /** How many failures were looked at. */
  readonly examined: number;
  /** Whether these were all failures of the batch. */
  readonly complete: boolean;
}

/** Options of `batch.failureReasons()`. */
export interface FailureReasonsOptions {
  /** How many failures are looked at, in no particular order: from 1 to Infinity; default 1,000. */
  readonly limit?: number | undefined;
}

const DEFAULT_LIMIT = 1000;
const EXAMPLES = 3;

/** Reasons that are told apart; those that come after so many others are one. */
const MOST_REASONS = 1000;
const OTHER = '…';

export async function failureReasonsOf(
  home: Home,
  batchId: string,
  options: FailureReasonsOptions,
): Promise<FailureReasons> {
  const limit = checkLimit(options);
  const found = new Map<string, { reason: string; count: number; examples: BatchFailure<never>[] }>();
  let examined = 0;
  for await (const failure of failuresWithoutData(home, batchId)) {
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
  const given: unknown = options;
  checkObject('The options of failureReasons', given);
  checkKeys('failureReasons()', given, ['limit']);
  const { limit = DEFAULT_LIMIT } = options;
  if (!(limit === Number.POSITIVE_INFINITY || Number.isInteger(limit)) || limit < 1) {
    throw new BatchOptionsError(
      `failureReasons(): limit must be an integer from 1, or Infinity, not ${describe(limit)}.`,
    );
  }
  return limit;
}
