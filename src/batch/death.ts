import { readSnapshot, type Snapshot, searchFailures } from '../redis/snapshot.js';
import { noteDeath } from '../redis/watched.js';
import { enqueueDue } from './enqueue.js';
import type { Home } from './home.js';

/**
 * Tells a first failure to the callbacks of a batch and of all batches above it. From the top down: a batch that is noted
 * as dead has told everybody, whoever is killed in between.
 */
export async function announceDeath(home: Home, batchId: string): Promise<void> {
  for (const { definition } of await deadLine(home, batchId)) {
    await noteDeath(home.redis, definition.id);
    await enqueueDue(home, definition.id, 'death');
  }
}

/** How deep batches may be nested before the line is taken for a circle, which can be made by hand. */
const DEEPEST = 1000;

/** The batch and those above it, the topmost first; none when only jobs have failed that are no members. */
async function deadLine(home: Home, batchId: string): Promise<Snapshot[]> {
  const first = await readSnapshot(home.redis, batchId);
  if (first === undefined) {
    return [];
  }
  await searchFailures(home.redis, first.definition);
  const batch = await readSnapshot(home.redis, batchId);
  if (batch === undefined || batch.deaths === 0) {
    return [];
  }
  const line = [batch];
  for (let above = batch.definition.parentId; above !== undefined && line.length < DEEPEST; ) {
    const parent = await readSnapshot(home.redis, above);
    if (parent === undefined) {
      break;
    }
    line.unshift(parent);
    above = parent.definition.parentId;
  }
  return line;
}
