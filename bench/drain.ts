import { setTimeout as pause } from 'node:timers/promises';
import { FlowProducer, Queue, Worker } from 'bullmq';
import { BatchWorker } from '../src/index.js';
import { compare, type Run } from './compare.js';
import { CALLBACK_NAME, makeJobs, openQueue, producerFor, QUEUE_NAME } from './jobs.js';
import type { Connection } from './redis.js';
import type { Scenario, Side } from './scenario.js';

const CONCURRENCY = 200;

export const drain: Scenario = {
  name: 'drain',
  title: 'works jobs off: a sealed batch, up to the end of its callback, against the same jobs without a batch',
  jobs: 20_000,
  runs: 5,
  measure: (setting) =>
    compare(setting, {
      conditions:
        `timed: from the start of a worker (concurrency ${CONCURRENCY}, in this process, jobs that do nothing) to ` +
        `the completion of the last job (plain), or of the complete callback's job (batch, with a BatchWorker in ` +
        'this process)',
      target: 0.95,
      prepare: (side, prefix) => prepare(side, { connection: setting.redis.connection, prefix }, setting.jobs),
    }),
};

/** What a parent costs its children in BullMQ's own accounting, which that of a batch cannot be below. */
export const drainFlow: Scenario = {
  ...drain,
  name: 'drain-flow',
  title: "the same, against BullMQ's own children of one parent, made by a FlowProducer",
  measure: (setting) =>
    compare(setting, {
      conditions: 'timed: as in drain',
      target: 1,
      names: { plain: 'children', batch: 'batch' },
      prepare: (side, prefix) =>
        prepare(side, { connection: setting.redis.connection, prefix }, setting.jobs, fillWithChildren),
    }),
};

interface Place {
  readonly connection: Connection;
  readonly prefix: string;
}

async function prepare(side: Side, place: Place, jobs: number, fillPlain?: typeof fillWithChildren): Promise<Run> {
  await (side === 'plain' && fillPlain ? fillPlain(place, jobs) : fill(side, place, jobs));
  const batchWorker = side === 'batch' ? new BatchWorker(place) : undefined;
  const batchFailed = new Promise<never>((_, reject) => batchWorker?.on('error', reject));
  batchFailed.catch(() => {});
  if (batchWorker !== undefined) {
    await Promise.race([untilBatchWaits(place), batchFailed]);
  }
  const worker = new Worker(QUEUE_NAME, async () => {}, { ...place, concurrency: CONCURRENCY, autorun: false });
  await worker.waitUntilReady();
  return {
    timed() {
      const drained = side === 'plain' ? untilCompleted(worker, jobs) : untilCallback(worker);
      const stopped = worker.run();
      return Promise.race([drained, batchFailed, stopped.then(() => drained)]);
    },
    close: () => Promise.all([worker.close(), batchWorker?.close()]),
  };
}

async function fill(side: Side, { connection, prefix }: Place, jobs: number): Promise<void> {
  const queue = await openQueue(connection, prefix);
  const producer = await producerFor(side, queue);
  await producer.add(jobs);
  await producer.seal();
  await queue.close();
}

async function fillWithChildren(place: Place, jobs: number): Promise<void> {
  const producer = new FlowProducer(place);
  const opts = { ignoreDependencyOnFailure: true };
  const children = [...makeJobs(jobs)].map((job) => ({ ...job, queueName: QUEUE_NAME, opts }));
  await producer.add({ name: CALLBACK_NAME, queueName: 'parents', data: {}, children });
  await producer.close();
}

/** A sealed batch waits for its members once a BatchWorker has looked at it. */
async function untilBatchWaits({ connection, prefix }: Place): Promise<void> {
  const batches = new Queue('batches', { connection, prefix });
  while ((await batches.getWaitingChildrenCount()) === 0) {
    await pause(5);
  }
  await batches.close();
}

function untilCompleted(worker: Worker, jobs: number): Promise<void> {
  let completed = 0;
  return untilJob(worker, () => ++completed === jobs);
}

function untilCallback(worker: Worker): Promise<void> {
  return untilJob(worker, (name) => name === CALLBACK_NAME);
}

function untilJob(worker: Worker, isLast: (name: string) => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.on('completed', ({ name }) => {
      if (isLast(name)) {
        resolve();
      }
    });
    worker.on('failed', (_, error) => reject(error));
    worker.on('error', reject);
  });
}
