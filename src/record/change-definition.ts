import type { BatchDefinition } from '../model/definition.js';
import type { BatchLife } from './add-members.js';
import { amend } from './amend.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD } from './keys.js';
import type { Need } from './needs.js';

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
    const expect = { [FIELD.definition]: stored };
    const amended = await amend(redis, { id, nonce, expect, definition: JSON.stringify(after), need: needs.join(' ') });
    if (amended !== 'changed') {
      return amended === 'done';
    }
  }
}
