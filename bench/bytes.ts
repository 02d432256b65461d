import { setTimeout as pause } from 'node:timers/promises';
import { FlowProducer, Worker } from 'bullmq';
import { BatchWorker, withBatches } from '../src/index.js';
import { count } from './compare.js';
import { CALLBACK_NAME, makeJobs, openQueue, producerFor, QUEUE_NAME } from './jobs.js';
import { type Outcome, type Setting, SIDES, type Side } from './scenario.js';

const PENDING = 10_000;
const BATCHES = 200;
const MEMBERS = 10;
/** How many batches are worked off at the same time; they are a multiple of it. */
const AT_ONCE = 10;

/** The most that a pending member may take, as a multiple of a plain job, by the size of its data. */
const MOST = { 10: 2.2, 100: 1.25 } as const;
const MOST_LEFT = 1500;

/** What pending members, and finished batches, take in Redis. */
export async function measureBytes(setting: Setting): Promise<Outcome> {
  const sizes = Object.keys(MOST).map(Number) as (keyof typeof MOST)[];
  const pending = await inTurn(sizes, (size) => pendingBytes(setting, size));
  const left = await bytesLeft(setting);
  const leftOfTree = await bytesLeftOfTree(setting);
  const met = left <= MOST_LEFT && pending.every(({ size, ratio }) => ratio <= MOST[size]);
  return {
    conditions: `${count(PENDING)} pending members; ${BATCHES} finished batches of ${MEMBERS} removed members, one callback`,
    table: [
      ...pending.map(({ size, plain, batch, ratio }) => ({
        side: `pending, data of ${size} bytes`,
        plain: count(plain),
        batch: count(batch),
        ratio: ratio.toFixed(2),
      })),
      {
        side: `left of ${MEMBERS} finished jobs: a FlowProducer tree, a batch`,
        plain: count(leftOfTree),
        batch: count(left),
        ratio: (left / leftOfTree).toFixed(2),
      },
    ],
    verdict: `bytes per pending member, batch ÷ plain: ${pending.map(({ ratio }) => ratio.toFixed(2)).join(', ')}`,
    target: { text: `≤ ${Object.values(MOST).join(' × and ')} × plain; ≤ ${count(MOST_LEFT)} bytes left`, met },
    figures: { pending, left, leftOfTree, target: { most: MOST, mostLeft: MOST_LEFT, met } },
  };
}

async function inTurn<T, R>(values: readonly T[], work: (value: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const value of values) {
    results.push(await work(value));
  }
  return results;
}

async function pendingBytes(setting: Setting, size: keyof typeof MOST) {
  const [plain = Number.NaN, batch = Number.NaN] = await inTurn(SIDES, (side) => bytesPerJob(setting, side, size));
  return { size, plain, batch, ratio: batch / plain };
}

function bytesPerJob({ redis }: Setting, side: Side, dataBytes: number): Promise<number> {
  return redis.withPrefix(async (prefix) => {
    const queue = await openQueue(redis.connection, prefix);
    const producer = await producerFor(side, queue, dataBytes);
    await producer.add(1);
    await redis.shrunk();
    const before = await redis.usedMemory();
    await producer.add(PENDING);
    const bytes = ((await redis.usedMemory()) - before) / PENDING;
    await queue.close();
    return bytes;
  });
}

/** The members of a batch, which are removed when they have completed. */
function removedRows() {
  return [...makeJobs(MEMBERS)].map((row) => ({ ...row, opts: { removeOnComplete: true } }));
}

function bytesLeft({ redis }: Setting): Promise<number> {
  return redis.withPrefix(async (prefix) => {
    const place = { connection: redis.connection, prefix };
    const queue = withBatches(await openQueue(redis.connection, prefix));
    const worker = new Worker(QUEUE_NAME, async () => {}, { ...place, concurrency: 20 });
    const batchWorker = new BatchWorker(place);
    const bytes = await bytesPerTurn({ redis, prefix }, async () => {
      const batch = await queue.addBatch({ on: { complete: { name: CALLBACK_NAME } } }, removedRows());
      await batch.waitUntilFinished();
    });
    await Promise.all([worker.close(), batchWorker.close(), queue.close()]);
    return bytes;
  });
}

/** What BullMQ itself keeps of a parent that runs when its children have: it knows of no batch, and of no outcome. */
function bytesLeftOfTree({ redis }: Setting): Promise<number> {
  return redis.withPrefix(async (prefix) => {
    const place = { connection: redis.connection, prefix };
    const producer = new FlowProducer(place);
    const worker = new Worker(QUEUE_NAME, async () => {}, { ...place, concurrency: 20 });
    const bytes = await bytesPerTurn({ redis, prefix }, async () => {
      const children = removedRows().map((row) => ({ ...row, queueName: QUEUE_NAME }));
      const { job } = await producer.add({ name: CALLBACK_NAME, queueName: QUEUE_NAME, children });
      while (!(await job.isCompleted())) {
        await pause(5);
      }
    });
    await Promise.all([worker.close(), producer.close()]);
    return bytes;
  });
}

/** What is left per turn, by key. The streams of events, which are trimmed, are not counted. */
async function bytesPerTurn(
  { redis, prefix }: Pick<Setting, 'redis'> & { readonly prefix: string },
  turn: () => Promise<void>,
): Promise<number> {
  const run = async (turns: number) => {
    for (let n = 0; n < turns; n += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, turn));
    }
    await pause(50);
    return redis.bytesOfKeys(prefix, (key) => !key.endsWith(':events'));
  };
  const before = await run(AT_ONCE);
  return ((await run(BATCHES)) - before) / BATCHES;
}
