import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_NOW, LUA_WAKE, script } from './script.js';

/**
 * Records that everything has been added and lets the batch job go, in one step: there is no instant at which a killed
 * producer leaves a sealed batch that nobody wakes. Sealing again changes nothing, but wakes a batch job that a BatchWorker
 * put back to 'delayed' between the two.
 *
 * KEYS: batch job. ARGV: batch id, key prefix of the batches queue.
 * Returns 1, or 0 without a batch.
 */
const SEAL = script(
  'seal',
  1,
  `${LUA_NOW}${LUA_WAKE}
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSETNX', KEYS[1], '${FIELD.sealedAt}', now())
if redis.call('ZSCORE', ARGV[2] .. 'delayed', ARGV[1]) then
  wake(ARGV[2], KEYS[1], ARGV[1])
end
return 1`,
);

/** Seals a batch; false when there is none. */
export async function sealBatch(redis: BatchRedis, batchId: string): Promise<boolean> {
  const { job } = batchKeys(redis.prefix, batchId);
  return (await redis.run(SEAL, [job, batchId, batchesKey(redis.prefix, '')])) === 1;
}
