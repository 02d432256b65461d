import { execFile } from 'node:child_process';
import { expect, inject, test } from 'vitest';
import { programPath } from '../support/programs.js';

test.each(['enqueue', 'drain', 'drain-flow'])('%s compares the jobs per second of both sides', async (scenario) => {
  const { code, json } = await bench(scenario, '--jobs', '500', '--runs', '1', '--json');

  const side = {
    jobsPerSecond: { min: positive, median: positive, max: positive },
    redisMicrosPerJob: positive,
    nodeMicrosPerJob: positive,
  };
  expect(json).toEqual({
    scenario,
    jobs: 500,
    dataBytes: 100,
    runs: 1,
    environment,
    sides: { plain: side, batch: side },
    ratio: positive,
    pairs: { min: positive, median: positive, max: positive },
    target: { atLeast: { enqueue: 4, drain: 0.95, 'drain-flow': 1 }[scenario], met: expect.any(Boolean) },
  });
  expect(code).toBe(0);
});

test('memory reports what the producer of each side has grown by', async () => {
  const { code, json } = await bench('memory', '--jobs', '5000', '--json');

  const side = {
    jobsPerSecond: positive,
    redisMicrosPerJob: positive,
    nodeMicrosPerJob: positive,
    rssBeforeMB: positive,
    rssMaxMB: positive,
    rssPeakMB: positive,
    rssGrowthMB: number,
    redisMemoryMB: number,
    redisBytesPerJob: number,
  };
  expect(json).toEqual({
    scenario: 'memory',
    jobs: 5000,
    dataBytes: 100,
    runs: 1,
    environment,
    producer: { sides: { plain: side, batch: side }, target: { belowMB: 150, met: true } },
    bytes: {
      // Other tests free memory of the same Redis meanwhile.
      pending: [10, 100].map((size) => ({ size, plain: number, batch: number, ratio: number })),
      left: number,
      leftOfTree: number,
      target: { most: { 10: 2.2, 100: 1.25 }, mostLeft: 1500, met: expect.any(Boolean) },
    },
  });
  expect(code).toBe(0);
});

test.each(['small', 'nested'])('%s compares two situations', async (scenario) => {
  const { json } = await bench(scenario, '--jobs', '400', '--runs', '1', '--json');
  const parts = { small: ['created', 'worked'], nested: ['wide', 'deep'] }[scenario] ?? [];
  for (const part of parts) {
    expect(json).toHaveProperty(`${part}.ratio`, positive);
  }
});

test('workflow compares each shape with the same jobs, and says what a stage costs', async () => {
  const { code, json } = await bench('workflow', '--jobs', '100', '--runs', '1', '--json');

  const shape = {
    jobs: positive,
    stages: positive,
    ratio: positive,
    msPerStage: number,
    seconds: { plain: positive, batch: positive },
  };
  expect(json).toEqual({
    scenario: 'workflow',
    jobs: 100,
    dataBytes: 100,
    runs: 1,
    environment,
    shapes: {
      'fan-out 1 → 99': shape,
      'fan-in 99 → 1': shape,
      '20 layers of 5': shape,
      'a chain of 2 stages': shape,
      '10 diamonds of five jobs': shape,
    },
    target: { atLeast: 0.8, met: expect.any(Boolean) },
  });
  expect(code).toBe(0);
});

test('people get a table that says whether the target was met', async () => {
  const { stdout } = await bench('enqueue', '--jobs', '100', '--runs', '1');

  expect(stdout).toMatch(/^plain +\d.*\nbatch +\d/m);
  expect(stdout).toMatch(/^target: ≥ 4\.00 — (met|NOT met)$/m);
});

test.each([
  ['a scenario that does not exist', ['enquue'], `There is no scenario 'enquue'.`],
  ['no scenario', [], 'No scenario was given.'],
  ['an unknown option', ['drain', '--job', '5'], `Unknown option '--job'.`],
  ['a number that is none', ['drain', '--jobs', 'many'], `--jobs takes a positive integer, not 'many'.`],
])('%s is an error that says what there is', async (_, args, mistake) => {
  const { code, stdout, stderr } = await bench(...args);

  expect(stderr).toContain(mistake);
  expect(stderr).toContain(
    'Scenarios are: enqueue, enqueue-mixed, drain, drain-flow, small, latency, nested, memory, huge, workflow; all.',
  );
  expect(stdout).toBe('');
  expect(code).toBe(1);
});

const number = expect.any(Number);
const positive = expect.toSatisfy((value) => typeof value === 'number' && value > 0, 'a positive number');

const environment = {
  node: process.versions.node,
  bullmq: expect.stringMatching(/^\d+\.\d+\.\d+/),
  redis: expect.stringMatching(/^\w+ \d+\.\d+/),
  redisFrom: 'REDIS_URL',
  cpus: positive,
  cpuModel: expect.any(String),
};

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The last line of the standard output, where it is JSON. */
  readonly json: unknown;
}

function bench(...args: string[]): Promise<Ended> {
  const env = { ...process.env, REDIS_URL: inject('redisUrl') };
  return new Promise((done) => {
    execFile(process.execPath, [programPath('bench'), ...args], { env }, (error, stdout, stderr) => {
      const lastLine = stdout.trimEnd().split('\n').pop() ?? '';
      done({
        code: error === null ? 0 : Number(error.code),
        stdout,
        stderr,
        json: lastLine.startsWith('{') ? JSON.parse(lastLine) : undefined,
      });
    });
  });
}
