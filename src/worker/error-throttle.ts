const INTERVAL_MS = 10_000;

/** How many kinds of errors are remembered; the kind that has not been seen for longest is forgotten first. */
const MOST_KINDS = 100;

/**
 * Lets the first error of a kind through, and then at most one in each interval, with the number of those held back.
 * Needed because BullMQ's worker fails thousands of times a second while Redis refuses to write.
 */
export class ErrorThrottle {
  readonly #now: () => number;
  readonly #kinds = new Map<string, { readonly reportedAt: number; heldBack: number }>();

  /** @param now a clock in milliseconds that only goes forwards. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Returns the error as it is to be reported now, or undefined when it is only counted. */
  next(error: Error): Error | undefined {
    const now = this.#now();
    const kind = kindOf(error);
    const known = this.#kinds.get(kind);
    if (known !== undefined && now - known.reportedAt < INTERVAL_MS) {
      known.heldBack += 1;
      return undefined;
    }
    this.#kinds.delete(kind);
    this.#kinds.set(kind, { reportedAt: now, heldBack: 0 });
    const [oldest = kind] = this.#kinds.keys();
    if (this.#kinds.size > MOST_KINDS) {
      this.#kinds.delete(oldest);
    }
    return known === undefined || known.heldBack === 0
      ? error
      : withCount(error, known.heldBack, now - known.reportedAt);
  }
}

/**
 * Returns the kind of an error: its message without quoted parts and digits, so that the errors of different scripts
 * and jobs are one kind.
 */
function kindOf({ name, message }: Error): string {
  const general = message
    .slice(0, 500)
    .replace(/ script: [\da-f]{40}.*/s, '')
    .replace(/'[^']*'/g, `'…'`)
    .replace(/[^\s\d]*\d\S*/g, '#');
  return `${name}: ${general}`;
}

function withCount(error: Error, count: number, ms: number): Error {
  const times = `and ${count.toLocaleString('en')} more like it`;
  return withMessage(error, `${error.message} (${times} in the ${Math.round(ms / 1000)} s since the last report)`);
}

/**
 * Copies the error with its class, cause and fields. The original is left as it is, because other listeners may hold
 * it.
 */
function withMessage(error: Error, message: string): Error {
  const copy: Error = Object.setPrototypeOf(new Error(message), Object.getPrototypeOf(error));
  const { message: _, stack, ...others } = Object.getOwnPropertyDescriptors(error);
  Object.defineProperties(copy, others);
  if (error.stack !== undefined) {
    copy.stack = error.stack.replace(error.message, () => message);
  }
  return copy;
}
