import { setTimeout as pause } from 'node:timers/promises';

/** Repeats a task, with a pause in between, until it is closed. An error ends one turn, and not the poller. */
export class Poller {
  readonly #intervalMs: number;
  readonly #poll: () => Promise<void>;
  readonly #onError: (error: unknown) => void;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(intervalMs: number, poll: () => Promise<void>, onError: (error: unknown) => void) {
    this.#intervalMs = intervalMs;
    this.#poll = poll;
    this.#onError = onError;
  }

  get isClosing(): boolean {
    return this.#stop.signal.aborted;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Stops polling, and resolves when the turn that is under way has ended. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Reports an error, unless it comes from closing the connection. */
  report(error: unknown): void {
    if (!this.isClosing) {
      this.#onError(error);
    }
  }

  /** Waits for `ms`, or until the poller is closed. */
  async rest(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#stop.signal, ref: false }).catch(() => {});
  }

  async #run(): Promise<void> {
    while (!this.isClosing) {
      await this.#poll().catch((error) => this.report(error));
      await this.rest(this.#intervalMs);
    }
  }
}
