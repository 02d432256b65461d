import { BatchOptionsError } from '../errors.js';
import { SCAN_START, type ScanPlace } from '../record/scan-place.js';
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

/**
 * Writes a place as the cursor that a client keeps: what Redis has returned, the run of the server that has, and how
 * often the reading has begun if that was more than once, as in `1792-8f3b20c1a5d94e67-2`.
 */
export function writeCursor({ cursor, server, beginning }: ScanPlace): string {
  return [cursor, ...(server ? [server, ...(beginning > 1 ? [beginning] : [])] : [])].join('-');
}

/**
 * Reads a cursor; undefined for a text that is none. One without a server, which a Redis returns that does not tell its
 * name, is taken to be of the server that is asked.
 */
export function readCursor(text: unknown): ScanPlace | undefined {
  const parts = typeof text === 'string' ? /^(\d{1,20})(?:-(\w{1,16})(?:-(\d))?)?$/.exec(text) : null;
  const [, cursor = '', server, beginning = SCAN_START.beginning] = parts ?? [];
  return parts === null || BigInt(cursor) > LAST_CURSOR ? undefined : { cursor, server, beginning: Number(beginning) };
}
