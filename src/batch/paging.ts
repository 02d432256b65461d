import { BatchOptionsError } from '../errors.js';
import { describe } from '../validation.js';

/** How many members a page has that asks for no other number. */
export const DEFAULT_COUNT = 100;
const LARGEST_COUNT = 1000;
const LAST_CURSOR = 2n ** 64n - 1n;

/** Refuses a number of members that a page cannot have. */
export function checkCount(method: string, count: number): void {
  if (!Number.isInteger(count) || count < 1 || count > LARGEST_COUNT) {
    throw new BatchOptionsError(
      `${method}: count must be an integer from 1 to ${LARGEST_COUNT}, not ${describe(count)}.`,
    );
  }
}

/** Whether Redis can have returned this cursor of a hash or set. */
export function isCursor(cursor: unknown): cursor is string {
  return typeof cursor === 'string' && /^\d{1,20}$/.test(cursor) && BigInt(cursor) <= LAST_CURSOR;
}
