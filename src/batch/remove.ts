import { BatchError, BatchNotFoundError } from '../errors.js';
import { type BatchLife, isBatchThere } from '../record/add-members.js';
import type { Extent } from '../record/removal.js';
import type { BatchContext } from './batch-context.js';
import { removeDropped } from './cancel.js';
import { explain } from './explain.js';
import { type Removed, Remover } from './remover.js';
import { firstReason } from './wait.js';

/** How many commands maintenance sends for one batch before it turns to the next. */
const SLICES_PER_TURN = 25;

/**
 * Removes a batch with its child batches and the jobs of its callbacks. Resolves when nothing is left, also when
 * another call has removed it, or when the reply to one of its own commands was lost.
 */
export async function removeBatch(
  context: BatchContext,
  { id: batchId, nonce }: BatchLife,
  extent: Extent,
): Promise<void> {
  if (!(await isBatchThere(context.redis, { id: batchId, nonce }))) {
    throw new BatchNotFoundError(batchId);
  }
  const remover = new Remover(context);
  const removed = await remover.remove(batchId, { how: 'remove', nonce, extent });
  if (removed === 'not finished') {
    const reason = await firstReason({ explain: () => explain(context, batchId) });
    throw new BatchError(
      `Batch '${batchId}' has not finished: wait for it with waitUntilFinished(), or pass { force: true } to cancel ` +
        `it first.${reason === undefined ? '' : ` ${reason}`}`,
      { batchId },
    );
  }
  if (remover.hasDropped) {
    await removeDropped(context);
  }
}

/**
 * Removes a batch whose time to be kept has passed ('expire'), or continues a removal whose caller has died, with a
 * bounded number of commands. The script that marks the batch judges whether its time has passed; the mark says what
 * else is to be removed with it. For maintenance.
 */
export function removeInTurn(context: BatchContext, batchId: string, how: 'continue' | 'expire'): Promise<Removed> {
  return new Remover(context, SLICES_PER_TURN).remove(batchId, { how });
}
