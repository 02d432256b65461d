import { noteDeath } from '../redis/needs.js';
import { readSnapshot, type Snapshot } from '../redis/snapshot.js';
import { enqueueDue } from './enqueue.js';
import type { Home } from './home.js';

/**
 * Tells a first failure to the callbacks of a batch and of all batches above it. From the top down: a batch that is noted
 * as dead has told everybody, whoever is killed in between.
 */
export async function announceDeath(home: Home, batchId: string): Promise<void> {
  // A batch that was removed by hand, and created again below its own child, is met twice.
  const line = new Map<string, { readonly hasCallbacks: boolean }>();
  for (let id: string | undefined = batchId; id !== undefined && !line.has(id); ) {
    const snapshot: Snapshot | undefined = await readSnapshot(home.redis, id);
    line.set(id, { hasCallbacks: snapshot?.definition.on.death !== undefined });
    id = snapshot?.definition.parentId;
  }
  for (const [id, noted] of [...line].reverse()) {
    await noteDeath(home.redis, id, noted);
    await enqueueDue(home, id, 'death');
  }
}
