import { BatchError, BatchNotFoundError } from '../errors.js';
import { type BatchLife, isBatchThere } from '../record/add-members.js';
import type { Extent } from '../record/removal.js';
import { removeDropped } from './cancel.js';
import type { Home } from './home.js';
import { type Removed, Remover } from './remover.js';

/** How many commands maintenance spends on one batch before it turns to the next. */
const SLICES_PER_TURN = 25;

/**
 * Removes a batch with its child batches and the jobs of its callbacks. Resolves when nothing is left, whoever has
 * removed it: another call may have been faster, and the reply to a command of this one may have been lost.
 */
export async function removeBatch(home: Home, { id: batchId, nonce }: BatchLife, extent: Extent): Promise<void> {
  if (!(await isBatchThere(home.redis, { id: batchId, nonce }))) {
    throw new BatchNotFoundError(batchId);
  }
  const remover = new Remover(home);
  const removed = await remover.remove(batchId, { how: 'remove', nonce, extent });
  if (removed === 'not finished') {
    throw new BatchError(
      `Batch '${batchId}' has not finished: wait for it with waitUntilFinished(), or pass { force: true } to cancel ` +
        'it first.',
      { batchId },
    );
  }
  if (remover.hasDropped) {
    await removeDropped(home);
  }
}

/**
 * For maintenance: goes on with a removal whose caller has died, to the extent that stands in its mark, for a bounded
 * number of commands.
 *
 * @returns `done` when nothing is left, also when nothing was; `more` when there is something for the next turn; `held`
 * when an actor that is alive removes it; `not removed` for any other batch.
 */
export async function continueRemoval(
  home: Home,
  batchId: string,
  { slices = SLICES_PER_TURN }: { readonly slices?: number } = {},
): Promise<Turn | 'not removed'> {
  return turnOf(await new Remover(home, slices).remove(batchId, { how: 'continue' })) ?? 'not removed';
}

/**
 * For maintenance: removes a batch that has had its time, or goes on with its removal, for a bounded number of
 * commands. That it has had its time is judged by the script that marks it.
 *
 * @returns as `continueRemoval`; `kept` when it stays, for now.
 */
export async function expireBatch(
  home: Home,
  batchId: string,
  { slices = SLICES_PER_TURN }: { readonly slices?: number } = {},
): Promise<Turn | 'kept'> {
  return turnOf(await new Remover(home, slices).remove(batchId, { how: 'expire' })) ?? 'kept';
}

/** What a turn of maintenance has come to. */
type Turn = 'done' | 'more' | 'held';

/** Undefined for a batch that is not being removed. */
function turnOf(removed: Removed): Turn | undefined {
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
