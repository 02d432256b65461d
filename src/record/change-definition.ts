import type { BatchDefinition } from '../model/definition.js';
import type { BatchLife } from './add-members.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD, needsKey } from './keys.js';
import { LUA_NEED, type Need } from './needs.js';
import { script } from './script.js';

/**
 * KEYS: batch job, the index of needs. ARGV: batch id, the definition that was read, the new one, which people see in
 *       the job's data, what the batch needs from now on.
 * Returns 1, 0 when it has changed since, -1 when the batch is gone.
 */
const REPLACE_DEFINITION = script(
  'replaceDefinition',
  2,
  `${LUA_NEED}
local definition, removed = unpack(redis.call('HMGET', KEYS[1], '${FIELD.definition}', '${FIELD.removal}'))
if not definition or removed then
  return -1
end
if definition ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], '${FIELD.definition}', ARGV[3], 'data', ARGV[3])
need(KEYS[1], KEYS[2], ARGV[1], ARGV[4])
return 1`,
);

/**
 * Reads the definition of a batch, also of one that is being removed. Returns undefined when there is no such batch.
 */
export async function readDefinition(redis: BatchRedis, batchId: string): Promise<BatchDefinition | undefined> {
  const stored = (await redis.command('HGET', batchKeys(redis, batchId).job, FIELD.definition)) as string | null;
  return stored === null ? undefined : JSON.parse(stored);
}

/**
 * Changes the definition of a batch without losing a change that another process makes at the same time. Returns false
 * when this life of the batch is gone.
 *
 * @param change returns the changed definition; the same one when the change was made already, because a command may be
 * sent again after its reply was lost.
 */
export async function changeDefinition(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  needs: readonly Need[],
  change: (definition: BatchDefinition) => BatchDefinition,
): Promise<boolean> {
  const { job } = batchKeys(redis, id);
  for (;;) {
    const stored = (await redis.command('HGET', job, FIELD.definition)) as string | null;
    const before: BatchDefinition | undefined = stored === null ? undefined : JSON.parse(stored);
    if (stored === null || before?.nonce !== nonce) {
      return false;
    }
    const after = change(before);
    if (after === before) {
      return true;
    }
    const args = [job, needsKey(redis), id, stored, JSON.stringify(after), needs.join(' ')];
    const replaced = await redis.run(REPLACE_DEFINITION, args);
    if (replaced !== 0) {
      return replaced === 1;
    }
  }
}
