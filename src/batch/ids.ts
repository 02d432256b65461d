import { customAlphabet } from 'nanoid';

const ALPHANUMERIC = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

export const newBatchId = customAlphabet(ALPHANUMERIC, 20);

/** Tells the batches apart that had the same id one after another. */
export const newNonce = customAlphabet(ALPHANUMERIC, 8);

const newCall = customAlphabet(ALPHANUMERIC, 12);

/** Ids that nobody else makes; short, because a batch keeps the id of every member. The letter keeps BullMQ from taking one for an integer. */
export function freshIds(): () => string {
  const call = newCall();
  let n = 0;
  return () => `m${call}-${(n++).toString(36)}`;
}

/** The same ids each time that the same source is read, for a producer that starts again after a crash. */
export function repeatableIds(batchId: string, nonce: string): () => string {
  let n = 0;
  return () => `${batchId}~${n++}~${nonce}`;
}
