import { customAlphabet } from 'nanoid';
import { DERIVED_LENGTH, type Repetition } from './repetition.js';

const ALPHANUMERIC = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

/** Short, because BullMQ stores it in every member: 62^12, more than a UUID's half. */
export const newBatchId = customAlphabet(ALPHANUMERIC, 12);

/** Makes a nonce, which tells apart batches that had the same id one after another. */
export const newNonce = customAlphabet(ALPHANUMERIC, 8);

/** Tells the processes apart that add to the same batch. */
const PROCESS = customAlphabet(ALPHANUMERIC, 6)();
let made = 0;

/** Makes the ids of members without an id of the caller's. */
export interface MemberIds {
  /** Whether no other call makes the same ids: they can be known only to a command that is sent twice. */
  readonly areFresh: boolean;
  next(member: { readonly queue: string; readonly name: string; readonly data: unknown }): string;
}

/**
 * Makes ids that nobody else makes. They are short, because a batch keeps the id of every member,
 * and begin with the nonce of the batch, which tells members from jobs that were attached to the batch job by hand.
 */
export function freshIds(nonce: string): MemberIds & { next(): string } {
  const start = `${nonce}-${PROCESS}`;
  return { areFresh: true, next: () => start + (made++).toString(36) };
}

/**
 * Makes the ids of the first members of a new batch, a few hundred at most, which are added in the
 * step that creates it. They are shorter than all others that begin with the nonce, and so equal to none of them.
 */
export function firstIds(nonce: string): MemberIds {
  let n = 0;
  return { areFresh: true, next: () => `${nonce}-${(n++).toString(36)}` };
}

/**
 * Makes ids that are the same each time that the same source is read, for a producer that starts again after a crash.
 */
export function repeatableIds(batchId: string, nonce: string): MemberIds {
  let n = 0;
  return { areFresh: false, next: () => `${batchId}~${n++}~${nonce}` };
}

/**
 * Makes ids that are the same in a second run of the job that adds. Like those of `freshIds()`, they begin with the
 * nonce.
 */
export function derivedIds(nonce: string, repetition: Repetition): MemberIds {
  return {
    areFresh: false,
    next: ({ queue, name, data }) => `${nonce}-${repetition.nextId(nonce, queue, name, data)}`,
  };
}

const CALL_LENGTH = 6;

/**
 * Where an id stands in the order in which a producer has added; undefined for one that says nothing of it. Ids of
 * different producers are ordered by producer.
 */
export function orderOf(
  id: string,
  batchId: string,
  nonce: string,
): readonly [producer: string, n: number] | undefined {
  const [start, end] = [`${batchId}~`, `~${nonce}`];
  if (id.startsWith(start) && id.endsWith(end)) {
    return ['', Number(id.slice(start.length, -end.length))];
  }
  if (!id.startsWith(`${nonce}-`) || id.length >= nonce.length + 1 + DERIVED_LENGTH) {
    return undefined;
  }
  const made = id.slice(nonce.length + 1);
  if (made.length < CALL_LENGTH) {
    return ['', Number.parseInt(made, 36)];
  }
  return [made.slice(0, CALL_LENGTH), Number.parseInt(made.slice(CALL_LENGTH), 36)];
}
