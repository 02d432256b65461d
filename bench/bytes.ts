import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { BatchWorker, withBatches } from '../src/index.js';
import { count } from './compare.js';
import { CALLBACK_NAME, makeJobs, openQueue, producerFor, QUEUE_NAME } from './jobs.js';
import { type Outcome, type Setting, SIDES, type Side } from './scenario.js';

const PENDING = 10_000;
const BATCHES = 200;
const MEMBERS = 10;

/** The most that a pending member may take, as a multiple of a plain job, by the size of its data. */
const MOST = { 10: 2.2, 100: 1.25 } as const;
const MOST_LEFT = 1500;

/** What pending members, and finished batches, take in Redis. */
export async function measureBytes(setting: Setting): Promise<Outcome> {
  const sizes = Object.keys(MOST).map(Number) as (keyof typeof MOST)[];
  const pending = await inTurn(sizes, (size) => pendingBytes(setting, size));
  const left = await bytesLeft(setting);
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
      { side: `left of a finished batch of ${MEMBERS}`, plain: '', batch: count(left), ratio: '' },
    ],
    verdict: `bytes per pending member, batch ÷ plain: ${pending.map(({ ratio }) => ratio.toFixed(2)).join(', ')}`,
    target: { text: `≤ ${Object.values(MOST).join(' × and ')} × plain; ≤ ${count(MOST_LEFT)} bytes left`, met },
    figures: { pending, left, target: { most: MOST, mostLeft: MOST_LEFT, met } },
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
    const before = await redis.usedMemory();
    await producer.add(PENDING);
    const bytes = ((await redis.usedMemory()) - before) / PENDING;
    await queue.close();
    return bytes;
  });
}

/** The streams of events, which are trimmed, are not counted. */
function bytesLeft({ redis }: Setting): Promise<number> {
  return redis.withPrefix(async (prefix) => {
    const place = { connection: redis.connection, prefix };
    const queue = withBatches(await openQueue(redis.connection, prefix));
    const worker = new Worker(QUEUE_NAME, async () => {}, { ...place, concurrency: 20 });
    const batchWorker = new BatchWorker(place);
    const work = async (batches: number) => {
      for (let n = 0; n < batches; n++) {
        const rows = [...makeJobs(MEMBERS)].map((row) => ({ ...row, opts: { removeOnComplete: true } }));
        const batch = await queue.addBatch({ on: { complete: { name: CALLBACK_NAME } } }, rows);
        await batch.waitUntilFinished();
      }
      await pause(50);
      return (await redis.usedMemory()) - (await streamBytes(redis.client, prefix));
    };
    const before = await work(10);
    const bytes = ((await work(BATCHES)) - before) / BATCHES;
    await Promise.all([worker.close(), batchWorker.close(), queue.close()]);
    return bytes;
  });
}

async function streamBytes(client: Setting['redis']['client'], prefix: string): Promise<number> {
  const keys = [QUEUE_NAME, 'batches'].map((name) => `${prefix}:${name}:events`);
  const sizes = await Promise.all(keys.map((key) => client.memory('USAGE', key, 'SAMPLES', 0)));
  return sizes.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
}
