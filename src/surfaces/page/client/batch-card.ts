import type { BatchState, BatchStatus, TreeJobs } from '../../../index.js';
import { type Sample, withSample } from '../pace.js';
import { badge, isUnfinished, settledOf } from '../parts.js';
import { progressCard } from '../progress-view.js';
import { main, render, sayAloud } from './document.js';

/** How long those who hear the page are left alone while nothing but a number has changed. */
const SAY_MS = 30_000;

/** The numbers of one batch, which move between two readings of its page. */
export class BatchCard {
  #samples: readonly Sample[] = [];
  #latest: BatchStatus | undefined;
  /** How far the clock of this machine is ahead of the server's. */
  #skew = 0;
  /** What was said aloud last; at first what the page has when it is opened. */
  #said: { readonly at: number; readonly state: BatchState | undefined; readonly progress: number };

  constructor() {
    this.read();
    const progress = this.#element?.querySelector('[role=progressbar]')?.getAttribute('aria-valuenow');
    this.#said = { at: Date.now(), state: this.state, progress: Number(progress) };
  }

  get #element(): HTMLElement | null {
    return main.querySelector<HTMLElement>('[data-progress]');
  }

  /** As the page, or a status, has said it last. */
  get state(): BatchState | undefined {
    return this.#latest?.state ?? (this.#element?.dataset.state as BatchState | undefined);
  }

  get isFinished(): boolean {
    return this.state !== undefined && !isUnfinished(this.state);
  }

  /** Takes over what the page knows of the past: other people may have looked at the batch before. */
  read(): void {
    if (this.#latest?.state !== this.#element?.dataset.state) {
      this.#latest = undefined;
    }
    const { samples = '[]', now } = this.#element?.dataset ?? {};
    this.#skew = now === undefined ? 0 : Date.now() - Number(now);
    const known = (JSON.parse(samples) as [number, number, number, number][]).map(
      ([at, settled, failed, pending]): Sample => ({ at, settled, failed, pending }),
    );
    const newest = known.at(-1);
    const isMore = newest === undefined || known.length >= this.#samples.length;
    this.#samples = isMore ? known : withSample(this.#samples, newest);
    this.#render();
  }

  /**
   * Shows a status, but for one in another state than the page: the page is fetched then, so that "succeeded" is never
   * seen beside the numbers of before. Those of the jobs below a batch come with the page only.
   *
   * @param cameAt when it came, by this machine's clock. It may be older than the page: its numbers then say nothing
   * about the throughput.
   * @returns whether it is shown.
   */
  show(status: BatchStatus, cameAt: number): boolean {
    if (status.state !== this.state) {
      return false;
    }
    this.#latest = status;
    if (this.#jobs === undefined) {
      const { succeeded, failed, pending } = status;
      this.#samples = withSample(this.#samples, {
        at: cameAt - this.#skew,
        settled: succeeded + failed,
        failed,
        pending,
      });
    }
    this.#render();
    this.#sayAloud(status);
    return true;
  }

  get #now(): number {
    return Date.now() - this.#skew;
  }

  /** All jobs below a batch with child batches: their numbers come with the page only. */
  get #jobs(): TreeJobs | undefined {
    const { jobs } = this.#element?.dataset ?? {};
    return jobs === undefined ? undefined : JSON.parse(jobs);
  }

  #render(): void {
    const [status, element] = [this.#latest, this.#element];
    if (status === undefined || element === null) {
      return;
    }
    const [now, jobs] = [this.#now, this.#jobs];
    render(element, progressCard({ status, samples: this.#samples, jobs, now }));
    const state = main.querySelector('.facts [data-badge]');
    if (state !== null) {
      render(state, badge(status.state));
    }
    if (!this.isFinished) {
      document.title = `${(jobs ?? status).progress} % · ${document.title.replace(/^\d+ % · /, '')}`;
    }
  }

  /** Each new state, and the progress now and then. */
  #sayAloud(status: BatchStatus): void {
    const { state } = status;
    const numbers = this.#jobs ?? status;
    const { progress } = numbers;
    const at = Date.now();
    const hasMoved = progress !== this.#said.progress && at - this.#said.at > SAY_MS;
    if (state !== this.#said.state || hasMoved) {
      this.#said = { at, state, progress };
      sayAloud(`${state}, ${progress} %, ${settledOf(numbers)}`);
    }
  }
}
