import type { BatchLife } from './add-members.js';
import { amend } from './amend.js';
import type { BatchRedis } from './batch-redis.js';
import { FIELD } from './keys.js';

/** Sets a field of this life of a batch. */
export async function setField(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  field: 'searchedForStrangers',
  value: number,
): Promise<void> {
  await amend(redis, { id, nonce, set: { [FIELD[field]]: String(value) } });
}
