import { type Batch, type BatchMethods, BatchNotFoundError, type QueueLike } from '../../index.js';
import { titleOf } from './parts.js';

/** Batches can be nested deeper than a line of links can be read. */
const MOST_LEVELS = 10;

/** A batch above another one, as a link shows it. */
export interface Ancestor {
  readonly id: string;
  readonly title: string;
}

/** The batches above others, each looked up once. One that was removed ends the line. */
export class Ancestors {
  readonly #queue: BatchMethods<QueueLike>;
  readonly #known = new Map<string, Batch | undefined>();

  constructor(queue: BatchMethods<QueueLike>) {
    this.#queue = queue;
  }

  /** Looks up what is above these batches, level by level. */
  async findAbove(batches: readonly (Batch | undefined)[]): Promise<void> {
    for (const batch of batches) {
      if (batch !== undefined) {
        this.#known.set(batch.id, batch);
      }
    }
    let level = batches;
    for (let depth = 0; depth < MOST_LEVELS && level.length > 0; depth++) {
      const ids = level.flatMap((batch) => batch?.parentId ?? []);
      const unknown = [...new Set(ids)].filter((id) => !this.#known.has(id));
      const found = await Promise.all(unknown.map((id) => ifThere(this.#queue.getBatch(id))));
      for (const [i, id] of unknown.entries()) {
        this.#known.set(id, found[i] as Batch | undefined);
      }
      level = found as (Batch | undefined)[];
    }
  }

  /** The batches above this one, outermost first. */
  above({ parentId }: Batch): readonly Batch[] {
    const line: Batch[] = [];
    let next = parentId === undefined ? undefined : this.#known.get(parentId);
    while (next !== undefined && line.length < MOST_LEVELS) {
      line.unshift(next);
      next = next.parentId === undefined ? undefined : this.#known.get(next.parentId);
    }
    return line;
  }

  outermostOf(batch: Batch): Batch {
    return this.above(batch)[0] ?? batch;
  }

  /** What all batches that were looked up are called, by id. */
  titles(): Record<string, string> {
    return Object.fromEntries(
      [...this.#known.values()].flatMap((batch) => (batch ? [[batch.id, titleOf(batch)]] : [])),
    );
  }
}

/** The line above one batch, outermost first. A parent that was removed is there with its id. */
export async function ancestorsOf(queue: BatchMethods<QueueLike>, batch: Batch): Promise<readonly Ancestor[]> {
  const ancestors = new Ancestors(queue);
  await ancestors.findAbove([batch]);
  const line = ancestors.above(batch).map((one): Ancestor => ({ id: one.id, title: titleOf(one) }));
  const { parentId } = batch;
  return line.length === 0 && parentId !== undefined ? [{ id: parentId, title: parentId }] : line;
}

/** What is read of a batch, or undefined when there is no such batch (any more). */
export async function ifThere<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof BatchNotFoundError) {
      return undefined;
    }
    throw error;
  }
}
