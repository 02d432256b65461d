import { FlowProducer, Worker } from 'bullmq';
import { BatchWorker, withBatches } from '../src/index.js';
import { combined, compare, type Run } from './compare.js';
import { CALLBACK_NAME, makeJobs, openQueue, QUEUE_NAME } from './jobs.js';
import type { Connection } from './redis.js';
import type { Scenario, Side } from './scenario.js';

const MEMBERS = 10;

/** How many batches are created at the same time. */
const AT_ONCE = 20;

const CONCURRENCY = 50;

const names = { plain: 'FlowProducer', batch: 'batches' };

export const small: Scenario = {
  name: 'small',
  title: `batches of ${MEMBERS} with one callback, against FlowProducer trees of the same shape: created, and worked off`,
  jobs: 10_000,
  runs: 5,
  measure: async (setting) => {
    const { redis, jobs } = setting;
    return combined({
      created: await compare(setting, {
        conditions: `timed: addBatch(options, ${MEMBERS} jobs) or flowProducer.add(tree), ${AT_ONCE} at the same time`,
        target: 2,
        names,
        async prepare(side, prefix) {
          const { add, close } = await creatorOf(side, { connection: redis.connection, prefix });
          return { timed: () => inParallel(jobs / MEMBERS, add), close };
        },
      }),
      worked: await compare(setting, {
        conditions: `timed: from the start of a worker (concurrency ${CONCURRENCY}) to the end of the last callback`,
        target: 1,
        names,
        prepare: (side, prefix) => toBeWorked(side, { connection: redis.connection, prefix }, jobs / MEMBERS),
      }),
    });
  },
};

interface Place {
  readonly connection: Connection;
  readonly prefix: string;
}

async function creatorOf(side: Side, place: Place): Promise<{ add(): Promise<unknown>; close(): Promise<unknown> }> {
  const rows = [...makeJobs(MEMBERS)];
  if (side === 'plain') {
    const producer = new FlowProducer(place);
    await producer.waitUntilReady();
    const tree = { name: CALLBACK_NAME, queueName: QUEUE_NAME, data: {} };
    const children = rows.map((row) => ({ ...row, queueName: QUEUE_NAME, opts: { ignoreDependencyOnFailure: true } }));
    return { add: () => producer.add({ ...tree, children }), close: () => producer.close() };
  }
  const queue = await openQueue(place.connection, place.prefix);
  const batches = withBatches(queue);
  return {
    add: () => batches.addBatch({ on: { complete: { name: CALLBACK_NAME } } }, rows),
    close: () => queue.close(),
  };
}

async function inParallel(times: number, work: () => Promise<unknown>): Promise<void> {
  let left = times;
  const one = async () => {
    while (left-- > 0) {
      await work();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

async function toBeWorked(side: Side, place: Place, count: number): Promise<Run> {
  const creator = await creatorOf(side, place);
  await inParallel(count, creator.add);
  await creator.close();
  const batchWorker = side === 'batch' ? new BatchWorker(place) : undefined;
  await batchWorker?.waitUntilReady();
  const worker = new Worker(QUEUE_NAME, async () => {}, { ...place, concurrency: CONCURRENCY, autorun: false });
  await worker.waitUntilReady();
  return {
    timed: () =>
      new Promise<void>((resolve, reject) => {
        let left = count;
        worker.on('completed', ({ name }) => {
          if (name === CALLBACK_NAME && --left === 0) {
            resolve();
          }
        });
        worker.on('failed', (_, error) => reject(error));
        batchWorker?.on('error', reject);
        worker.run().catch(reject);
      }),
    close: () => Promise.all([worker.close(), batchWorker?.close()]),
  };
}
