/** How many jobs go to Redis in one step: enough to pay for the round trip, few enough not to keep Redis busy. */
export const CHUNK_SIZE = 1000;

/** How many chunks are in memory at the same time: one on its way while the next is read. */
const CHUNKS_IN_FLIGHT = 2;

/**
 * Reads a source in chunks and hands each to `work`, in order; stops reading while two chunks are under way. After an
 * error nothing more is read, what is under way is waited for, and the first error is thrown.
 */
export async function inChunks<T>(
  source: Iterable<T> | AsyncIterable<T>,
  work: (chunk: T[]) => Promise<void>,
  size = CHUNK_SIZE,
): Promise<void> {
  const underWay: Promise<void>[] = [];
  const failures: unknown[] = [];
  const start = async (chunk: T[]) => {
    underWay.push(work(chunk).catch((error) => void failures.push(error)));
    if (underWay.length >= CHUNKS_IN_FLIGHT) {
      await underWay.shift();
    }
  };
  try {
    let chunk: T[] = [];
    for await (const item of source) {
      chunk.push(item);
      if (chunk.length >= size) {
        await start(chunk);
        chunk = [];
        if (failures.length > 0) {
          break;
        }
      }
    }
    if (chunk.length > 0 && failures.length === 0) {
      await start(chunk);
    }
  } finally {
    await Promise.all(underWay);
  }
  if (failures.length > 0) {
    throw failures[0];
  }
}
