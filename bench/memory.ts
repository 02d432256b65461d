import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { measureBytes } from './bytes.js';
import { combined, count, type Measured } from './compare.js';
import { type Outcome, type Scenario, type Setting, SIDES, type Side } from './scenario.js';

const MAX_GROWTH_MB = 150;
const MB = 1024 * 1024;

/** What the producer's process is told, on its command line. */
export interface ProducerTask {
  readonly url: string;
  readonly prefix: string;
  readonly side: Side;
  readonly jobs: number;
}

/** What it found, in bytes. */
export interface ProducerReport extends Measured {
  readonly rssBefore: number;
  readonly rssMax: number;
  /** The maximum since the process was started, as its operating system has kept it. */
  readonly rssPeak: number;
}

interface MemoryRun {
  readonly jobsPerSecond: number;
  readonly redisMicrosPerJob: number;
  readonly nodeMicrosPerJob: number;
  readonly rssBeforeMB: number;
  readonly rssMaxMB: number;
  readonly rssPeakMB: number;
  readonly rssGrowthMB: number;
  readonly redisMemoryMB: number;
  readonly redisBytesPerJob: number;
}

export const memory: Scenario = {
  name: 'memory',
  title: 'what the memory of a producer grows by that streams jobs, and what members and batches take in Redis',
  jobs: 300_000,
  runs: 1,
  measure: async (setting) => combined({ producer: await measure(setting), bytes: await measureBytes(setting) }),
};

async function measure(setting: Setting): Promise<Outcome> {
  const { redis, runs, say } = setting;
  const found: Record<Side, MemoryRun[]> = { plain: [], batch: [] };
  for (let run = 1; run <= runs; run++) {
    for (const side of SIDES) {
      const one = await redis.withPrefix((prefix) => runOnce(setting, side, prefix));
      found[side].push(one);
      say(`run ${run} of ${runs}, ${side}: RSS +${one.rssGrowthMB.toFixed(1)} MB, ${count(one.jobsPerSecond)} jobs/s`);
    }
  }
  const sides = { plain: worstOf(found.plain), batch: worstOf(found.batch) };
  const met = sides.batch.rssGrowthMB < MAX_GROWTH_MB;
  return {
    conditions:
      'each producer in a process of its own; RSS from just before the adding to its maximum, sampled every 10 ms; ' +
      'of several runs, the one with the largest growth',
    table: SIDES.map((side) => ({
      side,
      'RSS before': megabytes(sides[side].rssBeforeMB),
      max: megabytes(sides[side].rssMaxMB),
      growth: megabytes(sides[side].rssGrowthMB),
      'Redis memory': megabytes(sides[side].redisMemoryMB),
      'bytes/job': count(sides[side].redisBytesPerJob),
      'jobs/s': count(sides[side].jobsPerSecond),
      'Redis µs/job': sides[side].redisMicrosPerJob.toFixed(1),
      'Node µs/job': sides[side].nodeMicrosPerJob.toFixed(1),
    })),
    verdict: `growth of the batch's producer: ${megabytes(sides.batch.rssGrowthMB)}`,
    target: { text: `< ${MAX_GROWTH_MB} MB`, met },
    figures: { sides, target: { belowMB: MAX_GROWTH_MB, met } },
  };
}

async function runOnce({ redis, jobs }: Setting, side: Side, prefix: string): Promise<MemoryRun> {
  const before = await redis.usedMemory();
  const { seconds, redisMicros, nodeMicros, rssBefore, rssMax, rssPeak } = await produce({
    ...{ url: redis.url, prefix },
    ...{ side, jobs },
  });
  const redisBytes = (await redis.usedMemory()) - before;
  return {
    jobsPerSecond: jobs / seconds,
    redisMicrosPerJob: redisMicros / jobs,
    nodeMicrosPerJob: nodeMicros / jobs,
    rssBeforeMB: rssBefore / MB,
    rssMaxMB: rssMax / MB,
    rssPeakMB: rssPeak / MB,
    rssGrowthMB: (rssMax - rssBefore) / MB,
    redisMemoryMB: redisBytes / MB,
    redisBytesPerJob: redisBytes / jobs,
  };
}

/**
 * Runs the producer as this process is run: from its source with the same loader, or compiled. What it prints is not
 * for our standard output.
 */
async function produce(task: ProducerTask): Promise<ProducerReport> {
  const self = fileURLToPath(import.meta.url);
  const producer = join(dirname(self), `memory-producer${extname(self)}`);
  const child = fork(producer, [JSON.stringify(task)], { stdio: ['ignore', 2, 2, 'ipc'] });
  const report = reportOf(child);
  const [code, signal] = await once(child, 'exit');
  if (code !== 0) {
    throw new Error(`The producer's process ended with ${code ?? signal}.`);
  }
  return report;
}

async function reportOf(child: ChildProcess): Promise<ProducerReport> {
  const [report] = await once(child, 'message');
  return report as ProducerReport;
}

function worstOf(runs: readonly MemoryRun[]): MemoryRun {
  return runs.reduce((worst, run) => (run.rssGrowthMB > worst.rssGrowthMB ? run : worst));
}

function megabytes(value: number): string {
  return `${value.toFixed(1)} MB`;
}
