import { Queue } from 'bullmq';
import { withBatches } from '../src/index.js';
import type { Connection } from './redis.js';
import type { Side } from './scenario.js';

/** As many jobs as `Batch.addBulk` sends at a time: what a careful user of plain BullMQ would do. */
const CHUNK_SIZE = 1000;

/** The size of a job's data as JSON. */
export const DATA_BYTES = 100;
const TEXT_LENGTH = DATA_BYTES - JSON.stringify({ text: '' }).length;

export interface BenchJob {
  readonly name: string;
  readonly data: { readonly text: string };
}

export type BenchQueue = Queue<BenchJob['data'], unknown, string>;

export const QUEUE_NAME = 'bench';
export const CALLBACK_NAME = 'complete';

export async function openQueue(connection: Connection, prefix: string): Promise<BenchQueue> {
  const queue: BenchQueue = new Queue(QUEUE_NAME, { connection, prefix });
  await queue.waitUntilReady();
  return queue;
}

/** A way to put jobs into a queue, ready to be timed. */
export interface Producer {
  add(count: number): Promise<unknown>;
  /** Says that everything has been added. */
  seal(): Promise<void>;
}

export async function producerFor(side: Side, queue: BenchQueue): Promise<Producer> {
  if (side === 'plain') {
    return { add: (count) => addInChunks(queue, makeJobs(count)), seal: async () => {} };
  }
  const batch = await withBatches(queue).createBatch({ on: { complete: { name: CALLBACK_NAME } } });
  return { add: (count) => batch.addBulk(makeJobs(count)), seal: () => batch.seal() };
}

/** Makes the jobs one by one as they are asked for, the same ones for both sides. */
export function* makeJobs(count: number): Generator<BenchJob> {
  for (let n = 0; n < count; n++) {
    yield { name: 'job', data: { text: String(n).padStart(TEXT_LENGTH, '.') } };
  }
}

export async function addInChunks(queue: BenchQueue, jobs: Iterable<BenchJob>): Promise<void> {
  let chunk: BenchJob[] = [];
  for (const job of jobs) {
    chunk.push(job);
    if (chunk.length === CHUNK_SIZE) {
      await queue.addBulk(chunk);
      chunk = [];
    }
  }
  if (chunk.length > 0) {
    await queue.addBulk(chunk);
  }
}
