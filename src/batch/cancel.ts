import { BatchError, BatchNotFoundError } from '../errors.js';
import {
  failedFlows,
  markCancelled,
  type Owner,
  removeFromList,
  removeRoot,
  removeScattered,
  tellParentOfCancel,
} from '../redis/cancel.js';
import { failedBelow } from '../redis/flow.js';
import { batchKeys } from '../redis/keys.js';
import type { Home } from './home.js';

/** How many jobs one command looks at: a few milliseconds of Redis's time when all of them go. */
const PAGE_SIZE = 250;

/** Where BullMQ keeps waiting jobs; 5 moves them into the second while their queue is paused. */
const LISTS = ['wait', 'paused'];

/**
 * Cancels a batch and its child batches. The mark comes first and is what counts; should the process die while the pending
 * members go, the sweep goes on with it, and does its part already while it lives.
 */
export async function cancelBatch(home: Home, batchId: string, reason: string | undefined): Promise<void> {
  const marked = await markCancelled(home.redis, batchId, { reason });
  if (marked === 'not found') {
    throw new BatchNotFoundError(batchId);
  }
  if (marked === 'finished') {
    throw new BatchError(`Batch '${batchId}' has nothing left to cancel: all of its members are settled.`, { batchId });
  }
  await empty(home, batchId, { reason });
}

interface Extent {
  readonly reason: string | undefined;
  /** Also in child batches that were cancelled before, and are looked after by themselves. */
  readonly again?: boolean;
}

/** The same for a batch that may be gone, or finishing, which is no error. */
export async function cancelIfPending(home: Home, batchId: string, extent: Extent): Promise<void> {
  const marked = await markCancelled(home.redis, batchId, { reason: extent.reason });
  if (marked === 'cancelled' || (marked === 'cancelled before' && extent.again)) {
    await empty(home, batchId, extent);
  }
}

/** Marks a batch as cancelled and leaves the rest to whoever empties it. */
export async function markIfPending(home: Home, batchId: string, reason: string | undefined): Promise<void> {
  await markCancelled(home.redis, batchId, { reason });
}

async function empty(home: Home, batchId: string, extent: Extent): Promise<void> {
  await removePending(home, batchId, extent);
  await removeBelowFailed(home, batchId, extent);
}

/** Removes what is pending in a cancelled batch now: a running member may fail, and wait for its next attempt, later. */
export async function removePending(home: Home, batchId: string, extent: Extent): Promise<void> {
  const owner = { key: batchKeys(home.redis, batchId).job, batchId };
  // Somebody else who removes at the same time moves the lists under our feet: until there is nothing left to remove.
  while ((await removePendingOf(home, owner, extent)) > 0);
}

async function removePendingOf(home: Home, owner: Owner, extent: Extent): Promise<number> {
  const { redis } = home;
  const queues = new Set<string>();
  let [removed, cursor] = [0, '0'];
  do {
    const page = await removeScattered(redis, owner, { cursor, count: PAGE_SIZE });
    removed += page.count;
    for (const child of page.batches) {
      await cancelIfPending(home, child, extent);
    }
    for (const root of page.roots) {
      // The jobs below it go first; it is kept from running until none of them runs any more.
      removed += await removePendingOf(home, { key: root, batchId: '' }, extent);
      removed += await removeRoot(redis, owner, root);
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

/** A flow whose root has failed is settled, but the others below it would still run. */
async function removeBelowFailed(home: Home, batchId: string, extent: Extent): Promise<void> {
  let cursor = '0';
  do {
    const page = await failedFlows(home.redis, batchId, { cursor, count: PAGE_SIZE });
    for (const root of page.roots) {
      await removeBelow(home, root, extent);
    }
    cursor = page.cursor;
  } while (cursor !== '0');
}

async function removeBelow(home: Home, key: string, extent: Extent): Promise<void> {
  await removePendingOf(home, { key, batchId: '' }, extent);
  for (const failed of await failedBelow(home.redis, key)) {
    await removeBelow(home, failed, extent);
  }
}

/** Before a batch ends that failed because something was cancelled: its failure is no death to its parent. */
export async function tellParent(home: Home, batchId: string, parentId: string | undefined): Promise<void> {
  if (parentId !== undefined) {
    await tellParentOfCancel(home.redis, batchId, parentId);
  }
}
