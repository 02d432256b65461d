import type { BatchLife } from './add-members.js';
import { amend } from './amend.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD, PLAN_END } from './keys.js';
import { LUA_IS_CLOSED, LUA_NOW, LUA_WAKE, script } from './script.js';
import { LUA_IS_JUDGED, whileJudged } from './while-judged.js';

/**
 * Records the seal and moves the batch job, in one step, so that a killed producer never leaves a sealed batch that
 * nothing wakes: the job waits for the members that are outstanding, without a run of a BatchWorker; with none
 * outstanding, and for a run of a workflow, it is woken. Sealing again changes nothing, but moves a batch job that a
 * BatchWorker has put back to 'delayed' meanwhile.
 *
 * A batch that was abandoned, and that a BatchWorker is just judging, would fail although it was sealed: the caller
 * has to ask again until the BatchWorker has released it. A run that was abandoned ends first: if it went on while
 * stages of it are still ending as skipped, what comes after one of them would start before that has run.
 *
 * Without a nonce nothing is sealed: the script only moves a batch job that was put back to 'delayed', if the batch was
 * sealed, abandoned or cancelled.
 *
 * KEYS: batch job, its dependencies.
 * ARGV: batch id, key prefix of the batches queue, nonce or '', '1' to seal also a batch that is being judged.
 * Returns 'not found' without this life of the batch, 'judged' while it is judged as abandoned, 'being abandoned' for a
 * run until it has failed because of that, 'to be revived' for a batch that has failed without a seal, as only an
 * abandoned one does, otherwise 'sealed'.
 */
const SEAL = script(
  'seal',
  2,
  `${LUA_NOW}${LUA_WAKE}${LUA_IS_CLOSED}${LUA_IS_JUDGED}
local nonce, isRemoved, roots, sealedAt, abandonedAt, cancelledAt, startedAt = unpack(redis.call('HMGET', KEYS[1],
  '${FIELD.nonce}', '${FIELD.removal}', '${FIELD.roots}', '${FIELD.sealedAt}', '${FIELD.abandonedAt}',
  '${FIELD.cancelledAt}', '${FIELD.startedAt}'))
local isSealing = ARGV[3] ~= ''
if isRemoved or not nonce or isSealing and ARGV[3] ~= nonce then
  return 'not found'
end
if isSealing and ARGV[4] ~= '1' and isJudged(KEYS[1], sealedAt) then
  return 'judged'
end
local hasFailed = redis.call('ZSCORE', ARGV[2] .. 'failed', ARGV[1])
if isSealing and roots and abandonedAt and not sealedAt and not cancelledAt and not hasFailed then
  return 'being abandoned'
end
if isSealing then
  redis.call('HSETNX', KEYS[1], '${FIELD.sealedAt}', now())
  redis.call('HDEL', KEYS[1], '${FIELD.abandonedAt}')
  if startedAt then
    -- All members of this stage were added: it needs its plan no more.
    redis.call('UNLINK', KEYS[1] .. '${PLAN_END}')
  end
end
if isSealing and not roots and redis.call('SCARD', KEYS[2]) > 0 then
  waitForMembers(ARGV[2], KEYS[1], ARGV[1])
elseif isClosed(KEYS[1]) and redis.call('ZSCORE', ARGV[2] .. 'delayed', ARGV[1]) then
  wake(ARGV[2], KEYS[1], ARGV[1])
end
local isToBeRevived = hasFailed and (abandonedAt or not sealedAt and not cancelledAt)
return isToBeRevived and 'to be revived' or 'sealed'`,
);

export type Sealed = 'not found' | 'sealed' | 'to be revived' | 'being abandoned';

/** Seals a batch; waits, for half a minute at most, while a BatchWorker judges it as abandoned, or ends such a run. */
export async function sealBatch(redis: BatchRedis, { id, nonce }: BatchLife): Promise<Sealed> {
  const { job, dependencies } = batchKeys(redis, id);
  const reply = await whileJudged(
    (mayWait) => redis.run(SEAL, [job, dependencies, id, batchesKey(redis, ''), nonce, mayWait ? '' : '1']),
    (answer) => answer === 'judged' || answer === 'being abandoned',
  );
  return reply as Sealed;
}

/**
 * Wakes a batch job that was put back to 'delayed' as that of an open batch, if the batch is closed by now. The script
 * that closed it could not do so while a BatchWorker held the batch job.
 */
export async function wakeIfClosed(redis: BatchRedis, batchId: string): Promise<void> {
  const { job, dependencies } = batchKeys(redis, batchId);
  await redis.run(SEAL, [job, dependencies, batchId, batchesKey(redis, ''), '']);
}

/** Gives a sign of life of an open batch's producer, although it adds nothing at the moment. */
export async function touchBatch(redis: BatchRedis, { id, nonce }: BatchLife): Promise<void> {
  await amend(redis, { id, nonce, time: FIELD.registeredAt });
}
