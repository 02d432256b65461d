import { BatchError, BatchNotFoundError } from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import type { BatchLife } from '../record/add-members.js';
import { lookAtCancelled, markCancelled, reportCancelToParent } from '../record/cancel.js';
import { type DroppedSearch, droppedQueues, searchDropped } from '../record/dropped.js';
import type { BatchContext } from './batch-context.js';
import { Emptying } from './emptying.js';

/**
 * Cancels a batch and its child batches. The mark is written first and decides: if the process dies while the pending
 * members are taken out, maintenance continues. When the promise resolves, no job of the tree begins any more; running
 * jobs may end.
 */
export async function cancelBatch(
  context: BatchContext,
  { id: batchId, nonce }: BatchLife,
  reason: string | undefined,
): Promise<void> {
  const { outcome } = await markCancelled(context.redis, batchId, { reason, nonce });
  if (outcome === 'not found') {
    throw new BatchNotFoundError(batchId);
  }
  if (outcome === 'finished') {
    throw new BatchError(`Batch '${batchId}' has nothing left to cancel: all of its members are settled.`, { batchId });
  }
  const emptying = new Emptying(context.redis, { batchId, nonce }, { wholeTree: true });
  while (!emptying.isDone) {
    await emptying.step();
  }
  await removeDropped(context);
}

/**
 * Removes the jobs that were dropped, by a cancel or a removal, from the lists of their queues, with at most `commands`
 * commands.
 */
export async function removeDropped(context: BatchContext, commands = Number.POSITIVE_INFINITY): Promise<void> {
  let state: DroppedState | 'done' | undefined;
  for (let left = commands; left > 0 && state !== 'done'; left--) {
    state = await removeDroppedSlice(context, state);
  }
}

/** How far the emptying of one cancelled batch has come. */
export type CancelState = Emptying;

/**
 * Does a bounded part of emptying one cancelled batch, whichever process has cancelled it. Returns the state to
 * continue from, or 'done' when nothing can be done now. A batch with running jobs stays in need and is looked at
 * again: a running job that fails with attempts left can be taken out then. Such a look is one short command.
 */
export async function cancelSlice(
  context: BatchContext,
  batchId: string,
  state?: CancelState,
): Promise<CancelState | 'done'> {
  if (state === undefined) {
    const { what, nonce } = await lookAtCancelled(context.redis, batchId);
    return what === 'nothing' ? 'done' : new Emptying(context.redis, { batchId, nonce }, { task: what });
  }
  await state.step();
  return state.isDone ? 'done' : state;
}

/** How far the search for dropped jobs has come: the queues that are still to be searched. */
export type DroppedState = readonly DroppedSearch[];

/**
 * Removes dropped jobs from the lists of their queues, one bounded part; record/dropped.ts says what dropped jobs are.
 */
export async function removeDroppedSlice(context: BatchContext, state?: DroppedState): Promise<DroppedState | 'done'> {
  const [search, ...others] = state ?? (await droppedQueues(context.redis));
  if (search === undefined) {
    return 'done';
  }
  const goOn = await searchDropped(context.redis, search);
  const left = goOn === undefined ? others : [goOn, ...others];
  return left.length === 0 ? 'done' : left;
}

/**
 * Reports to the parent that this batch fails because of a cancel, so that the failure does not count as a death there.
 * To be called before the batch job ends.
 *
 * @returns false when the batch is being removed: it must not fail in its parent any more.
 */
export async function reportCancel(context: BatchContext, batch: BatchDefinition): Promise<boolean> {
  return batch.parentId === undefined || reportCancelToParent(context.redis, batch, batch.parentId);
}
