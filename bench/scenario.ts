import type { BenchRedis } from './redis.js';

/** What a scenario is given to measure with. */
export interface Setting {
  readonly redis: BenchRedis;
  readonly jobs: number;
  readonly runs: number;
  /** Is told about each run while the measurement goes on. */
  say(line: string): void;
}

/** What was measured, and how often. */
export interface Amount {
  readonly jobs: number;
  readonly runs: number;
}

/** One of the things that can be measured. */
export interface Scenario {
  readonly name: string;
  /** What is compared, in one line. */
  readonly title: string;
  /** How many jobs per run, and runs per side, unless the command line says otherwise. */
  readonly jobs: number;
  readonly runs: number;
  measure(setting: Setting): Promise<Outcome>;
}

export interface Outcome {
  /** The conditions that a reader must know, beyond the numbers of jobs and runs. */
  readonly conditions: string;
  /** One row per side, as it is printed. The columns are the same in all rows. */
  readonly table: readonly Row[];
  /** One line that sums the table up. */
  readonly verdict: string;
  readonly target: { readonly text: string; readonly met: boolean };
  /** What `--json` adds to the scenario, the environment and the target. */
  readonly figures: Readonly<Record<string, unknown>>;
}

export type Row = { readonly side: string } & Readonly<Record<string, string>>;

export const SIDES = ['plain', 'batch'] as const;

/** Plain BullMQ, or the same jobs as members of a batch. */
export type Side = (typeof SIDES)[number];
