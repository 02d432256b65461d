import type { BatchRedis } from './batch-redis.js';
import type { BatchDefinition } from './definition.js';
import { batchKeys, FIELD } from './keys.js';
import { LUA_KEEP_DEFINITION, script } from './script.js';

/** KEYS: batch job. Returns the definition, as it is stored, or nil; also of a batch that is being removed. */
const READ_DEFINITION = script(
  'readDefinition',
  1,
  `return redis.call('HGET', KEYS[1], '${FIELD.definition}') or redis.call('HGET', KEYS[1], 'data')`,
);

/** KEYS: batch job. */
const KEEP_DEFINITION = script(
  'keepDefinition',
  1,
  `${LUA_KEEP_DEFINITION}
if redis.call('EXISTS', KEYS[1]) == 1 then
  keepDefinition(KEYS[1])
end`,
);

/** For a batch that was just created: nothing may be added to it for hours, in which people can edit its job's data. */
export async function keepDefinition(redis: BatchRedis, batchId: string): Promise<void> {
  await redis.run(KEEP_DEFINITION, [batchKeys(redis, batchId).job]);
}

/**
 * KEYS: batch job. ARGV: the definition that was read, the new one; people see it in the job's data.
 * Returns 1, 0 when it has changed since, -1 when the batch is gone.
 */
const REPLACE_DEFINITION = script(
  'replaceDefinition',
  1,
  `${LUA_KEEP_DEFINITION}
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], '${FIELD.removal}') == 1 then
  return -1
end
keepDefinition(KEYS[1])
if redis.call('HGET', KEYS[1], '${FIELD.definition}') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], '${FIELD.definition}', ARGV[2], 'data', ARGV[2])
return 1`,
);

/** What a batch is, also when it is being removed; undefined when it is gone, or no batch. */
export async function readDefinition(redis: BatchRedis, batchId: string): Promise<BatchDefinition | undefined> {
  const stored = (await redis.run(READ_DEFINITION, [batchKeys(redis, batchId).job])) as string | null;
  const definition: Partial<BatchDefinition> | null = stored === null ? null : JSON.parse(stored);
  return definition?.id === batchId ? (definition as BatchDefinition) : undefined;
}

/** Changes what a batch is, without losing what somebody else changes at the same time; false without a batch. */
export async function changeDefinition(
  redis: BatchRedis,
  batchId: string,
  change: (definition: BatchDefinition) => BatchDefinition,
): Promise<boolean> {
  const { job } = batchKeys(redis, batchId);
  for (;;) {
    const before = (await redis.run(READ_DEFINITION, [job])) as string | null;
    if (before === null) {
      return false;
    }
    const after = JSON.stringify(change(JSON.parse(before)));
    const replaced = await redis.run(REPLACE_DEFINITION, [job, before, after]);
    if (replaced !== 0) {
      return replaced === 1;
    }
  }
}
