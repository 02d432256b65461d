import { setTimeout as pause } from 'node:timers/promises';
import { BatchError, BatchNotFoundError } from '../errors.js';
import { readDefinition } from '../redis/change-definition.js';
import { outstandingChildren } from '../redis/children.js';
import { callbacksOf } from '../redis/definition.js';
import { memberName } from '../redis/keys.js';
import { forgetMembers, markRemoved } from '../redis/purge.js';
import { settledPages } from '../redis/settled.js';
import { cancelIfPending } from './cancel.js';
import type { Home } from './home.js';

const PAGE_SIZE = 500;

/** How often, and how long, to try while a BatchWorker holds the batch job; it lets go as soon as it looks at it. */
const TRIES = 100;
const BETWEEN_TRIES_MS = 100;

interface Extent {
  /** The members' jobs too. */
  readonly members: boolean;
  /** Also an unfinished batch. */
  readonly force: boolean;
}

/**
 * Removes a finished batch, its child batches and the jobs of its callbacks, a slice at a time: BullMQ's own removal would
 * take everything in one command. Only what is done already is forgotten, so it can be cut short at any point and repeated.
 */
export async function removeIfFinished(
  home: Home,
  batchId: string,
  extent: Extent,
): Promise<'marked' | 'not found' | 'not finished'> {
  const marked = await markRemoved(home.redis, batchId, extent);
  if (marked === 'marked') {
    await purge(home, batchId, extent);
  }
  return marked;
}

/** The same, for a caller who means this batch. */
export async function removeBatch(home: Home, batchId: string, extent: Extent): Promise<void> {
  if (extent.force) {
    await cancelIfPending(home, batchId, { reason: 'removed', again: true });
  }
  const marked = await removeIfFinished(home, batchId, extent);
  if (marked === 'not found') {
    throw new BatchNotFoundError(batchId);
  }
  if (marked === 'not finished') {
    throw new BatchError(
      `Batch '${batchId}' has not finished: wait for it with waitUntilFinished(), or pass { force: true } to cancel it first.`,
      { batchId },
    );
  }
}

/** Goes on with a removal that was cut short. */
export async function finishRemoval(home: Home, batchId: string): Promise<void> {
  await purge(home, batchId, { members: false, force: true });
}

async function purge(home: Home, batchId: string, extent: Extent): Promise<void> {
  const definition = await readDefinition(home.redis, batchId);
  if (definition === undefined) {
    return;
  }
  for (const which of ['processed', 'failed'] as const) {
    for await (const members of settledPages(home.redis, batchId, { which, count: PAGE_SIZE, withData: false })) {
      const keys = members.map(({ key }) => key);
      for (const key of keys) {
        await removeMember(home, key, extent);
      }
      if (keys.length > 0) {
        await forgetMembers(home.redis, batchId, which, keys);
      }
    }
  }
  if (extent.force) {
    for await (const child of outstandingChildren(home.redis, batchId)) {
      await removeIfFinished(home, child, extent);
    }
  }
  for (const { callback, jobId } of callbacksOf(batchId, definition)) {
    await home.queueNamed(callback.queue).removeJob(jobId);
  }
  await removeBatchJob(home, batchId);
}

async function removeBatchJob(home: Home, batchId: string): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    if ((await home.batches.remove(batchId, { removeChildren: false })) !== 0) {
      return;
    }
    await pause(BETWEEN_TRIES_MS);
  }
  throw new BatchError(`Batch '${batchId}' is being worked on: remove it again.`, { batchId });
}

async function removeMember(home: Home, key: string, extent: Extent): Promise<void> {
  const { queue, id } = memberName(home.redis.prefix, key);
  if (queue === home.batches.name) {
    await removeIfFinished(home, id, { ...extent, force: true });
  } else if (extent.members) {
    await home.queueNamed(queue).removeJob(id);
  }
}
