import type { BatchContext } from '../../batch/batch-context.js';
import { BatchError } from '../../errors.js';
import type { Ranks } from '../../record/look.js';
import { batchesNeeding, indexOf, type NeedAskedFor } from '../../record/needs.js';
import type { Service, Turn } from './service.js';

/** How many pages one slice reads, as long as none of their batches is due. */
const PAGES_PER_SLICE = 5;

/** The cursor of the first page, and the one that the last page returns. */
const START = '0';

interface RoundPage<T> {
  /** Where the next page begins; '0' after the last one. */
  readonly cursor: string;
  /** The batches of this page that need a step now. */
  readonly due: readonly T[];
  /** The batches that could not be looked at, each with its error message. */
  readonly broken?: ReadonlyMap<string, string>;
}

interface RoundOptions<T> extends Pick<Service, 'intervalMs' | 'pace' | 'index'> {
  /** How many batches get a step in one slice; the steps run side by side. */
  readonly atOnce: number;
  /** Reads the page that begins at the cursor. */
  page(cursor: string): Promise<RoundPage<T>>;
  /** Does one bounded step for one batch. */
  attend(batch: T, turn: Turn): Promise<void>;
}

/**
 * Makes a service that reads a list of batches page by page, and does one step for each batch that needs it. `T`
 * identifies the batch, mostly by its id.
 */
function round<T>({ page, attend, atOnce, ...service }: RoundOptions<T>): Service {
  let cursor = START;
  let due: readonly T[] = [];

  /** Reads pages until a batch is due, the list ends, or the slice has read enough. */
  async function read(turn: Turn): Promise<void> {
    for (let pages = 0; pages < PAGES_PER_SLICE && !turn.isOver; pages++) {
      const found = await page(cursor);
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

/** Makes a round through the batches that have a need, `count` of them in a page. */
export function roundOfNeed(
  { redis }: BatchContext,
  need: NeedAskedFor,
  { count = 100, ...options }: Omit<RoundOptions<string>, 'page' | 'index'> & { readonly count?: number },
): Service {
  let rounds = 0;
  const page = (cursor: string) => {
    rounds += cursor === START ? 1 : 0;
    return batchesNeeding(redis, need, { cursor, count, round: rounds });
  };
  return round({ ...options, index: indexOf(need), page });
}

/** Makes a round through a list of batches by rank, `count` of them in a page. A page that has none is the end. */
export function roundByRank<T = string>(
  readPage: (ranks: Ranks) => Promise<Omit<RoundPage<T>, 'cursor'> & { readonly listed: number }>,
  { count, ...options }: Omit<RoundOptions<T>, 'page' | 'index'> & { readonly count: number },
): Service {
  let rounds = 0;
  const page = async (cursor: string) => {
    const from = Number(cursor);
    rounds += cursor === START ? 1 : 0;
    const { listed, ...found } = await readPage({ from, to: from + count - 1, round: rounds });
    return { ...found, cursor: listed === 0 ? START : String(from + count) };
  };
  return round({ ...options, page });
}

/** Reports the batches of a page that could not be looked at, as one error however many they are. */
function reportBroken(broken: ReadonlyMap<string, string> = new Map(), turn: Turn): void {
  for (const [batchId, problem] of broken) {
    const others = broken.size > 1 ? ` (and ${broken.size - 1} more)` : '';
    const what = `Maintenance left out batch '${batchId}'${others}, and tries again in the next round`;
    turn.report(new BatchError(`${what}: Redis could not read it: ${problem}`, { batchId }));
    return;
  }
}
