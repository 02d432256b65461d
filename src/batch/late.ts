import { BatchNotFoundError } from '../errors.js';
import { changeDefinition } from '../redis/change-definition.js';
import { outstandingChildren } from '../redis/children.js';
import type { BatchEvent, StoredCallback } from '../redis/definition.js';
import { needMaintenance, needsOf } from '../redis/needs.js';
import { readSnapshot } from '../redis/snapshot.js';
import { enqueueDue } from './enqueue.js';
import type { Home } from './home.js';

/**
 * Gives a batch one more callback. Once the batch knows it, it is enqueued by whoever sees the event: by us when it is past,
 * and the batch is looked after in case that we do not live to do it.
 */
export async function addCallback(
  home: Home,
  batchId: string,
  event: BatchEvent,
  callback: StoredCallback,
): Promise<void> {
  if ((await readSnapshot(home.redis, batchId)) === undefined) {
    throw new BatchNotFoundError(batchId);
  }
  await needMaintenance(home.redis, batchId, ['callbacks']);
  const isThere = await changeDefinition(home.redis, batchId, (definition) => ({
    ...definition,
    on: { ...definition.on, [event]: [...(definition.on[event] ?? []), { ...callback, late: true }] },
  }));
  if (!isThere) {
    throw new BatchNotFoundError(batchId);
  }
  // Again, and for good: a sweep that read the batch before it had the callback may have found nothing to do.
  await needMaintenance(home.redis, batchId, ['callbacks', ...needsOf([event], undefined)]);
  if (event === 'death') {
    await watchChildren(home, batchId);
  }
  await enqueueDue(home, batchId, event);
}

/** Children that were created before their parent waited for a first failure are to tell it too. */
async function watchChildren(home: Home, batchId: string): Promise<void> {
  for await (const child of outstandingChildren(home.redis, batchId)) {
    await needMaintenance(home.redis, child, ['death']);
    await watchChildren(home, child);
  }
}
