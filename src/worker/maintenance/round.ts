import { BatchError } from '../../errors.js';
import type { NeedIndex } from '../../record/needs.js';
import type { Service, Turn } from './service.js';

/** How many pages are read in one slice, while none of their batches is to be attended to. */
const PAGES_PER_SLICE = 5;

/** Where a list begins, and where it is again after its last page. */
const START = '0';

export interface RoundPage<T> {
  /** Where the next page begins; '0' after the last one. */
  readonly cursor: string;
  /** The batches to be attended to now. */
  readonly due: readonly T[];
  /** Those that could not be looked at, each with what is wrong. */
  readonly broken?: ReadonlyMap<string, string>;
}

export interface RoundOptions<T> extends Pick<Service, 'name' | 'intervalMs' | 'pace' | 'index'> {
  /** How many batches are attended to at the same time, and in one slice. */
  readonly atOnce: number;
  /** Looks at the page that begins here. */
  page(cursor: string): Promise<RoundPage<T>>;
  /** Does one bounded step for one batch. */
  attend(batch: T, turn: Turn): Promise<void>;
  /** Forgets what was remembered of the batches. */
  reset?(): void;
}

/**
 * A service that reads a list of batches page by page, and attends to those that need it: `T` says which, mostly an id.
 */
export class Round<T = string> implements Service {
  readonly name: string;
  readonly intervalMs: number;
  readonly pace: Service['pace'];
  readonly index: NeedIndex | undefined;
  readonly #options: RoundOptions<T>;
  #cursor = START;
  #due: T[] = [];

  constructor(options: RoundOptions<T>) {
    this.name = options.name;
    this.intervalMs = options.intervalMs;
    this.pace = options.pace;
    this.index = options.index;
    this.#options = options;
  }

  reset(): void {
    this.#due = [];
    this.#options.reset?.();
  }

  async slice(turn: Turn): Promise<boolean> {
    if (this.#due.length === 0) {
      await this.#read(turn);
    }
    const { atOnce, attend } = this.#options;
    const some = this.#due.splice(0, atOnce);
    // One batch that cannot be attended to must not keep the others waiting: the next round tries it again.
    await Promise.all(some.map((batch) => attend(batch, turn).catch((error) => turn.report(error))));
    return this.#due.length === 0 && this.#cursor === START;
  }

  /** Reads on until there is something to attend to, the list ends, or it has read enough for one slice. */
  async #read(turn: Turn): Promise<void> {
    for (let pages = 0; pages < PAGES_PER_SLICE && !turn.isOver; pages++) {
      const { cursor, due, broken } = await this.#options.page(this.#cursor);
      this.#cursor = cursor;
      this.#due = [...due];
      reportBroken(broken, turn);
      if (this.#due.length > 0 || cursor === START) {
        return;
      }
    }
  }
}

/** Tells of the batches of a page that could not be looked at: one error, however many there are. */
export function reportBroken(broken: ReadonlyMap<string, string> = new Map(), turn: Turn): void {
  for (const [batchId, problem] of broken) {
    const others = broken.size > 1 ? ` (and ${broken.size - 1} more)` : '';
    turn.report(new BatchError(`Batch '${batchId}'${others} cannot be looked at: ${problem}`, { batchId }));
    return;
  }
}
