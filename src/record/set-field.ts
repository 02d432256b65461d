import type { BatchLife } from './add-members.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD } from './keys.js';
import { LUA_NOW, script } from './script.js';

/**
 * KEYS: batch job. ARGV: nonce, the field, its value or '' for the time. Sets it, if this life of the batch is there.
 */
const SET_FIELD = script(
  'setField',
  1,
  `${LUA_NOW}
if redis.call('HGET', KEYS[1], '${FIELD.nonce}') == ARGV[1] then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] == '' and now() or ARGV[3])
end`,
);

/** Sets a field of this life of a batch; without a value, to the time by Redis's clock. */
export async function setField(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  field: 'registeredAt' | 'searchedForStrangers',
  value: number | '' = '',
): Promise<void> {
  await redis.run(SET_FIELD, [batchKeys(redis, id).job, nonce, FIELD[field], value]);
}
