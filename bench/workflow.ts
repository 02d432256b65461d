import { Worker } from 'bullmq';
import { BatchWorker, defineWorkflow, type Stages, withBatches } from '../src/index.js';
import { count, type Measured, measure, spread } from './compare.js';
import { addInChunks, type BenchQueue, makeJobs, openQueue, QUEUE_NAME } from './jobs.js';
import type { Connection } from './redis.js';
import { type Outcome, type Row, type Scenario, type Setting, SIDES, type Side } from './scenario.js';

const CONCURRENCY = 200;
const LAYERS = 20;
const LEAST_RATIO = 0.8;

/** A graph of jobs, as pg-boss has measured its dependencies with. */
interface Shape {
  readonly name: string;
  /** Whether its ratio has a target; for the others what counts is what a stage costs. */
  readonly hasTarget: boolean;
  readonly stages: Stages;
  /** How many runs of it are started at once. */
  readonly runs: number;
  readonly jobs: number;
}

function shapesOf(jobs: number): Shape[] {
  const many = (number: number) => ({ jobs: [...makeJobs(number)] });
  const one = { jobs: [...makeJobs(1)] };
  const layers = Math.max(1, Math.floor(jobs / LAYERS));
  const links = Math.max(2, Math.floor(jobs / 50));
  const diamonds = Math.max(1, Math.floor(jobs / 10));
  return [
    {
      name: `fan-out 1 → ${count(jobs - 1)}`,
      hasTarget: true,
      runs: 1,
      jobs,
      stages: { a: one, b: { after: 'a', ...many(jobs - 1) } },
    },
    {
      name: `fan-in ${count(jobs - 1)} → 1`,
      hasTarget: true,
      runs: 1,
      jobs,
      stages: { a: many(jobs - 1), b: { after: 'a', ...one } },
    },
    {
      name: `${LAYERS} layers of ${count(layers)}`,
      hasTarget: true,
      runs: 1,
      jobs: LAYERS * layers,
      stages: chain(LAYERS, many(layers)),
    },
    { name: `a chain of ${count(links)} stages`, hasTarget: false, runs: 1, jobs: links, stages: chain(links, one) },
    {
      name: `${count(diamonds)} diamonds of five jobs`,
      hasTarget: false,
      runs: diamonds,
      jobs: 5 * diamonds,
      stages: {
        a: one,
        ...Object.fromEntries(['b', 'c', 'd'].map((name) => [name, { after: 'a', ...one }])),
        e: { after: ['b', 'c', 'd'], ...one },
      },
    },
  ];
}

function chain(length: number, stage: Stages[string]): Stages {
  const links = Array.from({ length }, (_, i) => [`s${i}`, { ...(i === 0 ? {} : { after: `s${i - 1}` }), ...stage }]);
  return Object.fromEntries(links);
}

export const workflow: Scenario = {
  name: 'workflow',
  title: 'starts workflows and works them off, against the same jobs without an order in plain BullMQ',
  jobs: 10_000,
  runs: 3,
  async measure(setting) {
    const rows: Row[] = [];
    const figures: Record<string, object> = {};
    let met = true;
    for (const shape of shapesOf(setting.jobs)) {
      const sides = await measureShape(setting, shape);
      const seconds = (side: Side) => spread(sides[side].map((run) => run.seconds)).median;
      const ratio = seconds('plain') / seconds('batch');
      const stages = Object.keys(shape.stages).length * shape.runs;
      const msPerStage = (1000 * (seconds('batch') - seconds('plain'))) / stages;
      met &&= !shape.hasTarget || ratio >= LEAST_RATIO;
      rows.push({
        side: shape.name,
        'plain jobs/s': count(shape.jobs / seconds('plain')),
        'workflow jobs/s': count(shape.jobs / seconds('batch')),
        ratio: ratio.toFixed(2),
        'ms more per stage': msPerStage.toFixed(2),
        'Redis µs more per stage': count(microsPerStage(sides, 'redisMicros', stages)),
        'Node µs more per stage': count(microsPerStage(sides, 'nodeMicros', stages)),
      });
      figures[shape.name] = {
        jobs: shape.jobs,
        stages,
        ratio,
        msPerStage,
        seconds: { plain: seconds('plain'), batch: seconds('batch') },
      };
    }
    return outcome(rows, figures, met);
  },
};

function outcome(rows: readonly Row[], shapes: object, met: boolean): Outcome {
  return {
    conditions:
      `timed: from start(), or addBulk, to the end of the last run, or job, with a worker (concurrency ${CONCURRENCY}, ` +
      'jobs that do nothing) and a BatchWorker in this process; medians',
    table: rows,
    verdict:
      'ratio: workflow ÷ plain jobs/s; the last two shapes have stages of one job, so their costs per stage count',
    target: { text: `≥ ${LEAST_RATIO.toFixed(2)} for the first three`, met },
    figures: { shapes, target: { atLeast: LEAST_RATIO, met } },
  };
}

function microsPerStage(
  sides: Record<Side, readonly Measured[]>,
  what: 'redisMicros' | 'nodeMicros',
  stages: number,
): number {
  const median = (side: Side) => spread(sides[side].map((run) => run[what])).median;
  return (median('batch') - median('plain')) / stages;
}

async function measureShape({ redis, runs, say }: Setting, shape: Shape): Promise<Record<Side, Measured[]>> {
  const measured: Record<Side, Measured[]> = { plain: [], batch: [] };
  for (let round = 0; round <= runs; round++) {
    for (const side of SIDES) {
      const run = await redis.withPrefix((prefix) =>
        runOnce(side, shape, { connection: redis.connection, prefix }, redis),
      );
      if (round > 0) {
        measured[side].push(run);
      }
      say(
        `${shape.name}: ${round === 0 ? 'warm-up' : `run ${round} of ${runs}`}, ${side}: ${run.seconds.toFixed(2)} s`,
      );
    }
  }
  return measured;
}

async function runOnce(
  side: Side,
  shape: Shape,
  place: { readonly connection: Connection; readonly prefix: string },
  redis: Setting['redis'],
): Promise<Measured> {
  const queue = await openQueue(place.connection, place.prefix);
  const worker = new Worker(QUEUE_NAME, async () => {}, { ...place, concurrency: CONCURRENCY });
  const batchWorker = side === 'batch' ? new BatchWorker(place) : undefined;
  await Promise.all([worker.waitUntilReady(), batchWorker?.waitUntilReady()]);
  try {
    return await measure(redis, () =>
      side === 'plain' ? workOff(queue, worker, shape) : runAll(queue, batchWorker, shape),
    );
  } finally {
    await Promise.all([worker.close(), batchWorker?.close()]);
    await queue.close();
  }
}

async function workOff(queue: BenchQueue, worker: Worker, { jobs }: Shape): Promise<void> {
  const done = untilTimes(jobs, (tick) => worker.on('completed', tick));
  await addInChunks(queue, makeJobs(jobs));
  await done;
}

async function runAll(queue: BenchQueue, batchWorker: BatchWorker | undefined, { runs, stages }: Shape): Promise<void> {
  const defined = defineWorkflow('bench', stages, { queue: withBatches(queue) });
  const ids = new Set<string>();
  const ended = new Set<string>();
  const done = new Promise<void>((resolve, reject) => {
    batchWorker?.on('error', reject);
    batchWorker?.on('finished', ({ batchId }) => {
      ended.add(batchId);
      if (ids.size === runs && [...ids].every((id) => ended.has(id))) {
        resolve();
      }
    });
  });
  for (let n = 0; n < runs; n++) {
    ids.add(`run-${n}`);
  }
  await Promise.all([done, ...[...ids].map((id) => defined.start({}, { id }))]);
}

function untilTimes(times: number, listen: (tick: () => void) => void): Promise<void> {
  let left = times;
  return new Promise((resolve) => {
    listen(() => {
      left -= 1;
      if (left === 0) {
        resolve();
      }
    });
  });
}
