import { randomUUID } from 'node:crypto';
import {
  cancelSlice,
  type DroppedState,
  markIfPending,
  removeDroppedSlice,
  removePending,
  sortCancelled,
} from '../batch/cancel.js';
import { announceDeath } from '../batch/death.js';
import { enqueueCallbacks } from '../batch/enqueue.js';
import type { Home } from '../batch/home.js';
import { dueOf, isToBeCancelled, missingOf, policyReason } from '../batch/rules.js';
import { findUntried } from '../redis/attempted.js';
import { resignLease } from '../redis/lease.js';
import { readSnapshot, type Snapshot, settleSnapshot } from '../redis/snapshot.js';
import { noteAttempted, sweepPage, unwatchBatch, type Watch, type WatchedBatch } from '../redis/watched.js';
import { Rounds } from './rounds.js';

const BATCHES_PER_PAGE = 250;
const MEMBERS_PER_PAGE = 500;
/** What one sweep may cost: pages of the list, batches whose members are searched, and pages of one batch's members. */
const PAGES_PER_SWEEP = 40;
const SEARCHES_PER_SWEEP = 200;
const SEARCHED_PAGES = 20;
/** How many batches are attended to at the same time. */
const AT_ONCE = 10;
/** How many cancelled batches are emptied at the same time, beside the sweeps. */
const REMOVALS_AT_ONCE = 2;
/** How many commands a sweep spends on jobs that a cancel has left in the lists of their queues. */
const DROPPED_PER_SWEEP = 50;
/** How many searches are remembered; those of batches that have ended are forgotten with the rest. */
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
  readonly #rounds: Rounds;
  readonly #who = randomUUID();
  #cursor = '0';
  #turn = 0;
  readonly #searches = new Map<string, Search>();
  readonly #removals = new Map<string, Promise<void>>();
  #dropped: DroppedState | undefined;

  constructor(home: Home, intervalMs: number, { onError }: { onError: (error: unknown) => void }) {
    this.#home = home;
    this.#intervalMs = intervalMs;
    this.#rounds = new Rounds(intervalMs, () => this.#sweep(), onError);
  }

  start(): void {
    this.#rounds.start();
  }

  async close(): Promise<void> {
    await this.#rounds.close();
    await Promise.all(this.#removals.values());
    await resignLease(this.#home.redis, 'sweeper', this.#who).catch(() => {});
  }

  /** First what is to be told within a second, of all batches; then what has time. */
  async #sweep(): Promise<void> {
    const searches: WatchedBatch[] = [];
    for (let pages = 0; pages < PAGES_PER_SWEEP; pages++) {
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
      await this.#attendAll(page.due, (watched) => this.#attend(watched));
      searches.push(...page.attempted);
      this.#cursor = page.cursor;
      if (page.cursor === '0') {
        break;
      }
    }
    const turn = searches.length > SEARCHES_PER_SWEEP ? this.#nextTurn(searches) : searches;
    await this.#attendAll(turn, (watched) => this.#search(watched));
    await this.#removeDropped();
  }

  async #removeDropped(): Promise<void> {
    for (let i = 0; i < DROPPED_PER_SWEEP && !this.#rounds.isClosing; i++) {
      const state = await removeDroppedSlice(this.#home, this.#dropped);
      this.#dropped = state === 'done' ? undefined : state;
      if (state === 'done') {
        return;
      }
    }
  }

  /** One batch that cannot be attended to must not keep the others waiting. */
  async #attendAll(batches: readonly WatchedBatch[], attend: (watched: WatchedBatch) => Promise<void>): Promise<void> {
    for (let from = 0; from < batches.length && !this.#rounds.isClosing; from += AT_ONCE) {
      const some = batches.slice(from, from + AT_ONCE);
      await Promise.all(some.map((watched) => attend(watched).catch((error) => this.#rounds.report(error))));
    }
  }

  #nextTurn(batches: readonly WatchedBatch[]): WatchedBatch[] {
    const from = this.#turn % batches.length;
    this.#turn = from + SEARCHES_PER_SWEEP;
    return [...batches.slice(from), ...batches.slice(0, from)].slice(0, SEARCHES_PER_SWEEP);
  }

  async #attend(watched: WatchedBatch): Promise<void> {
    const snapshot = await this.#read(watched.batchId);
    const done = snapshot === undefined ? EVERYTHING : await this.#attendTo(watched.batchId, snapshot);
    if (done.includes('attempted')) {
      this.#searches.delete(watched.batchId);
    }
    if (done.length > 0) {
      await unwatchBatch(this.#home.redis, watched, done);
    }
  }

  /** What a cancel has made fail is sorted before anything is concluded from the failures. */
  async #read(batchId: string): Promise<Snapshot | undefined> {
    const snapshot = await readSnapshot(this.#home.redis, batchId);
    const { cancelledAt, ended, counts, deaths, diedAt } = snapshot ?? {};
    const isToBeJudged = counts?.pending === 0 || (deaths !== 0 && diedAt === undefined);
    if (cancelledAt === undefined || ended !== undefined || !isToBeJudged) {
      return snapshot;
    }
    await sortCancelled(this.#home, batchId);
    return readSnapshot(this.#home.redis, batchId);
  }

  /** Does what is to be done now; returns what the batch need not be looked after for any more. */
  async #attendTo(batchId: string, before: Snapshot): Promise<(keyof Watch)[]> {
    const home = this.#home;
    if (before.deaths > 0 && before.diedAt === undefined) {
      await announceDeath(home, batchId);
    }
    if (isToBeCancelled(before)) {
      await markIfPending(home, batchId, policyReason(before), before.definition.nonce);
    } else if (before.cancelledAt !== undefined && before.ended === undefined) {
      // A batch that only waits for what is running takes nobody's turn.
      if ((await cancelSlice(home, batchId)) !== 'done') {
        this.#remove(batchId, () => removePending(home, batchId));
      }
    }
    const snapshot = before.ended === undefined ? await settleSnapshot(home.redis, batchId) : before;
    if (snapshot === undefined) {
      return EVERYTHING;
    }
    const due = dueOf(snapshot);
    await enqueueCallbacks(home, batchId, snapshot, due);
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

  /** Emptying a batch takes seconds when it is large: nobody waits for it, and the next sweep sees what is left. */
  #remove(batchId: string, remove: () => Promise<void>): void {
    if (this.#removals.has(batchId) || this.#removals.size >= REMOVALS_AT_ONCE) {
      return;
    }
    const removal = remove()
      .catch((error) => this.#rounds.report(error))
      .finally(() => this.#removals.delete(batchId));
    this.#removals.set(batchId, removal);
  }

  /** Searches on where the last sweep stopped, at a member that has not run. */
  async #search(watched: WatchedBatch): Promise<void> {
    const { batchId } = watched;
    let search = this.#searches.get(batchId) ?? NOTHING_SEEN;
    for (let pages = 0; pages < SEARCHED_PAGES; pages++) {
      const { witness, cursor, total } = await findUntried(this.#home.redis, batchId, {
        ...search,
        count: MEMBERS_PER_PAGE,
      });
      const isWhole = witness === '' && cursor === '0';
      if (isWhole && (search.total ?? total) === total) {
        await this.#noteAttempted(watched);
        return;
      }
      // Members that came while it was searched may have been passed over: begin again.
      search = isWhole ? NOTHING_SEEN : { witness, cursor, total: search.total ?? total };
      if (this.#searches.size >= SEARCHES_KEPT) {
        this.#searches.clear();
      }
      this.#searches.set(batchId, search);
      if (witness !== '') {
        return;
      }
    }
  }

  async #noteAttempted(watched: WatchedBatch): Promise<void> {
    const { redis } = this.#home;
    const snapshot = await readSnapshot(redis, watched.batchId);
    if (snapshot !== undefined && mayBeAttempted(snapshot)) {
      await noteAttempted(redis, watched.batchId);
    }
    await this.#attend(watched);
  }
}

/** A member that vanished, or was cancelled, may never have run. */
function mayBeAttempted({ sealedAt, cancelledAt, counts }: Snapshot): boolean {
  return sealedAt !== undefined && cancelledAt === undefined && missingOf(counts) === 0;
}

const EVERYTHING: (keyof Watch)[] = ['death', 'cancelAfter', 'cancelAtPercent', 'attempted', 'always'];
