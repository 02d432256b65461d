/** Redis has not answered within the time that a page can wait. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
}

/**
 * Waits for `work`, but not for ever: while Redis is away its client keeps commands until it is back, and a page that
 * hangs says nothing.
 */
export async function inTime<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new NoAnswer(`No answer within ${ms} ms.`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A reading is kept for so many times as long as it took, so that reading a batch again and again takes at most a tenth
 * of Redis's time.
 */
const KEPT_TIMES = 10;

/**
 * Shares readings that take long, such as the tree of a batch with a million members, between all requests that come
 * meanwhile. A request that does not wait for the end leaves the result to later ones.
 */
export class Readings {
  readonly #known = new Map<string, { readonly reading: Promise<unknown>; until: number }>();

  read<T>(key: string, read: () => Promise<T>): Promise<T> {
    this.#forgetOld();
    const known = this.#known.get(key);
    if (known !== undefined) {
      return known.reading as Promise<T>;
    }
    const began = Date.now();
    const reading = read();
    const entry = { reading, until: Number.POSITIVE_INFINITY };
    this.#known.set(key, entry);
    reading.then(
      () => {
        const now = Date.now();
        entry.until = now + KEPT_TIMES * (now - began);
      },
      () => {
        entry.until = 0;
      },
    );
    return reading;
  }

  #forgetOld(): void {
    const now = Date.now();
    for (const [key, { until }] of this.#known) {
      if (until <= now) {
        this.#known.delete(key);
      }
    }
  }
}
