import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_KEEP_DEFINITION, LUA_NOW, LUA_WAKE, script } from './script.js';

/**
 * Records that everything has been added and lets the batch job go, in one step: there is no instant at which a killed
 * producer leaves a sealed batch that nobody wakes. Sealing again changes nothing, but wakes a batch job that a BatchWorker
 * put back to 'delayed' between the two.
 *
 * KEYS: batch job. ARGV: batch id, key prefix of the batches queue.
 * Returns 0 without a batch, 2 for one that was abandoned and has failed for it, otherwise 1.
 */
const SEAL = script(
  'seal',
  1,
  `${LUA_NOW}${LUA_WAKE}${LUA_KEEP_DEFINITION}
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
keepDefinition(KEYS[1])
redis.call('HSETNX', KEYS[1], '${FIELD.sealedAt}', now())
local wasAbandoned = redis.call('HDEL', KEYS[1], '${FIELD.abandonedAt}') == 1
if redis.call('ZSCORE', ARGV[2] .. 'delayed', ARGV[1]) then
  wake(ARGV[2], KEYS[1], ARGV[1])
end
return wasAbandoned and redis.call('ZSCORE', ARGV[2] .. 'failed', ARGV[1]) and 2 or 1`,
);

export type Sealed = 'not found' | 'sealed' | 'to be revived';

export async function sealBatch(redis: BatchRedis, batchId: string): Promise<Sealed> {
  const { job } = batchKeys(redis, batchId);
  const reply = await redis.run(SEAL, [job, batchId, batchesKey(redis, '')]);
  return reply === 0 ? 'not found' : reply === 2 ? 'to be revived' : 'sealed';
}

/** KEYS: batch job. A sign of life, if the batch is there. */
const TOUCH = script(
  'touch',
  1,
  `${LUA_NOW}
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], '${FIELD.registeredAt}', now())
end`,
);

/** Tells an open batch that its producer lives, though it adds nothing at the moment. */
export async function touchBatch(redis: BatchRedis, batchId: string): Promise<void> {
  await redis.run(TOUCH, [batchKeys(redis, batchId).job]);
}
