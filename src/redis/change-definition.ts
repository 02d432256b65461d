import type { BatchRedis } from './batch-redis.js';
import type { BatchDefinition } from './definition.js';
import { batchKeys, FIELD } from './keys.js';
import { script } from './script.js';

/** KEYS: batch job. Returns its data, as it is stored, or nil. */
const READ_DATA = script(
  'readData',
  1,
  `
local batch = redis.call('HMGET', KEYS[1], 'data', '${FIELD.removed}')
return batch[1] and not batch[2] and batch[1] or nil`,
);

/** KEYS: batch job. ARGV: the data that was read, the new data. Returns 1, or 0 when it has changed since. */
const REPLACE_DATA = script(
  'replaceData',
  1,
  `
if redis.call('HGET', KEYS[1], 'data') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'data', ARGV[2])
return 1`,
);

/** Changes what a batch is, without losing what somebody else changes at the same time; false without a batch. */
export async function changeDefinition(
  redis: BatchRedis,
  batchId: string,
  change: (definition: BatchDefinition) => BatchDefinition,
): Promise<boolean> {
  const { job } = batchKeys(redis.prefix, batchId);
  for (;;) {
    const before = (await redis.run(READ_DATA, [job])) as string | null;
    if (before === null) {
      return false;
    }
    const after = JSON.stringify(change(JSON.parse(before)));
    if ((await redis.run(REPLACE_DATA, [job, before, after])) === 1) {
      return true;
    }
  }
}
