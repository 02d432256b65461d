import { setTimeout as pause } from 'node:timers/promises';
import { BatchError } from '../errors.js';
import { outstandingChildren } from '../record/children.js';
import { batchKeys, callbackKeys } from '../record/keys.js';
import {
  type Begun,
  beginRemoval,
  type ChildOf,
  type Extent,
  type Hold,
  LEASE_MS,
  releaseRemoval,
  renewRemoval,
} from '../record/removal.js';
import { FIRST_PLACE, type FoundChild, LAST_PLACE, takeApart } from '../record/take-apart.js';
import type { Home } from './home.js';
import { newNonce } from './ids.js';

/** How often to look whether another actor has removed the batch. */
const POLL_MS = 50;
/**
 * How often, and how long, to look whether a BatchWorker has let go of the batch job: one that has died loses it in 10
 * s.
 */
const LOCKED_MS = 100;
const LOCKED_TRIES = 300;
/** How many child batches are removed at the same time, by a caller who waits for them. */
const CHILDREN_AT_ONCE = 8;

/** Which removal, and why: see `Removal` of record/removal.ts. */
export type Asked =
  | { readonly how: 'remove'; readonly nonce: string; readonly extent: Extent }
  | { readonly how: 'expire' | 'continue' }
  | { readonly how: 'child'; readonly of: ChildOf };

/**
 * `done`: nothing of the batch is left. `more`: something is, for whoever goes on. `held`: another actor that is alive
 * removes it. `lost`: the removal of the batch above has been taken over.
 */
export type Removed = 'done' | 'more' | 'held' | Exclude<Begun['outcome'], 'marked' | 'held'>;

/** A batch that is being removed, and those above it that are, because of which it is. */
interface Level extends Hold {
  readonly callbackKeys: readonly string[];
  readonly above: Level | undefined;
  renewedAt: number;
}

/**
 * Removes batches, a slice at a time, with what is below them first. Every slice is bound to one life of its batch, and
 * to this Remover being the one who holds the removal; when it is not, because it was frozen for longer than its lease,
 * it finds out what became of the batch. It may be cut short anywhere: the mark in the batch says what is left to do.
 */
export class Remover {
  readonly #home: Home;
  readonly #holder = newNonce();
  readonly #mayWait: boolean;
  #slices: number;
  #hasDropped = false;

  /**
   * @param slices how many commands it may take, and one for each level of a tree; without a number, any, and it waits
   * for others.
   */
  constructor(home: Home, slices?: number) {
    this.#home = home;
    this.#mayWait = slices === undefined;
    this.#slices = slices ?? Number.POSITIVE_INFINITY;
  }

  /** Whether it has taken jobs from a batch that are still in the lists of their queues, where no worker runs them. */
  get hasDropped(): boolean {
    return this.#hasDropped;
  }

  /** Removes a batch, or goes on with its removal; or says why not. */
  async remove(batchId: string, asked: Asked, above?: Level): Promise<Removed> {
    for (;;) {
      const begun = await beginRemoval(this.#home.redis, batchId, { ...asked, holder: this.#holder });
      if (begun.outcome === 'held' && this.#mayWait) {
        await pause(POLL_MS);
        continue;
      }
      if (begun.outcome !== 'marked') {
        return begun.outcome;
      }
      const removed = await this.#takeApart(this.#level(batchId, begun, above), begun.outstanding);
      if (removed !== 'lost') {
        return removed;
      }
    }
  }

  #level(batchId: string, { nonce, definition }: Begun & { outcome: 'marked' }, above: Level | undefined): Level {
    return {
      ...{ batchId, nonce, holder: this.#holder, above },
      callbackKeys: [...callbackKeys(this.#home.redis.prefix, batchId, definition)],
      renewedAt: performance.now(),
    };
  }

  async #takeApart(level: Level, outstanding: number): Promise<'done' | 'more' | 'lost'> {
    if (outstanding > 0 && this.#mayWait) {
      await this.#markBelow(level);
    }
    const removed = await this.#takeSlices(level);
    if (removed === 'more') {
      await releaseRemoval(this.#home.redis, level);
    }
    return removed;
  }

  /** Stops all batches below before anything is taken apart: none of them calls back while the others go. */
  async #markBelow(level: Level): Promise<void> {
    const { redis } = this.#home;
    const ownerKey = batchKeys(redis, level.batchId).job;
    for await (const child of outstandingChildren(redis, level.batchId)) {
      await this.#renewAbove(level);
      const of = { above: level, ownerKey };
      const begun = await beginRemoval(redis, child, { how: 'child', of, holder: this.#holder });
      if (begun.outcome === 'marked' && begun.outstanding > 0) {
        await this.#markBelow(this.#level(child, begun, level));
      }
    }
  }

  async #takeSlices(level: Level): Promise<'done' | 'more' | 'lost'> {
    let place = FIRST_PLACE;
    let locked = 0;
    // At least one, or a tree that is deeper than the caller's slices are many would never be removed.
    do {
      this.#slices -= 1;
      await this.#renewAbove(level.above);
      const slice = await takeApart(this.#home.redis, level, place, level.callbackKeys);
      this.#hasDropped ||= slice.hasDropped;
      if (slice.outcome === 'done' || slice.outcome === 'lost') {
        return slice.outcome;
      }
      if (slice.outcome === 'again') {
        const removed = await this.#removeChildren(slice.children, level);
        if (removed !== 'done') {
          return removed;
        }
        place = slice;
      } else if (this.#mayWait) {
        locked += 1;
        await this.#awaitUnlock(level.batchId, locked);
        place = LAST_PLACE;
      }
    } while (this.#slices > 0);
    return 'more';
  }

  /** A BatchWorker lets go of a batch that is being removed as soon as it looks at it. */
  async #awaitUnlock(batchId: string, tries: number): Promise<void> {
    if (tries > LOCKED_TRIES) {
      throw new BatchError(`Batch '${batchId}' is being worked on: remove it again.`, { batchId });
    }
    await pause(LOCKED_MS);
  }

  async #removeChildren(children: readonly FoundChild[], above: Level): Promise<'done' | 'more' | 'lost'> {
    const removed = new Set<Removed>();
    const atOnce = this.#mayWait ? CHILDREN_AT_ONCE : 1;
    for (let from = 0; from < children.length && !removed.has('lost'); from += atOnce) {
      if (from > 0 && this.#slices <= 0) {
        return 'more';
      }
      const some = children.slice(from, from + atOnce);
      const all = await Promise.all(
        some.map(({ batchId, ownerKey }) => this.remove(batchId, { how: 'child', of: { above, ownerKey } }, above)),
      );
      for (const one of all) {
        removed.add(one);
      }
    }
    return removed.has('lost') ? 'lost' : removed.has('more') || removed.has('held') ? 'more' : 'done';
  }

  /** A large child batch takes longer than the lease of those above it, which nobody else need take over meanwhile. */
  async #renewAbove(level: Level | undefined): Promise<void> {
    for (let above = level; above !== undefined; above = above.above) {
      if (performance.now() - above.renewedAt > LEASE_MS / 3) {
        above.renewedAt = performance.now();
        await renewRemoval(this.#home.redis, above);
      }
    }
  }
}
