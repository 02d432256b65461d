import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { cancelIfPending, removePending } from '../batch/cancel.js';
import { announceDeath } from '../batch/death.js';
import { enqueueCallback } from '../batch/enqueue.js';
import type { Home } from '../batch/home.js';
import { dueOf, isToBeCancelled, missingOf, policyReason } from '../batch/rules.js';
import { findUntried } from '../redis/attempted.js';
import { resignLease } from '../redis/lease.js';
import { readSnapshot, type Snapshot, settleSnapshot } from '../redis/snapshot.js';
import { noteAttempted, sweepPage, unwatchBatch, type Watch, type WatchedBatch } from '../redis/watched.js';

const BATCHES_PER_PAGE = 250;
const MEMBERS_PER_PAGE = 500;
/** What one sweep may cost: batches that need something, pages of batches, and pages of one batch's members. */
const ATTENDED_PER_SWEEP = 200;
const PAGES_PER_SWEEP = 20;
const SEARCHES_KEPT = 10_000;
/** A sweeper that misses this many sweeps has lost the task to another BatchWorker. */
const LEASE_INTERVALS = 3;

/** How far the search of a batch for members that have not run has come. */
interface Search {
  readonly witness: string;
  readonly cursor: string;
  /** How many members there were when it began. */
  readonly total: string | undefined;
}

const NOTHING_SEEN: Search = { witness: '', cursor: '0', total: undefined };

/**
 * Looks after the batches on the list of redis/watched.ts, a few times a second: what happens to their members does not wake
 * a batch, but is to be told, or acted upon, while the others still run. One process sweeps at a time. It does nothing that
 * the batch job's own wake would not do too, so that a batch that finishes between two sweeps misses nothing.
 */
export class Sweep {
  readonly #home: Home;
  readonly #intervalMs: number;
  readonly #onError: (error: unknown) => void;
  readonly #who = randomUUID();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #cursor = '0';
  readonly #searches = new Map<string, Search>();

  constructor(home: Home, intervalMs: number, { onError }: { onError: (error: unknown) => void }) {
    this.#home = home;
    this.#intervalMs = intervalMs;
    this.#onError = onError;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#sweep().catch((error) => this.#report(error));
      await pause(this.#intervalMs, undefined, { signal, ref: false }).catch(() => {});
    }
    await resignLease(this.#home.redis, 'sweeper', this.#who).catch(() => {});
  }

  /** Errors of a connection that is being closed are nobody's business. */
  #report(error: unknown): void {
    if (!this.#stop.signal.aborted) {
      this.#onError(error);
    }
  }

  async #sweep(): Promise<void> {
    let attended = 0;
    for (let pages = 0; pages < PAGES_PER_SWEEP && attended < ATTENDED_PER_SWEEP; pages++) {
      const page = await sweepPage(this.#home.redis, {
        who: this.#who,
        leaseMs: LEASE_INTERVALS * this.#intervalMs,
        cursor: this.#cursor,
        count: BATCHES_PER_PAGE,
      });
      if (page === undefined) {
        this.#searches.clear();
        return;
      }
      for (const watched of page.due) {
        if (this.#stop.signal.aborted) {
          return;
        }
        attended += 1;
        // One batch that cannot be attended to must not keep the others waiting.
        await this.#attend(watched).catch((error) => this.#report(error));
      }
      this.#cursor = page.cursor;
      if (page.cursor === '0') {
        this.#forgetSearches();
        return;
      }
    }
  }

  /** Those of batches that have ended meanwhile; of others the search begins again. */
  #forgetSearches(): void {
    if (this.#searches.size > SEARCHES_KEPT) {
      this.#searches.clear();
    }
  }

  async #attend(watched: WatchedBatch): Promise<void> {
    const { batchId, watch } = watched;
    const snapshot = await readSnapshot(this.#home.redis, batchId);
    const done = snapshot === undefined ? EVERYTHING : await this.#attendTo(batchId, snapshot, watch);
    if (done.includes('attempted')) {
      this.#searches.delete(batchId);
    }
    await unwatchBatch(this.#home.redis, watched, done);
  }

  /** Does what is to be done now; returns what the batch need not be looked after for any more. */
  async #attendTo(batchId: string, before: Snapshot, watch: Watch): Promise<(keyof Watch)[]> {
    const home = this.#home;
    if (before.deaths > 0 && before.diedAt === undefined) {
      await announceDeath(home, batchId);
    }
    if (isToBeCancelled(before)) {
      await cancelIfPending(home, batchId, policyReason(before));
    } else if (before.cancelledAt !== undefined && before.ended === undefined) {
      await removePending(home, batchId, before.cancelReason);
    }
    if (watch.attempted && before.attemptedAt === undefined) {
      await this.#checkAttempted(batchId, before);
    }
    const snapshot = before.ended === undefined ? await settleSnapshot(home.redis, batchId) : before;
    if (snapshot === undefined) {
      return EVERYTHING;
    }
    const due = dueOf(snapshot);
    for (const callback of due) {
      await enqueueCallback(home, batchId, snapshot, callback);
    }
    if (snapshot.ended !== undefined) {
      // An abandoned batch may be opened again, and is looked after then.
      return snapshot.sealedAt === undefined && snapshot.cancelledAt === undefined ? ['always'] : EVERYTHING;
    }
    // While callbacks of these events run, the batch does not wake when its last member is settled: `complete` is ours to see.
    const holdsComplete =
      snapshot.completedAt === undefined &&
      (due.length > 0 || snapshot.callbacks.some(({ state }) => state === 'enqueued'));
    const isCancelled = snapshot.cancelledAt !== undefined;
    return [
      ...(snapshot.diedAt !== undefined && !holdsComplete ? (['death'] as const) : []),
      ...(snapshot.attemptedAt !== undefined && !holdsComplete ? (['attempted'] as const) : []),
      ...(isCancelled ? (['cancelAfter', 'cancelAtPercent'] as const) : []),
      ...(isCancelled || holdsComplete ? [] : (['always'] as const)),
    ];
  }

  /** Searches on where the last sweep stopped, at a member that has not run. */
  async #checkAttempted(batchId: string, { sealedAt, abandonedAt, cancelledAt, counts }: Snapshot): Promise<void> {
    if (sealedAt === undefined || abandonedAt !== undefined || cancelledAt !== undefined || missingOf(counts) > 0) {
      return;
    }
    let search = this.#searches.get(batchId) ?? NOTHING_SEEN;
    for (let pages = 0; pages < PAGES_PER_SWEEP; pages++) {
      const { witness, cursor, total } = await findUntried(this.#home.redis, batchId, {
        ...search,
        count: MEMBERS_PER_PAGE,
      });
      const isWhole = witness === '' && cursor === '0';
      if (isWhole && (search.total ?? total) === total) {
        await noteAttempted(this.#home.redis, batchId);
        return;
      }
      // Members that came while it was searched may have been passed over: begin again.
      search = isWhole ? NOTHING_SEEN : { witness, cursor, total: search.total ?? total };
      this.#searches.set(batchId, search);
      if (witness !== '') {
        return;
      }
    }
  }
}

const EVERYTHING: (keyof Watch)[] = ['death', 'cancelAfter', 'cancelAtPercent', 'attempted', 'always'];
