/**
 * How many jobs go to Redis in one step: enough to pay for the round trip, few enough not to keep Redis busy (6 ms).
 */
export const CHUNK_SIZE = 200;

/** How many chunks are in memory at the same time: while Redis works on some, the next ones are made. */
const CHUNKS_IN_FLIGHT = 10;

/**
 * Reads a source in chunks and hands each to `work`, in order. It stops reading while CHUNKS_IN_FLIGHT of them are
 * under way. After an error nothing more is read, not even an item that the source is waiting for; the chunks under way
 * may end, and the first error is thrown.
 */
export async function inChunks<T>(
  source: Iterable<T> | AsyncIterable<T>,
  work: (chunk: T[]) => Promise<void>,
  { size = CHUNK_SIZE, inFlight = CHUNKS_IN_FLIGHT } = {},
): Promise<void> {
  const underWay: Promise<void>[] = [];
  const failures: unknown[] = [];
  const failed = new AbortController();
  const start = async (chunk: T[]) => {
    underWay.push(
      work(chunk).catch((error) => {
        failures.push(error);
        failed.abort();
      }),
    );
    if (underWay.length >= inFlight) {
      await underWay.shift();
    }
  };
  try {
    let chunk: T[] = [];
    for await (const item of Symbol.asyncIterator in source ? until(failed.signal, source) : source) {
      chunk.push(item);
      if (chunk.length >= size) {
        await start(chunk);
        chunk = [];
        if (failed.signal.aborted) {
          break;
        }
      }
    }
    if (chunk.length > 0 && !failed.signal.aborted) {
      await start(chunk);
    }
  } finally {
    await Promise.all(underWay);
  }
  if (failures.length > 0) {
    throw failures[0];
  }
}

/** Yields what the source yields, until the signal. The source may take hours to yield the next item. */
async function* until<T>(signal: AbortSignal, source: AsyncIterable<T>): AsyncGenerator<T, void> {
  const iterator = source[Symbol.asyncIterator]();
  let isReading = false;
  let isAtEnd = false;
  try {
    while (!signal.aborted) {
      isReading = true;
      const next = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
        signal.onabort = () => resolve(undefined);
        iterator.next().then(resolve, reject);
      });
      if (next === undefined) {
        return;
      }
      isReading = false;
      if (next.done) {
        isAtEnd = true;
        return;
      }
      yield next.value;
    }
  } finally {
    if (!isAtEnd) {
      const closed = Promise.resolve(iterator.return?.()).catch(() => {});
      // A source that is waiting for its next item closes only when it has got it.
      await (isReading ? undefined : closed);
    }
  }
}
