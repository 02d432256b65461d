import { Worker } from 'bullmq';
import { type Batch, BatchWorker, withBatches } from '../src/index.js';
import { combined, compare, type Run } from './compare.js';
import { type BenchQueue, CALLBACK_NAME, makeJobs, openQueue, QUEUE_NAME } from './jobs.js';
import type { Connection } from './redis.js';
import type { Scenario } from './scenario.js';

const CHILDREN = 100;
const DEPTH = 200;
const CONCURRENCY = 100;

/** Fills a tree of batches with so many jobs in all, and returns its sealed root. */
type Plant = (queue: ReturnType<typeof withBatches<BenchQueue>>, jobs: number) => Promise<unknown>;

const ON = { on: { complete: { name: CALLBACK_NAME } } };

const flat: Plant = async (queue, jobs) => {
  const root = await queue.createBatch(ON);
  await root.addBulk(makeJobs(jobs));
  await root.seal();
};

const wide: Plant = async (queue, jobs) => {
  const root = await queue.createBatch(ON);
  for (let n = 0; n < CHILDREN; n++) {
    await queue.addBatch({ parent: root }, [...makeJobs(jobs / CHILDREN)]);
  }
  await root.seal();
};

const deep: Plant = async (queue, jobs) => {
  const batches: Batch<BenchQueue>[] = [await queue.createBatch(ON)];
  for (let n = 1; n < DEPTH; n++) {
    batches.push(await queue.createBatch({ parent: batches[n - 1] as Batch<BenchQueue> }));
  }
  for (const batch of batches) {
    await batch.addBulk(makeJobs(jobs / DEPTH));
  }
  await Promise.all(batches.map((batch) => batch.seal()));
};

export const nested: Scenario = {
  name: 'nested',
  title: `a batch with ${CHILDREN} child batches, and a chain of ${DEPTH}, against one flat batch of as many jobs`,
  jobs: 10_000,
  runs: 5,
  measure: async (setting) => {
    const against = (plant: Plant, name: string) =>
      compare(setting, {
        conditions: `timed: adding, sealing, and working off (concurrency ${CONCURRENCY}) to the end of the root's callback`,
        target: 0.9,
        names: { plain: 'flat', batch: name },
        prepare: (side, prefix) =>
          prepare(side === 'plain' ? flat : plant, { connection: setting.redis.connection, prefix }, setting.jobs),
      });
    return combined({ wide: await against(wide, 'wide'), deep: await against(deep, 'deep') });
  },
};

async function prepare(
  plant: Plant,
  place: { readonly connection: Connection; readonly prefix: string },
  jobs: number,
): Promise<Run> {
  const queue = withBatches(await openQueue(place.connection, place.prefix));
  const batchWorker = new BatchWorker(place);
  const worker = new Worker(QUEUE_NAME, async () => {}, { ...place, concurrency: CONCURRENCY, autorun: false });
  await Promise.all([worker.waitUntilReady(), batchWorker.waitUntilReady()]);
  const done = new Promise<void>((resolve, reject) => {
    worker.on('completed', ({ name }) => {
      if (name === CALLBACK_NAME) {
        resolve();
      }
    });
    batchWorker.on('error', reject);
  });
  return {
    async timed() {
      await plant(queue, jobs);
      worker.run().catch(() => {});
      await done;
    },
    close: () => Promise.all([worker.close(), batchWorker.close(), queue.close()]),
  };
}
