import { describe, expect, test } from 'vitest';
import { inChunks } from '../../src/batch/stream.js';

/** Chunks that are under way until they are let go. */
function work() {
  const started: number[][] = [];
  const ends: { resolve: () => void; reject: (error: Error) => void }[] = [];
  return {
    started,
    ends,
    run: (chunk: number[]) =>
      new Promise<void>((resolve, reject) => {
        started.push(chunk);
        ends.push({ resolve, reject });
      }),
  };
}

function* numbers(upTo: number, read: { count: number }) {
  for (let i = 0; i < upTo; i++) {
    read.count++;
    yield i;
  }
}

/** Lets everything happen that can happen without a chunk ending. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('reading a source in chunks', () => {
  test('stops while two chunks are under way, and goes on when one has ended', async () => {
    const { started, ends, run } = work();
    const read = { count: 0 };
    const done = inChunks(numbers(10, read), run, { size: 2, inFlight: 2 });
    await settle();
    expect(started).toEqual([
      [0, 1],
      [2, 3],
    ]);
    expect(read.count).toBe(4);
    ends[0]?.resolve();
    await settle();
    expect(started).toHaveLength(3);
    expect(read.count).toBe(6);
    for (let i = 1; i < 5; i++) {
      ends[i]?.resolve();
      await settle();
    }
    await done;
    expect(started.flat()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('is not done before the last chunk is', async () => {
    const { ends, run } = work();
    let isDone = false;
    const done = inChunks([1, 2, 3], run, { size: 2, inFlight: 2 }).then(() => {
      isDone = true;
    });
    await settle();
    ends[0]?.resolve();
    await settle();
    expect(isDone).toBe(false);
    ends[1]?.resolve();
    await done;
  });

  test('after an error reads nothing more, waits for what is under way, and throws the first error', async () => {
    const { started, ends, run } = work();
    const read = { count: 0 };
    const done = inChunks(numbers(100, read), run, { size: 2, inFlight: 2 });
    const failed = expect(done).rejects.toThrow('first');
    await settle();
    ends[0]?.reject(new Error('first'));
    ends[1]?.reject(new Error('second'));
    await failed;
    expect(started).toHaveLength(2);
    expect(read.count).toBe(4);
  });

  test('does not wait, after an error, for an item that the source has not got yet', async () => {
    const { ends, run } = work();
    let close = () => {};
    const closed = new Promise<void>((resolve) => {
      close = resolve;
    });
    let arrive = () => {};
    async function* source() {
      try {
        yield* [1, 2];
        await new Promise<void>((resolve) => {
          arrive = resolve;
        });
        yield 3;
      } finally {
        close();
      }
    }
    const done = expect(inChunks(source(), run, { size: 2, inFlight: 2 })).rejects.toThrow('refused');
    await settle();
    ends[0]?.reject(new Error('refused'));
    await done;
    arrive();
    await closed;
  });
});
