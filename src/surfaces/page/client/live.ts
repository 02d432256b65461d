import type { BatchStatus } from '../../../index.js';
import { BatchCard } from './batch-card.js';
import { localizeTimes, main, parsed, replaceMain, warn } from './document.js';
import { fetchJson, fetchPage, Gone, SignedOut } from './fetching.js';

/** How often a batch's status is asked for, which is one command; and at most how often the page. */
const STATUS_MS = 2000;
const PAGE_MS = 5000;
/** What takes long to read was missing in the page: it is asked for sooner. */
const INCOMPLETE_PAGE_MS = 3000;
/** A page is fetched for a twentieth of the time at most, however long it takes. */
const PAGE_SHARE = 20;
const LONGEST_PAUSE_MS = 60_000;

/**
 * Keeps the page up to date while somebody can see it. What has changed is put into the page that is there; a batch's
 * numbers are asked for more often than the whole page, with the batches below and what holds it.
 */
export class LivePage {
  readonly #pageUrl: string;
  readonly #statusUrl: string;
  readonly #card = new BatchCard();
  #pageAt = Date.now();
  #pageTook = 0;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isBusy = false;
  #isOver = false;

  constructor(pageUrl: string, statusUrl: string) {
    this.#pageUrl = pageUrl;
    this.#statusUrl = statusUrl;
  }

  follow(): void {
    if (this.#isSettled()) {
      return;
    }
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) {
        clearTimeout(this.#timer);
        this.#timer = undefined;
      } else if (this.#timer === undefined) {
        this.#look();
      }
    });
    this.#later();
  }

  /** Nothing of this page changes any more. */
  #isSettled(): boolean {
    return this.#card.isFinished && !isIncomplete();
  }

  #later(): void {
    if (this.#timer !== undefined || this.#isOver || document.hidden) {
      return;
    }
    const pause = this.#statusUrl === '' ? this.#pagePause : STATUS_MS;
    const longer = pause * 2 ** Math.min(this.#failures, 5);
    this.#timer = setTimeout(() => this.#look(), Math.min(LONGEST_PAUSE_MS, longer));
  }

  get #pagePause(): number {
    return Math.max(PAGE_MS, PAGE_SHARE * this.#pageTook);
  }

  async #look(): Promise<void> {
    this.#timer = undefined;
    if (this.#isBusy || this.#isOver || document.hidden) {
      return;
    }
    this.#isBusy = true;
    try {
      await (this.#statusUrl === '' ? this.#refreshPage() : this.#lookAtBatch());
      this.#failures = 0;
      warn('');
    } catch (error) {
      this.#tell(error);
    }
    this.#isBusy = false;
    this.#later();
  }

  async #lookAtBatch(): Promise<void> {
    const status = await fetchJson<BatchStatus>(this.#statusUrl);
    const cameAt = Date.now();
    const isNews = !this.#card.show(status, cameAt);
    localizeTimes();
    const pause = isIncomplete() ? INCOMPLETE_PAGE_MS : this.#pagePause;
    if (this.#card.isFinished || isNews || Date.now() - this.#pageAt > pause) {
      await this.#refreshPage();
      this.#isOver = this.#card.show(status, cameAt) && this.#isSettled();
    }
  }

  async #refreshPage(): Promise<void> {
    const began = Date.now();
    const next = parsed(await fetchPage(this.#pageUrl));
    const content = next.getElementById('main');
    if (content === null) {
      throw new SignedOut();
    }
    replaceMain(content);
    document.title = next.title;
    this.#pageAt = Date.now();
    this.#pageTook = this.#pageAt - began;
    this.#card.read();
    localizeTimes();
  }

  #tell(error: unknown): void {
    this.#failures++;
    if (error instanceof Gone) {
      this.#isOver = true;
      warn('This batch has been removed.');
    } else if (error instanceof SignedOut) {
      this.#isOver = true;
      warn('This page is no longer up to date: reload it, you may have to sign in again.');
    } else if (this.#failures > 1) {
      warn('This page is not up to date: the server does not answer. Trying again.');
    }
  }
}

/** Something in the page takes long to read, and is still to come. */
function isIncomplete(): boolean {
  return main.querySelector('[data-pending]') !== null;
}
