import { Queue } from 'bullmq';
import { withBatches } from '../src/index.js';
import type { Connection } from './redis.js';
import type { Side } from './scenario.js';

/** As many jobs as `Batch.addBulk` sends at a time: what a careful user of plain BullMQ would do. */
const CHUNK_SIZE = 1000;

/** The size of a job's data as JSON. */
export const DATA_BYTES = 100;

export interface BenchJob {
  readonly name: string;
  readonly data: { readonly text: string };
}

export type BenchQueue = Queue<BenchJob['data'], unknown, string>;

export const QUEUE_NAME = 'bench';
export const CALLBACK_NAME = 'complete';

export async function openQueue(connection: Connection, prefix: string, name = QUEUE_NAME): Promise<BenchQueue> {
  const queue: BenchQueue = new Queue(name, { connection, prefix });
  await queue.waitUntilReady();
  return queue;
}

/** A way to put jobs into a queue, ready to be timed. */
export interface Producer {
  add(count: number): Promise<unknown>;
  /** Says that everything has been added. */
  seal(): Promise<void>;
}

export async function producerFor(side: Side, queue: BenchQueue, dataBytes = DATA_BYTES): Promise<Producer> {
  if (side === 'plain') {
    return { add: (count) => addInChunks(queue, makeJobs(count, dataBytes)), seal: async () => {} };
  }
  const batch = await withBatches(queue).createBatch({ on: { complete: { name: CALLBACK_NAME } } });
  return { add: (count) => batch.addBulk(makeJobs(count, dataBytes)), seal: () => batch.seal() };
}

/** Makes the jobs one by one as they are asked for, the same ones for both sides. */
export function* makeJobs(count: number, dataBytes = DATA_BYTES): Generator<BenchJob> {
  const length = dataBytes - JSON.stringify({ text: '' }).length;
  for (let n = 0; n < count; n++) {
    yield { name: 'job', data: { text: String(n).padStart(length, '.').slice(-Math.max(length, 0)) } };
  }
}

/** What distinguishes the n-th of the mixed jobs. */
function optionsOf(n: number): { readonly priority?: number; readonly delay?: number; readonly jobId?: string } {
  const kinds = [{}, { priority: 1 + (n % 3) }, { delay: 60_000 }, { jobId: `row-${n}` }, {}];
  return kinds[n % 5] ?? {};
}

/** Jobs of all kinds, for the first of the queues or for one that they name. */
export function* mixedJobs(count: number, queues: readonly BenchQueue[]) {
  let n = 0;
  for (const job of makeJobs(count)) {
    const queue = queues[n % 5 === 4 ? 1 + (Math.floor(n / 5) % 2) : 0]?.name ?? QUEUE_NAME;
    yield { ...job, opts: optionsOf(n++), queue };
  }
}

/** The same jobs as plain BullMQ takes them: one queue after the other. */
export async function plainMixed(
  queues: readonly BenchQueue[],
  count: number,
  add: (queue: BenchQueue, jobs: Iterable<BenchJob>) => Promise<void>,
): Promise<void> {
  const byQueue = new Map<string, BenchJob[]>();
  for (const { queue, ...job } of mixedJobs(count, queues)) {
    const list = byQueue.get(queue) ?? [];
    byQueue.set(queue, list);
    list.push(job);
  }
  for (const queue of queues) {
    await add(queue, byQueue.get(queue.name) ?? []);
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
