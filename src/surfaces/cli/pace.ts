/** How far back samples are kept, and the least time between two that says something about a pace. */
const WINDOW_MS = 30_000;
const LEAST_MS = 2000;

/** Measures how fast jobs settle over the last half minute: an earlier pace says little about the time that is left. */
export class Pace {
  #samples: { readonly at: number; readonly settled: number }[] = [];

  add(at: number, settled: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && settled < last.settled) {
      // A retry makes settled ones pending again.
      this.#samples = [];
    }
    this.#samples.push({ at, settled });
    // One sample that is older than the window stays, so that the window is full.
    while ((this.#samples[1]?.at ?? at) < at - WINDOW_MS) {
      this.#samples.shift();
    }
  }

  /** Jobs in a second, or undefined when that cannot be said yet. */
  perSecond(): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || last.at - first.at < LEAST_MS) {
      return undefined;
    }
    return ((last.settled - first.settled) * 1000) / (last.at - first.at);
  }

  /** How long the pending ones will take, or undefined when that cannot be said. */
  millisecondsFor(pending: number): number | undefined {
    const pace = this.perSecond();
    return pace === undefined || pace <= 0 ? undefined : (pending / pace) * 1000;
  }
}
