import { Worker } from 'bullmq';
import { BatchWorker, withBatches } from '../src/index.js';
import { spread } from './compare.js';
import { CALLBACK_NAME, openQueue, QUEUE_NAME } from './jobs.js';
import type { Outcome, Scenario, Setting } from './scenario.js';

const MEMBER_NAME = 'member';
const MAX_MS = 2;
const MAX_RATIO = 4;

export const latency: Scenario = {
  name: 'latency',
  title: 'how long after the last member the callback starts, against queue.add until the job starts',
  jobs: 500,
  runs: 1,
  measure: ({ redis, ...setting }) => redis.withPrefix((prefix) => measure({ redis, ...setting }, prefix)),
};

async function measure({ redis: { connection }, jobs }: Setting, prefix: string): Promise<Outcome> {
  const queue = withBatches(await openQueue(connection, prefix));
  const batchWorker = new BatchWorker({ connection, prefix });
  let [memberReturnedAt, startedAt] = [0, 0];
  let started = () => {};
  const work = async ({ name }: { readonly name: string }) => {
    if (name === MEMBER_NAME) {
      memberReturnedAt = performance.now();
    } else {
      startedAt = performance.now();
      started();
    }
  };
  const worker = new Worker(QUEUE_NAME, work, { connection, prefix });
  await Promise.all([worker.waitUntilReady(), batchWorker.waitUntilReady()]);
  const untilStarted = async (add: () => Promise<unknown>) => {
    const start = new Promise<void>((resolve) => {
      started = resolve;
    });
    await Promise.all([add(), start]);
  };
  const plain: number[] = [];
  const callback: number[] = [];
  for (let n = 0; n < jobs; n++) {
    const addedAt = performance.now();
    await untilStarted(() => queue.add('plain', { text: '' }));
    plain.push(startedAt - addedAt);
    const members = [{ name: MEMBER_NAME, data: { text: '' } }];
    await untilStarted(() => queue.addBatch({ on: { complete: { name: CALLBACK_NAME } } }, members));
    callback.push(startedAt - memberReturnedAt);
  }
  await Promise.all([worker.close(), batchWorker.close(), queue.close()]);
  return outcomeOf(plain, callback);
}

function outcomeOf(plain: readonly number[], callback: readonly number[]): Outcome {
  const sides = { plain: percentiles(plain), callback: percentiles(callback) };
  const ratio = sides.callback.p50 / sides.plain.p50;
  const met = sides.callback.p50 <= MAX_MS && ratio <= MAX_RATIO;
  const ms = (value: number) => `${value.toFixed(2)} ms`;
  return {
    conditions: 'one after the other, in turn, with nothing else to do: a worker and a BatchWorker in this process',
    table: Object.entries(sides).map(([side, { p50, p95 }]) => ({ side, p50: ms(p50), p95: ms(p95) })),
    verdict: `callback ÷ plain, ratio of the medians: ${ratio.toFixed(2)}`,
    target: { text: `p50 ≤ ${MAX_MS} ms and ≤ ${MAX_RATIO} × plain`, met },
    figures: { sides, ratio, target: { atMostMs: MAX_MS, atMostRatio: MAX_RATIO, met } },
  };
}

function percentiles(values: readonly number[]): { readonly p50: number; readonly p95: number } {
  const sorted = [...values].sort((a, b) => a - b);
  return { p50: spread(values).median, p95: sorted[Math.floor(0.95 * (sorted.length - 1))] ?? Number.NaN };
}
