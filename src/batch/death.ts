import type { Snapshot } from '../model/snapshot.js';
import { noteDeath } from '../record/amend.js';
import { searchFailures } from '../record/search-strangers.js';
import { readSnapshot } from '../record/snapshot.js';
import { sortCancelled } from '../record/sort-cancelled.js';
import type { BatchContext } from './batch-context.js';
import { enqueueDue } from './enqueue.js';

/**
 * Announces a first failure to the callbacks of a batch and of all batches above it, from the top down. When a batch is
 * noted as dead, all batches above it are: if the process is killed in between, nothing is left out.
 */
export async function announceDeath(context: BatchContext, batchId: string): Promise<void> {
  for (const { definition } of await selfAndAncestors(context, batchId)) {
    await noteDeath(context.redis, definition);
    await enqueueDue(context, definition.id, 'death');
  }
}

/** Returns the batch and those above it, the topmost first. Returns none when the only failed jobs are not members. */
async function selfAndAncestors(context: BatchContext, batchId: string): Promise<Snapshot[]> {
  const batch = await readSnapshot(context.redis, batchId);
  if (batch === undefined || !(await hasDied(context, batch))) {
    return [];
  }
  // Keyed by id: a batch that was removed by hand and created again below its own child would be met twice.
  const line = new Map<string, Snapshot>();
  for (let next: Snapshot | undefined = batch; next !== undefined && !line.has(next.definition.id); ) {
    line.set(next.definition.id, next);
    const parentId: string | undefined = next.definition.parentId;
    next = parentId === undefined ? undefined : await readSnapshot(context.redis, parentId);
  }
  return [...line.values()].reverse();
}

/**
 * Whether a member has failed for good by itself. The number of failures does not say so for a cancelled batch, in
 * which members fail because of the cancel at any time: there each failure is looked at.
 */
async function hasDied({ redis }: BatchContext, { definition, isToBeSorted = false }: Snapshot): Promise<boolean> {
  if (isToBeSorted) {
    return (await sortCancelled(redis, definition.id)) > 0;
  }
  await searchFailures(redis, definition);
  return ((await readSnapshot(redis, definition.id))?.deaths ?? 0) > 0;
}
