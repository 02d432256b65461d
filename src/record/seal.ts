import type { BatchLife } from './add-members.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_IS_CLOSED, LUA_NOW, LUA_WAKE, script } from './script.js';
import { setField } from './set-field.js';

/**
 * Records the seal, and lets the batch job wait for the members or, when none is outstanding or it is a run's, run, in
 * one step, so that a killed producer never leaves a sealed batch that nothing wakes. Sealing again changes nothing,
 * except that it does so with a batch job that a BatchWorker has put back to 'delayed' meanwhile.
 *
 * KEYS: batch job, its dependencies. ARGV: batch id, key prefix of the batches queue, nonce.
 * Returns 0 without this life of the batch, 2 for one that was abandoned and has failed for it, otherwise 1.
 */
const SEAL = script(
  'seal',
  2,
  `${LUA_NOW}${LUA_WAKE}
if redis.call('HGET', KEYS[1], '${FIELD.nonce}') ~= ARGV[3]
  or redis.call('HEXISTS', KEYS[1], '${FIELD.removal}') == 1 then
  return 0
end
redis.call('HSETNX', KEYS[1], '${FIELD.sealedAt}', now())
local wasAbandoned = redis.call('HDEL', KEYS[1], '${FIELD.abandonedAt}') == 1
if redis.call('SCARD', KEYS[2]) > 0 and redis.call('HEXISTS', KEYS[1], '${FIELD.roots}') == 0 then
  waitForMembers(ARGV[2], KEYS[1], ARGV[1])
elseif redis.call('ZSCORE', ARGV[2] .. 'delayed', ARGV[1]) then
  wake(ARGV[2], KEYS[1], ARGV[1])
end
return wasAbandoned and redis.call('ZSCORE', ARGV[2] .. 'failed', ARGV[1]) and 2 or 1`,
);

export type Sealed = 'not found' | 'sealed' | 'to be revived';

export async function sealBatch(redis: BatchRedis, { id, nonce }: BatchLife): Promise<Sealed> {
  const { job, dependencies } = batchKeys(redis, id);
  const reply = await redis.run(SEAL, [job, dependencies, id, batchesKey(redis, ''), nonce]);
  return reply === 0 ? 'not found' : reply === 2 ? 'to be revived' : 'sealed';
}

/**
 * Wakes the batch job if its batch was sealed, abandoned or cancelled: the script that did so while a BatchWorker held
 * the batch job could not wake it.
 *
 * KEYS: batch job. ARGV: batch id, key prefix of the batches queue.
 */
const WAKE_IF_CLOSED = script(
  'wakeIfClosed',
  1,
  `${LUA_WAKE}${LUA_IS_CLOSED}
if isClosed(KEYS[1]) then
  wake(ARGV[2], KEYS[1], ARGV[1])
end`,
);

/** Wakes a batch job that was put back to 'delayed' as that of an open batch, if the batch is closed by now. */
export async function wakeIfClosed(redis: BatchRedis, batchId: string): Promise<void> {
  await redis.run(WAKE_IF_CLOSED, [batchKeys(redis, batchId).job, batchId, batchesKey(redis, '')]);
}

/** Gives a sign of life of an open batch's producer, although it adds nothing at the moment. */
export async function touchBatch(redis: BatchRedis, { id, nonce }: BatchLife): Promise<void> {
  await setField(redis, { id, nonce }, 'registeredAt');
}
