import { customAlphabet } from 'nanoid';

const ALPHANUMERIC = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

/** Short, because BullMQ stores it in every member: 62^12, more than a UUID's half. */
export const newBatchId = customAlphabet(ALPHANUMERIC, 12);

/** Tells the batches apart that had the same id one after another. */
export const newNonce = customAlphabet(ALPHANUMERIC, 8);

/** Tells the processes apart that add to the same batch. */
const PROCESS = customAlphabet(ALPHANUMERIC, 6)();
let made = 0;

/**
 * Makes ids that nobody else makes; short, because a batch keeps the id of every member. They begin with the nonce of
 * the batch, which tells members from jobs that are attached to the batch job by hand.
 */
export function freshIds(nonce: string): () => string {
  const start = `${nonce}-${PROCESS}`;
  return () => start + (made++).toString(36);
}

/** Ids that are the same each time that the same source is read, for a producer that starts again after a crash. */
export function repeatableIds(batchId: string, nonce: string): () => string {
  let n = 0;
  return () => `${batchId}~${n++}~${nonce}`;
}
