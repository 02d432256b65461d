import type { BatchContext } from '../../batch/batch-context.js';
import { BatchError } from '../../errors.js';
import type { Look, Page } from '../../record/look.js';
import { batchesNeeding, indexOf, type NeedAskedFor } from '../../record/needs.js';
import type { Service, Turn } from './service.js';

/** How many pages one slice reads, as long as none of their batches is due. */
const PAGES_PER_SLICE = 5;

/** The cursor of the first page, and the one that the last page returns. */
export const START = '0';

interface RoundOptions<T> extends Pick<Service, 'intervalMs' | 'pace' | 'index'> {
  /** How many batches get a step in one slice; the steps run side by side. */
  readonly atOnce: number;
  /** How many batches a page has. */
  readonly count: number;
  /** Does one bounded step for one batch. */
  attend(batch: T, turn: Turn): Promise<void>;
}

/**
 * Makes a service that reads a list of batches page by page, and does one step for each batch that needs it. `T`
 * identifies the batch, mostly by its id.
 */
export function roundThrough<T>(
  readPage: (page: Page) => Promise<Look<T>>,
  { attend, atOnce, count, ...service }: RoundOptions<T>,
): Service {
  let cursor = START;
  let round = 0;
  let due: readonly T[] = [];

  /** Reads pages until a batch is due, the list ends, or the slice has read enough. */
  async function read(turn: Turn): Promise<void> {
    for (let pages = 0; pages < PAGES_PER_SLICE && !turn.isOver; pages++) {
      round += cursor === START ? 1 : 0;
      const found = await readPage({ cursor, count, round });
      ({ cursor, due } = found);
      reportBroken(found.broken, turn);
      if (due.length > 0 || cursor === START) {
        return;
      }
    }
  }

  return {
    ...service,
    async slice(turn) {
      if (due.length === 0) {
        await read(turn);
      }
      const some = due.slice(0, atOnce);
      due = due.slice(atOnce);
      // An error in one batch must not keep the others waiting; the next round tries it again.
      await Promise.all(some.map((batch) => attend(batch, turn).catch((error) => turn.report(error))));
      return due.length === 0 && cursor === START;
    },
    reset() {
      due = [];
    },
  };
}

/** Makes a round through the batches that have a need. */
export function roundOfNeed(
  { redis }: BatchContext,
  need: NeedAskedFor,
  options: Omit<RoundOptions<string>, 'index' | 'count'> & { readonly count?: number },
): Service {
  return roundThrough((page) => batchesNeeding(redis, need, page), { count: 100, ...options, index: indexOf(need) });
}

/** Reports the batches of a page that could not be looked at, as one error however many they are. */
function reportBroken(broken: Look['broken'], turn: Turn): void {
  for (const [batchId, problem] of broken) {
    const others = broken.size > 1 ? ` (and ${broken.size - 1} more)` : '';
    const what = `Maintenance left out batch '${batchId}'${others}, and tries again in the next round`;
    turn.report(new BatchError(`${what}: Redis could not read it: ${problem}`, { batchId }));
    return;
  }
}
