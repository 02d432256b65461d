import { BatchError, BatchNotFoundError } from '../errors.js';
import { type BatchDefinition, callbacksOf } from '../redis/definition.js';
import { BATCHES_QUEUE, memberName } from '../redis/keys.js';
import { forgetMembers, markRemoved } from '../redis/purge.js';
import { settledPage } from '../redis/settled.js';
import type { Home } from './home.js';

const PAGE_SIZE = 500;

/**
 * Removes a finished batch, its child batches and the jobs of its callbacks, a slice at a time: BullMQ's own removal would
 * take everything in one command. Only what is done already is forgotten, so it can be cut short at any point and repeated.
 */
export async function removeIfFinished(
  home: Home,
  batchId: string,
  { members }: { readonly members: boolean },
): Promise<'marked' | 'not found' | 'not finished'> {
  const marked = await markRemoved(home.redis, batchId);
  if (marked === 'marked') {
    await purge(home, batchId, members);
  }
  return marked;
}

/** The same, for a caller who means this batch. */
export async function removeBatch(home: Home, batchId: string, options: { readonly members: boolean }): Promise<void> {
  const marked = await removeIfFinished(home, batchId, options);
  if (marked === 'not found') {
    throw new BatchNotFoundError(batchId);
  }
  if (marked === 'not finished') {
    throw new BatchError(`Batch '${batchId}' has not finished: wait for it with waitUntilFinished(), then remove it.`, {
      batchId,
    });
  }
}

async function purge(home: Home, batchId: string, members: boolean): Promise<void> {
  const job = await home.batches.getJob(batchId);
  if (job === undefined) {
    return;
  }
  for (const which of ['processed', 'failed'] as const) {
    for (;;) {
      const page = await settledPage(home.redis, batchId, { which, cursor: '0', count: PAGE_SIZE, withData: false });
      const keys = page.members.map(({ key }) => key);
      for (const key of keys) {
        await removeMember(home, key, members);
      }
      if (keys.length > 0) {
        await forgetMembers(home.redis, batchId, which, keys);
      }
      if (page.cursor === '0') {
        break;
      }
    }
  }
  for (const { callback, jobId } of callbacksOf(batchId, job.data as BatchDefinition)) {
    await home.queueNamed(callback.queue).removeJob(jobId);
  }
  await home.batches.remove(batchId, { removeChildren: false });
}

async function removeMember(home: Home, key: string, members: boolean): Promise<void> {
  const { queue, id } = memberName(home.redis.prefix, key);
  if (queue === BATCHES_QUEUE) {
    await markRemoved(home.redis, id);
    await purge(home, id, members);
  } else if (members) {
    await home.queueNamed(queue).removeJob(id);
  }
}
