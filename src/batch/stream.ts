/**
 * How many jobs go to Redis in one step: enough to pay for the round trip, few enough not to keep Redis busy (2 ms).
 */
export const CHUNK_SIZE = 250;

/** How many chunks are in memory at the same time: while Redis works on some, the next ones are made. */
const CHUNKS_IN_FLIGHT = 8;

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
  // Aborted with the first error.
  const failed = new AbortController();
  const start = async (chunk: T[]) => {
    underWay.push(work(chunk).catch((error) => failed.abort(error)));
    if (underWay.length >= inFlight) {
      await underWay.shift();
    }
  };
  try {
    for await (const chunk of Symbol.asyncIterator in source
      ? chunksUntil(failed.signal, source, size)
      : chunksOf(source, size)) {
      if (!failed.signal.aborted) {
        await start(chunk);
      }
      if (failed.signal.aborted) {
        break;
      }
    }
  } finally {
    await Promise.all(underWay);
  }
  failed.signal.throwIfAborted();
}

function* chunksOf<T>(source: Iterable<T>, size: number): Generator<T[], void> {
  let chunk: T[] = [];
  for (const item of source) {
    chunk.push(item);
    if (chunk.length >= size) {
      yield chunk;
      chunk = [];
    }
  }
  if (chunk.length > 0) {
    yield chunk;
  }
}

/** As chunksOf(), until the signal: the source may take hours to yield the next item. */
async function* chunksUntil<T>(signal: AbortSignal, source: AsyncIterable<T>, size: number): AsyncGenerator<T[], void> {
  const iterator = source[Symbol.asyncIterator]();
  let chunk: T[] = [];
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
        break;
      }
      chunk.push(next.value);
      if (chunk.length >= size) {
        yield chunk;
        chunk = [];
      }
    }
    if (chunk.length > 0) {
      yield chunk;
    }
  } finally {
    if (!isAtEnd) {
      const closed = Promise.resolve(iterator.return?.()).catch(() => {});
      // A source that is waiting for its next item closes only when it has got it.
      await (isReading ? undefined : closed);
    }
  }
}
