import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { BatchContext } from '../../batch/batch-context.js';
import { resignLease, takeLease } from '../../record/lease.js';
import type { NeedIndex } from '../../record/needs.js';
import type { BatchRepair, Service, Turn } from './service.js';
import { type MaintenanceOptions, servicesOf } from './services.js';

/** Timers of Node run for at most 24 days; a day is well below that. */
const LONGEST_INTERVAL_MS = 24 * 60 * 60 * 1000;
/**
 * A lease lasts this many intervals; a leader that does not renew it loses the lead. It has a least length, so that a
 * slow command does not cost the lead.
 */
const LEASE_INTERVALS = 3;
const SHORTEST_LEASE_MS = 500;

interface Schedule {
  readonly service: Service;
  /** When its next round may start, by `performance.now()`. */
  dueAt: number;
  round: Promise<void> | undefined;
}

interface Listeners {
  onRepair(repair: BatchRepair): void;
  onError(error: unknown): void;
}

/**
 * Maintains all batches of one place. Several processes may have a maintainer; one of them leads, because two would do
 * the same work twice. At each turn the leader renews its lease and starts the rounds that are due; rounds go on beside
 * the turns.
 */
export class Maintainer {
  readonly #context: BatchContext;
  readonly #who = randomUUID();
  readonly #intervalMs: number;
  readonly #leaseMs: number;
  readonly #schedules: readonly Schedule[];
  readonly #listeners: Listeners;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** Until when this process leads for certain, by `performance.now()`: the lease in Redis ends later. */
  #leadsUntil = Number.NEGATIVE_INFINITY;

  constructor(context: BatchContext, options: MaintenanceOptions, listeners: Listeners) {
    this.#context = context;
    this.#listeners = listeners;
    this.#schedules = servicesOf(context, options).map((service) => ({ service, dueAt: 0, round: undefined }));
    this.#intervalMs = Math.min(options.sweepInterval, options.reconcileInterval, LONGEST_INTERVAL_MS);
    this.#leaseMs = Math.max(LEASE_INTERVALS * this.#intervalMs, SHORTEST_LEASE_MS);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Stops after the slice that is under way, and gives up the lead. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await Promise.all(this.#schedules.map(({ round }) => round));
    await resignLease(this.#context.redis, this.#who).catch(() => {});
  }

  get #isClosing(): boolean {
    return this.#stop.signal.aborted;
  }

  get #isLeading(): boolean {
    return !this.#isClosing && performance.now() < this.#leadsUntil;
  }

  /** Takes a turn at each interval, until it is closed. An error ends one turn only. */
  async #run(): Promise<void> {
    while (!this.#isClosing) {
      await this.#turn().catch((error) => this.#report(error));
      await this.#rest(this.#intervalMs);
    }
  }

  async #turn(): Promise<void> {
    const askedAt = performance.now();
    const { leads, needed } = await takeLease(this.#context.redis, this.#who, this.#leaseMs);
    if (!leads) {
      this.#leadsUntil = Number.NEGATIVE_INFINITY;
      return;
    }
    if (!this.#isLeading) {
      // Another process may have led in between.
      for (const { service } of this.#schedules) {
        service.reset?.();
      }
    }
    this.#leadsUntil = askedAt + this.#leaseMs;
    this.#startRounds(needed);
  }

  #startRounds(needed: ReadonlySet<NeedIndex>): void {
    const now = performance.now();
    for (const schedule of this.#schedules) {
      const { service, dueAt, round } = schedule;
      if (round === undefined && dueAt <= now && (service.index === undefined || needed.has(service.index))) {
        // A timer that fires a little early must not cost a whole interval.
        schedule.dueAt = now + service.intervalMs - this.#intervalMs / 2;
        schedule.round = this.#round(service).finally(() => {
          schedule.round = undefined;
        });
      }
    }
  }

  /** Runs one round of a service, slice by slice, while this process leads. */
  async #round(service: Service): Promise<void> {
    const turn = this.#newTurn();
    while (this.#isLeading) {
      const startedAt = performance.now();
      try {
        if (await service.slice(turn)) {
          return;
        }
      } catch (error) {
        this.#report(error);
        return;
      }
      await this.#rest(restOf(service, performance.now() - startedAt));
    }
  }

  #newTurn(): Turn {
    const isOver = () => !this.#isLeading;
    return {
      who: this.#who,
      get isOver() {
        return isOver();
      },
      report: (error) => this.#report(error),
      repaired: (repair) => this.#listeners.onRepair(repair),
    };
  }

  /** Reports an error, unless it comes from closing the connection. */
  #report(error: unknown): void {
    if (!this.#isClosing) {
      this.#listeners.onError(error);
    }
  }

  /** Waits for `ms`, or until this is closed. */
  async #rest(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#stop.signal, ref: false }).catch(() => {});
  }
}

/** Returns how many ms to rest after a slice that took `tookMs`. */
function restOf({ pace }: Service, tookMs: number): number {
  return 'share' in pace ? tookMs * (1 / pace.share - 1) : Math.max(0, pace.everyMs - tookMs);
}
