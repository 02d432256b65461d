import type { BenchRedis } from './redis.js';
import { type Outcome, type Setting, SIDES, type Side } from './scenario.js';

/** What one run took. */
export interface Measured {
  readonly seconds: number;
  readonly redisMicros: number;
  readonly nodeMicros: number;
}

/** The timed part of a run, and what ends it. Whatever was done before is not timed. */
export interface Run {
  timed(): Promise<unknown>;
  close(): Promise<unknown>;
}

export interface Comparison {
  /** Sets one run up; everything it writes has this prefix. */
  prepare(side: Side, prefix: string): Promise<Run>;
  readonly conditions: string;
  /** The least acceptable jobs/s of the batch side, as a multiple of the plain side's. */
  readonly target: number;
  /** What is compared with what, where it is not plain BullMQ and a batch. */
  readonly names?: Readonly<Record<Side, string>>;
}

/** Both sides in turn, so that what else the machine does meets both alike. */
export async function compare(setting: Setting, { prepare, ...rest }: Comparison): Promise<Outcome> {
  const { redis, jobs, runs, say } = setting;
  const measured: Record<Side, Measured[]> = { plain: [], batch: [] };
  for (let round = 0; round <= runs; round++) {
    for (const side of SIDES) {
      const run = await redis.withPrefix((prefix) => runOnce(redis, () => prepare(side, prefix)));
      const isWarmUp = round === 0;
      if (!isWarmUp) {
        measured[side].push(run);
      }
      say(`${isWarmUp ? 'warm-up' : `run ${round} of ${runs}`}, ${side}: ${count(jobs / run.seconds)} jobs/s`);
    }
  }
  return outcomeOf(measured, jobs, rest);
}

/** Measures time, and what Redis and this process spend on it. */
export async function measure(redis: BenchRedis, timed: () => Promise<unknown>): Promise<Measured> {
  const redisBefore = await redis.cpuMicros();
  const nodeBefore = process.cpuUsage();
  const start = performance.now();
  await timed();
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(nodeBefore);
  return { seconds, redisMicros: (await redis.cpuMicros()) - redisBefore, nodeMicros: user + system };
}

async function runOnce(redis: BenchRedis, prepare: () => Promise<Run>): Promise<Measured> {
  const run = await prepare();
  try {
    return await measure(redis, run.timed);
  } finally {
    await run.close();
  }
}

function outcomeOf(
  measured: Record<Side, readonly Measured[]>,
  jobs: number,
  { conditions, target, names = { plain: 'plain', batch: 'batch' } }: Omit<Comparison, 'prepare'>,
): Outcome {
  const sides = { plain: summaryOf(measured.plain, jobs), batch: summaryOf(measured.batch, jobs) };
  const ratio = sides.batch.jobsPerSecond.median / sides.plain.jobsPerSecond.median;
  const pairs = spread(measured.batch.map(({ seconds }, i) => (measured.plain[i]?.seconds ?? Number.NaN) / seconds));
  const met = ratio >= target;
  return {
    conditions,
    table: SIDES.map((side) => ({
      side: names[side],
      'jobs/s: min': count(sides[side].jobsPerSecond.min),
      median: count(sides[side].jobsPerSecond.median),
      max: count(sides[side].jobsPerSecond.max),
      'Redis µs/job': sides[side].redisMicrosPerJob.toFixed(1),
      'Node µs/job': sides[side].nodeMicrosPerJob.toFixed(1),
    })),
    verdict:
      `${names.batch} ÷ ${names.plain}, ratio of the medians: ${ratio.toFixed(3)} (pairs: ${pairs.min.toFixed(3)} to ` +
      `${pairs.max.toFixed(3)})`,
    target: { text: `≥ ${target.toFixed(2)}`, met },
    figures: { sides, ratio, pairs, target: { atLeast: target, met } },
  };
}

/** Several measurements as one scenario: the figures of each are under its name. */
export function combined(parts: Readonly<Record<string, Outcome>>): Outcome {
  const all = Object.entries(parts);
  return {
    conditions: all.map(([name, { conditions }]) => `${name}: ${conditions}`).join('\n'),
    table: all.flatMap(([name, { table }]) => table.map((row) => ({ ...row, side: `${name}, ${row.side}` }))),
    verdict: all.map(([name, { verdict }]) => `${name}: ${verdict}`).join('\n'),
    target: {
      text: all.map(([name, { target }]) => `${name} ${target.text}`).join(', '),
      met: all.every(([, { target }]) => target.met),
    },
    figures: Object.fromEntries(all.map(([name, { figures }]) => [name, figures])),
  };
}

function summaryOf(runs: readonly Measured[], jobs: number) {
  return {
    jobsPerSecond: spread(runs.map(({ seconds }) => jobs / seconds)),
    redisMicrosPerJob: spread(runs.map(({ redisMicros }) => redisMicros / jobs)).median,
    nodeMicrosPerJob: spread(runs.map(({ nodeMicros }) => nodeMicros / jobs)).median,
  };
}

export function spread(values: readonly number[]): { min: number; median: number; max: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (position: number) => sorted[position] ?? Number.NaN;
  const middle = (sorted.length - 1) / 2;
  return { min: at(0), median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2, max: at(sorted.length - 1) };
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en');
}
