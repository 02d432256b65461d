import { customAlphabet } from 'nanoid';
import type { Repetition } from './repetition.js';

const ALPHANUMERIC = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

export const newBatchId = customAlphabet(ALPHANUMERIC, 20);

/** Makes a nonce, which tells apart batches that had the same id one after another. */
export const newNonce = customAlphabet(ALPHANUMERIC, 8);

const newCall = customAlphabet(ALPHANUMERIC, 6);

/** Makes the id of a member without an id of the caller's. */
export type NextId = (member: { readonly queue: string; readonly name: string; readonly data: unknown }) => string;

/**
 * Returns a generator of ids that no other call makes. They are short, because a batch keeps the id of every member,
 * and begin with the nonce of the batch, which tells members from jobs that were attached to the batch job by hand.
 */
export function freshIds(nonce: string): () => string {
  const call = newCall();
  let n = 0;
  return () => `${nonce}-${call}${(n++).toString(36)}`;
}

/**
 * Returns a generator of ids that are the same each time that the same source is read, for a producer that starts again
 * after a crash.
 */
export function repeatableIds(batchId: string, nonce: string): () => string {
  let n = 0;
  return () => `${batchId}~${n++}~${nonce}`;
}

/**
 * Returns a maker of ids that are the same in a second run of the job that adds. Like those of `freshIds()`, they begin
 * with the nonce.
 */
export function derivedIds(nonce: string, repetition: Repetition): NextId {
  return ({ queue, name, data }) => `${nonce}-${repetition.nextId(nonce, queue, name, data)}`;
}
