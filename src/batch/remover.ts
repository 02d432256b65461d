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
import type { BatchContext } from './batch-context.js';
import { newNonce } from './ids.js';

/** How often, in ms, to look whether another process has removed the batch. */
const POLL_MS = 50;
/**
 * How often, in ms, and how many times to look whether a BatchWorker has released the batch job: one that has died
 * loses its lock in 10 s.
 */
const LOCKED_MS = 100;
const LOCKED_TRIES = 300;
/** How many child batches a caller that waits removes at the same time. */
const CHILDREN_AT_ONCE = 8;

/** Which removal is asked for; see `Removal` in record/removal.ts. */
export type Asked =
  | { readonly how: 'remove'; readonly nonce: string; readonly extent: Extent }
  | { readonly how: 'expire' | 'continue' }
  | { readonly how: 'child'; readonly of: ChildOf };

/**
 * `done`: nothing of the batch is left. `more`: something is left for the next turn. `held`: another living process
 * removes it. `lost`: the removal of the batch above was taken over by another process.
 */
export type Removed = 'done' | 'more' | 'held' | Exclude<Begun['outcome'], 'marked' | 'held'>;

/** A batch that is being removed, with the batches above it because of which it is. */
interface Level extends Hold {
  readonly callbackKeys: readonly string[];
  readonly above: Level | undefined;
  renewedAt: number;
}

/**
 * Removes batches slice by slice, those below first. Every slice is bound to one life of its batch, and to this Remover
 * holding the removal. A Remover that was frozen for longer than its lease no longer holds it, and then looks what
 * became of the batch. It may be cut short anywhere: the mark in the batch says what is left to do.
 */
export class Remover {
  readonly #context: BatchContext;
  readonly #holder = newNonce();
  readonly #mayWait: boolean;
  #slices: number;
  #hasDropped = false;

  /**
   * @param slices how many commands it may send, beside one for each level of a tree. Default: any number, and it waits
   * for other processes.
   */
  constructor(context: BatchContext, slices?: number) {
    this.#context = context;
    this.#mayWait = slices === undefined;
    this.#slices = slices ?? Number.POSITIVE_INFINITY;
  }

  /** Whether it has dropped jobs that are still in the lists of their queues, where no worker runs them. */
  get hasDropped(): boolean {
    return this.#hasDropped;
  }

  /** Removes a batch, or continues its removal. */
  async remove(batchId: string, asked: Asked, above?: Level): Promise<Removed> {
    for (;;) {
      const begun = await beginRemoval(this.#context.redis, batchId, { ...asked, holder: this.#holder });
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
      callbackKeys: [...callbackKeys(this.#context.redis.prefix, batchId, definition)],
      renewedAt: performance.now(),
    };
  }

  async #takeApart(level: Level, outstanding: number): Promise<'done' | 'more' | 'lost'> {
    if (outstanding > 0 && this.#mayWait) {
      await this.#markBelow(level);
    }
    const removed = await this.#takeSlices(level);
    if (removed === 'more') {
      await releaseRemoval(this.#context.redis, level);
    }
    return removed;
  }

  /**
   * Marks all batches below before anything is taken apart, so that none of them calls back while the others are
   * removed.
   */
  async #markBelow(level: Level): Promise<void> {
    const { redis } = this.#context;
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
    // At least one: otherwise a tree with more levels than the caller has slices would never be removed.
    do {
      this.#slices -= 1;
      await this.#renewAbove(level.above);
      const slice = await takeApart(this.#context.redis, level, place, level.callbackKeys);
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

  /**
   * Waits until no BatchWorker holds the batch job. One that holds it releases it as soon as it sees the mark of the
   * removal.
   */
  async #awaitUnlock(batchId: string, tries: number): Promise<void> {
    if (tries > LOCKED_TRIES) {
      throw new BatchError(
        `Batch '${batchId}' was not removed, because a BatchWorker is still at work on it: call remove() again.`,
        { batchId },
      );
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

  /**
   * Renews the leases of the batches above: removing a large child takes longer than they last, and no other process
   * needs to take them over.
   */
  async #renewAbove(level: Level | undefined): Promise<void> {
    for (let above = level; above !== undefined; above = above.above) {
      if (performance.now() - above.renewedAt > LEASE_MS / 3) {
        above.renewedAt = performance.now();
        await renewRemoval(this.#context.redis, above);
      }
    }
  }
}
