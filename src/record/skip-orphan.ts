import { isClosed } from '../model/rules.js';
import { stageId } from '../model/workflow.js';
import { amend } from './amend.js';
import type { BatchRedis } from './batch-redis.js';
import { readDefinition } from './change-definition.js';
import { batchKeys, FIELD } from './keys.js';
import { wakeIfClosed } from './seal.js';
import { readSnapshot } from './snapshot.js';
import { NEVER_RULE } from './take-back.js';

/**
 * Skips a waiting stage if one of those that it comes after is gone: removed by hand, it has reported no outcome, and
 * is missing in the run. A run that is closed has had all of its stages, and none of them comes back. If the process
 * dies before the last command, maintenance wakes the batch job, as that of any closed batch.
 *
 * @returns whether it was skipped.
 */
export async function skipOrphan(redis: BatchRedis, id: string): Promise<boolean> {
  const { nonce, parentId = '', stage } = (await readDefinition(redis, id)) ?? {};
  const run = await readSnapshot(redis, parentId);
  if (nonce === undefined || stage === undefined || run === undefined || !isClosed(run)) {
    return false;
  }
  const gone = await Promise.all(stage.after.map((name) => isGone(redis, stageId(parentId, name), parentId)));
  const expect = { [FIELD.startedAt]: '', [FIELD.cancelledAt]: '', [FIELD.skippedAt]: '' };
  const set = { [FIELD.when]: NEVER_RULE };
  const skip = { id, nonce, expect, set, time: FIELD.sealedAt, timeOnce: FIELD.skippedAt };
  if (!gone.includes(true) || (await amend(redis, skip)) !== 'done') {
    return false;
  }
  await wakeIfClosed(redis, id);
  return true;
}

async function isGone(redis: BatchRedis, id: string, runId: string): Promise<boolean> {
  const { job } = batchKeys(redis, id);
  const { dependencies, processed, failed } = batchKeys(redis, runId);
  const found = await Promise.all([
    // Not EXISTS: BullMQ makes a hash for a job whose data was evicted when a worker takes its id.
    redis.command('HEXISTS', job, FIELD.nonce),
    redis.command('SISMEMBER', dependencies, job),
    redis.command('HEXISTS', processed, job),
    redis.command('HEXISTS', failed, job),
  ]);
  return found.every((count) => count === 0);
}
