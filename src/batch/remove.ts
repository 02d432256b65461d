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
 * Continues a removal whose caller has died, for a bounded number of commands. The mark in the batch says what else is
 * to be removed with it. For maintenance.
 *
 * @returns `done` when nothing is left, also when nothing was there; `more` when there is something for the next turn;
 * `held` when a living process removes the batch; `not removed` for a batch that is not being removed.
 */
export async function continueRemoval(context: BatchContext, batchId: string): Promise<TurnOutcome | 'not removed'> {
  return turnOf(await new Remover(context, SLICES_PER_TURN).remove(batchId, { how: 'continue' })) ?? 'not removed';
}

/**
 * Removes a batch whose time to be kept has passed, or continues its removal, for a bounded number of commands. The
 * script that marks the batch judges whether the time has passed. For maintenance.
 *
 * @returns as `continueRemoval`; `kept` when the batch stays for now.
 */
export async function expireBatch(context: BatchContext, batchId: string): Promise<TurnOutcome | 'kept'> {
  return turnOf(await new Remover(context, SLICES_PER_TURN).remove(batchId, { how: 'expire' })) ?? 'kept';
}

/** The outcome of a turn of maintenance. */
type TurnOutcome = 'done' | 'more' | 'held';

/** Returns the outcome of a turn; undefined for a batch that is not being removed. */
function turnOf(removed: Removed): TurnOutcome | undefined {
  switch (removed) {
    case 'done':
    case 'more':
    case 'held':
      return removed;
    case 'not found':
      return 'done';
    default:
      return undefined;
  }
}
