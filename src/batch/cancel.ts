import { BatchError, BatchNotFoundError } from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import { type CancelledBatch, lookAtCancelled, markCancelled, tellParentOfCancel } from '../record/cancel.js';
import { type DroppedSearch, droppedQueues, searchDropped } from '../record/dropped.js';
import { Emptying } from './emptying.js';
import type { Home } from './home.js';

interface Extent {
  readonly reason: string | undefined;
  /** Of the life of the batch that is meant; by default the one there is. */
  readonly nonce?: string | undefined;
}

/**
 * Cancels a batch and its child batches. The mark comes first, and is what counts: should the process die while the
 * pending members go, maintenance goes on with it. When it has resolved, no job of the tree begins any more: what was
 * running may end.
 */
export async function cancelBatch(home: Home, batchId: string, extent: Extent): Promise<void> {
  const { outcome, nonce } = await markCancelled(home.redis, batchId, extent);
  if (outcome === 'not found') {
    throw new BatchNotFoundError(batchId);
  }
  if (outcome === 'finished') {
    throw new BatchError(`Batch '${batchId}' has nothing left to cancel: all of its members are settled.`, { batchId });
  }
  await emptyTree(home, { batchId, nonce });
}

/** Marks a batch as cancelled and leaves the rest to maintenance. */
export async function markIfPending(
  home: Home,
  batchId: string,
  reason: string | undefined,
  nonce?: string,
): Promise<void> {
  await markCancelled(home.redis, batchId, { reason, nonce });
}

async function emptyTree(home: Home, batch: CancelledBatch): Promise<void> {
  const emptying = new Emptying(home.redis, batch, { wholeTree: true });
  while (!emptying.isDone) {
    await emptying.goOn();
  }
  await removeDropped(home);
}

/** Removes the jobs that were dropped, by a cancel or a removal, from the lists of their queues. */
export async function removeDropped(home: Home): Promise<void> {
  for (let state = await removeDroppedSlice(home); state !== 'done'; ) {
    state = await removeDroppedSlice(home, state);
  }
}

/** Where the emptying of one batch has come to. */
export type CancelState = Emptying;

/**
 * Does a bounded part of what there is to be done in one cancelled batch, whoever has cancelled it. Returns what to go
 * on with, or 'done' when there is nothing more to be done now. A batch in which jobs are still running needs another
 * look later, and keeps its need: one that has failed and waits for its next attempt is then taken out. Such a look is
 * one short command.
 */
export async function cancelSlice(home: Home, batchId: string, state?: CancelState): Promise<CancelState | 'done'> {
  if (state === undefined) {
    const { what, nonce } = await lookAtCancelled(home.redis, batchId);
    return what === 'nothing' ? 'done' : new Emptying(home.redis, { batchId, nonce }, { task: what });
  }
  await state.goOn();
  return state.isDone ? 'done' : state;
}

/** Where the search for dropped jobs has come to: the queues that are still to be searched. */
export type DroppedState = readonly DroppedSearch[];

/** Removes dropped jobs from the lists of their queues, a bounded part of it; see record/dropped.ts. */
export async function removeDroppedSlice(home: Home, state?: DroppedState): Promise<DroppedState | 'done'> {
  const [search, ...others] = state ?? (await droppedQueues(home.redis));
  if (search === undefined) {
    return 'done';
  }
  const goOn = await searchDropped(home.redis, search);
  const left = goOn === undefined ? others : [goOn, ...others];
  return left.length === 0 ? 'done' : left;
}

/** Before a batch ends that failed because something was cancelled: its failure is no death to its parent. */
export async function tellParent(home: Home, batch: BatchDefinition): Promise<void> {
  if (batch.parentId !== undefined) {
    await tellParentOfCancel(home.redis, batch, batch.parentId);
  }
}
