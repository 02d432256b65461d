import { readSnapshot } from '../redis/snapshot.js';
import { noteDeath } from '../redis/watched.js';
import { enqueueDue } from './enqueue.js';
import type { Home } from './home.js';

/**
 * Tells a first failure to the callbacks of a batch and of all batches above it. From the top down: a batch that is noted
 * as dead has told everybody, whoever is killed in between.
 */
export async function announceDeath(home: Home, batchId: string): Promise<void> {
  const line = [batchId];
  for (let above = await parentOf(home, batchId); above !== undefined; above = await parentOf(home, above)) {
    line.unshift(above);
  }
  for (const id of line) {
    await noteDeath(home.redis, id);
    await enqueueDue(home, id, 'death');
  }
}

async function parentOf(home: Home, batchId: string): Promise<string | undefined> {
  return (await readSnapshot(home.redis, batchId))?.definition.parentId;
}
