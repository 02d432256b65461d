import { BatchError, BatchNotFoundError } from '../errors.js';
import {
  markCancelled,
  type Owner,
  removeFromList,
  removeRoot,
  removeScattered,
  tellParentOfCancel,
} from '../redis/cancel.js';
import { batchKeys, jobKey, memberName } from '../redis/keys.js';
import type { Home } from './home.js';
import { newNonce } from './ids.js';

/** How many jobs one command looks at: a few milliseconds of Redis's time when all of them go. */
const PAGE_SIZE = 250;

/** Where BullMQ keeps waiting jobs; 5 moves them into the second while their queue is paused. */
const LISTS = ['wait', 'paused'];

/**
 * Cancels a batch and its child batches. The mark comes first and is what counts; should the process die while the pending
 * members go, the sweep goes on with it, and does its part already while it lives.
 */
export async function cancelBatch(home: Home, batchId: string, reason: string | undefined): Promise<void> {
  const marked = await markCancelled(home.redis, batchId, { reason, version: newNonce() });
  if (marked === 'not found') {
    throw new BatchNotFoundError(batchId);
  }
  if (marked === 'finished') {
    throw new BatchError(`Batch '${batchId}' has nothing left to cancel: all of its members are settled.`, { batchId });
  }
  await removePending(home, batchId, reason);
}

/** Removes what is pending in a cancelled batch now: a running member may fail, and wait for its next attempt, later. */
export async function removePending(home: Home, batchId: string, reason: string | undefined): Promise<void> {
  const owner = { key: batchKeys(home.redis.prefix, batchId).job, batchId };
  // Somebody else who removes at the same time moves the lists under our feet: until there is nothing left to remove.
  while ((await removePendingOf(home, owner, reason)) > 0);
}

async function removePendingOf(home: Home, owner: Owner, reason: string | undefined): Promise<number> {
  const { redis } = home;
  const queues = new Set<string>();
  let [removed, cursor] = [0, '0'];
  do {
    const page = await removeScattered(redis, owner, { cursor, count: PAGE_SIZE });
    removed += page.count;
    for (const child of page.batches) {
      await cancelIfPending(home, child, reason);
    }
    for (const root of page.roots) {
      removed += await removeFlow(home, owner, root, reason);
    }
    for (const queueKey of page.queues) {
      queues.add(queueKey);
    }
    cursor = page.cursor;
  } while (cursor !== '0');
  for (const queueKey of queues) {
    for (const list of LISTS) {
      for (let from = 0; from !== -1; ) {
        const { next, count } = await removeFromList(redis, owner, { list, queueKey, from, size: PAGE_SIZE });
        removed += count;
        from = next;
      }
    }
  }
  return removed;
}

/** A batch that was cancelled before is looked after by itself; one that is gone, or is finishing, needs nothing. */
export async function cancelIfPending(home: Home, batchId: string, reason: string | undefined): Promise<void> {
  const marked = await markCancelled(home.redis, batchId, { reason, version: newNonce() });
  if (marked === 'cancelled') {
    await removePending(home, batchId, reason);
  }
}

/** The pending jobs of a flow go first; its root does when none of them is left running. */
async function removeFlow(home: Home, owner: Owner, rootKey: string, reason: string | undefined): Promise<number> {
  await removePendingOf(home, { key: rootKey, batchId: '' }, reason);
  const { prefix } = home.redis;
  const { queue, id } = memberName(prefix, rootKey);
  return removeRoot(home.redis, owner, { rootKey, queueKey: jobKey(prefix, queue, ''), id });
}

/** Before a cancelled batch ends: its failure is no death to its parent. */
export async function tellParent(home: Home, batchId: string, parentId: string | undefined): Promise<void> {
  if (parentId !== undefined) {
    await tellParentOfCancel(home.redis, batchId, parentId);
  }
}
