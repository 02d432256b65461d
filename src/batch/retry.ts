import type { Job } from 'bullmq';
import { BatchError, BatchNotFoundError } from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import { needMaintenance } from '../record/amend.js';
import { claimRetry, unclaimRetry } from '../record/climb.js';
import { lookAtFailed, type Retriable, reopenFlow } from '../record/failed-jobs.js';
import { failedBelow } from '../record/flow.js';
import { memberName } from '../record/keys.js';
import { memberPages } from '../record/member-pages.js';
import { orOutOfMemory } from '../record/out-of-memory.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import { newNonce } from './ids.js';
import { newJob } from './member-jobs.js';

const PAGE_SIZE = 200;

/**
 * Runs the failed members and callbacks of a batch again, then the batch job itself, then those of its ancestors: each
 * level goes back into its parent's dependencies before the parent is asked to run. A process that is killed in between
 * leaves a failed batch with dependencies, which maintenance lets run again.
 *
 * Neither the batch nor one above it expires meanwhile. If one is removed by force, or was gone before, its members may
 * run again, but nothing will call back: the caller has to know.
 *
 * @throws BatchNotFoundError when this life of the batch is gone in the end.
 */
export async function retryFailed(
  context: BatchContext,
  batchId: string,
  { nonce, parentId }: Pick<BatchDefinition, 'nonce' | 'parentId'>,
): Promise<number> {
  const claim = { batchId, nonce, token: newNonce() };
  const renew = async () => {
    if (!(await claimRetry(context.redis, claim))) {
      throw new BatchNotFoundError(batchId);
    }
  };
  await renew();
  const stuck: StuckFlow[] = [];
  const retried = await retryMembers(context, batchId, { renew, stuck });
  await revive(context, batchId);
  for (
    let above = parentId;
    above !== undefined;
    above = (await readSnapshot(context.redis, above))?.definition.parentId
  ) {
    await revive(context, above);
  }
  if (!(await unclaimRetry(context.redis, claim))) {
    throw new BatchNotFoundError(batchId);
  }
  refuseStuck(batchId, retried, stuck);
  return retried;
}

/** A failed job of a flow that cannot run again, because the job below it that made it fail was removed. */
interface StuckFlow {
  readonly key: string;
  readonly removed: string;
}

/**
 * What a retry carries through the tree: the claim that keeps batches from expiring, and the flows that could not be
 * retried.
 */
interface Retry {
  renew(): Promise<void>;
  readonly stuck: StuckFlow[];
}

/** Throws when nothing runs again for a reason that the caller can change. */
function refuseStuck(batchId: string, retried: number, [first, ...others]: readonly StuckFlow[]): void {
  if (retried === 0 && first !== undefined) {
    const more = others.length === 0 ? '' : ` The same goes for ${others.length} more.`;
    throw new BatchError(
      `Nothing of batch '${batchId}' can run again: the job '${first.key}' failed because of '${first.removed}' ` +
        `below it in its flow, which has been removed since.${more} Add the flow again, to a new batch.`,
      { batchId },
    );
  }
}

async function retryMembers(context: BatchContext, batchId: string, retry: Retry): Promise<number> {
  let retried = 0;
  const failed = memberPages(context.redis, batchId, { which: 'failed', count: PAGE_SIZE, withData: false });
  for await (const members of failed) {
    const keys = members.map(({ key }) => key);
    const found = await lookAtFailed(context.redis, keys);
    const runAgain = await Promise.all(keys.map((key, i) => retryMember(context, key, found[i] ?? '', retry)));
    retried += runAgain.reduce((sum, count) => sum + count, 0);
    await retry.renew();
  }
  return retried;
}

/** Retries a member; returns how many jobs run again by it. */
async function retryMember(context: BatchContext, key: string, found: Retriable, retry: Retry): Promise<number> {
  const { queue, id } = memberName(context.redis.prefix, key);
  if (queue === context.batches.name) {
    if ((await readSnapshot(context.redis, id))?.cancelledAt !== undefined) {
      return 0;
    }
    const retried = await retryMembers(context, id, retry);
    await revive(context, id);
    return retried;
  }
  return found === 'flow' ? retryFlow(context, key, retry.stuck) : retryFailedJob(context, key, found);
}

/**
 * Retries a job of a flow. The jobs below that made it fail run again first, and it waits for them. The order is
 * bottom-up, so that a job that was left failed half-way has what it needs when it is retried later.
 */
async function retryFlow(context: BatchContext, key: string, stuck: StuckFlow[]): Promise<number> {
  let retried = 0;
  for (const below of await failedBelow(context.redis, key)) {
    const { queue, id } = memberName(context.redis.prefix, below);
    if ((await context.queueNamed(queue).queueJob(id)) === undefined) {
      stuck.push({ key, removed: below });
    }
    retried += await retryFlow(context, below, stuck);
  }
  const found = await reopenFlow(context.redis, key);
  // 'flow': the jobs below have failed again already, and so has this job.
  return retried + (found === 'reopened' ? 1 : await retryFailedJob(context, key, found));
}

/** Lets a job run again of which Redis has said that it has failed; returns how many run again. */
async function retryFailedJob(context: BatchContext, key: string, found: Retriable): Promise<number> {
  if (found !== 'failed' && found !== 'failed lifo') {
    return 0;
  }
  const { queue, id } = memberName(context.redis.prefix, key);
  // Only its id and this option matter: the job itself need not be read.
  const job = newJob(context.queueNamed(queue), '', undefined, { jobId: id, lifo: found === 'failed lifo' });
  return (await runAgain(job)) ? 1 : 0;
}

/** Lets a failed batch run again: it waits for what is outstanding now, and is judged anew. */
export async function revive(context: BatchContext, batchId: string): Promise<void> {
  const job = await context.batches.getJob(batchId);
  if (job !== undefined) {
    if (await job.isFailed()) {
      // The log is for people: an error there must not keep the batch from going on.
      await job.log(`${new Date().toISOString()} retried`).catch(() => {});
      await runAgain(job);
    }
    await needMaintenance(context.redis, batchId);
  }
}

/**
 * Lets a failed job run again; returns whether it does. BullMQ refuses a job that has not failed: it may run again
 * already, because the reply to this command was lost, or because another process was faster.
 */
async function runAgain(job: Job, tries = 3): Promise<boolean> {
  try {
    await job.retry('failed', { resetAttemptsMade: true });
    return true;
  } catch (error) {
    const state = await job.getState();
    if (state !== 'failed') {
      return state !== 'unknown';
    }
    if (tries === 1) {
      throw orOutOfMemory(error);
    }
    // It ran when it was refused, and has failed since.
    return runAgain(job, tries - 1);
  }
}
