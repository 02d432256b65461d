import { setTimeout as pause } from 'node:timers/promises';

/** Does something again and again, with a pause in between, until it is closed. An error ends one round, not all. */
export class Rounds {
  readonly #intervalMs: number;
  readonly #round: () => Promise<void>;
  readonly #onError: (error: unknown) => void;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(intervalMs: number, round: () => Promise<void>, onError: (error: unknown) => void) {
    this.#intervalMs = intervalMs;
    this.#round = round;
    this.#onError = onError;
  }

  get isClosing(): boolean {
    return this.#stop.signal.aborted;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when the round that is under way has ended. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Errors of a connection that is being closed are nobody's business. */
  report(error: unknown): void {
    if (!this.isClosing) {
      this.#onError(error);
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#round().catch((error) => this.report(error));
      await pause(this.#intervalMs, undefined, { signal, ref: false }).catch(() => {});
    }
  }
}
