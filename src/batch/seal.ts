import { BatchError } from '../errors.js';
import type { BatchLife } from '../record/add-members.js';
import { sealBatch } from '../record/seal.js';
import type { BatchContext } from './batch-context.js';
import { revive } from './retry.js';

/**
 * Seals a batch; one that has failed because it was abandoned runs again.
 *
 * @returns false when this life of the batch is gone.
 * @throws BatchError for a run of a workflow that was abandoned, if no BatchWorker ends it.
 */
export async function sealAndRevive(context: BatchContext, batch: BatchLife): Promise<boolean> {
  const sealed = await sealBatch(context.redis, batch);
  switch (sealed) {
    case 'being abandoned':
      throw new BatchError(
        `Run '${batch.id}' was abandoned, and its stages are still being skipped: try again when it has failed. Is a ` +
          'BatchWorker running?',
        { batchId: batch.id },
      );
    case 'to be revived':
      await revive(context, batch.id);
  }
  return sealed !== 'not found';
}
