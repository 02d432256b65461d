import { parseArgs } from 'node:util';
import type { Scenario } from './scenario.js';

export interface Options {
  /** One of the scenarios, or, for 'all', each of them. */
  readonly scenarios: readonly Scenario[];
  /** As the command line says; else each scenario has its own. */
  readonly jobs: number | undefined;
  readonly runs: number | undefined;
  readonly json: boolean;
  readonly check: boolean;
  /** Whether Redis gets a core of its own. */
  readonly pinned: boolean;
}

/** A mistake on the command line. */
export class UsageError extends Error {}

export const HELP = 'help';

/** The name of all scenarios, one after another. */
const ALL = 'all';

/** Reads the command line; `HELP` when that is what was asked for. */
export function readOptions(args: readonly string[], scenarios: readonly Scenario[]): Options | typeof HELP {
  const { values, positionals } = parse(args);
  if (values.help) {
    return HELP;
  }
  const [name, ...others] = positionals;
  const chosen = scenarios.filter((known) => name === ALL || known.name === name);
  if (chosen.length === 0) {
    const mistake = name === undefined ? 'No scenario was given' : `There is no scenario '${name}'`;
    throw new UsageError(`${mistake}.`);
  }
  if (others.length > 0) {
    throw new UsageError(`One scenario at a time, not also '${others.join("', '")}'.`);
  }
  return {
    scenarios: chosen,
    jobs: positive('--jobs', values.jobs),
    runs: positive('--runs', values.runs),
    json: values.json ?? false,
    check: values.check ?? false,
    pinned: values.pin ?? false,
  };
}

export function help(scenarios: readonly Scenario[]): string {
  const width = Math.max(...scenarios.map(({ name }) => name.length));
  return `Compares batches with plain BullMQ doing the same jobs, on the same Redis.

  npm run bench -- ${scenarios.map(({ name }) => name).join('|')}|${ALL} [options]

Scenarios:
${scenarios.map(({ name, title }) => `  ${name.padEnd(width)}  ${title}`).join('\n')}

Options:
  --jobs N   how many jobs per run (${perScenario(scenarios, 'jobs')})
  --runs N   how many runs of each side (${perScenario(scenarios, 'runs')})
  --json     print one JSON object, as the last line
  --check    exit with 1 when the target is missed
  --pin      give the private Redis a core of its own, and Node the others (Linux, with taskset): Redis's slowest
             command is then not one that waited for a core
  --help     print this

Redis: REDIS_URL, or else a private one that is started for the time of the measurement. On a shared server, Redis's own
figures include what others do there. What is written has a random prefix of four
characters, and is removed after each run.`;
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        jobs: { type: 'string' },
        runs: { type: 'string' },
        json: { type: 'boolean' },
        check: { type: 'boolean' },
        pin: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    // What follows is advice on how to pass it as a positional argument.
    const [mistake = ''] = (error as Error).message.split('. ');
    throw new UsageError(`${mistake}.`);
  }
}

function positive(option: string, value: string | undefined): number | undefined {
  if (value === undefined) {
    return undefined;
  }
  if (!/^[1-9]\d*$/.test(value)) {
    throw new UsageError(`${option} takes a positive integer, not '${value}'.`);
  }
  return Number(value);
}

function perScenario(scenarios: readonly Scenario[], field: 'jobs' | 'runs'): string {
  return scenarios.map((scenario) => `${scenario.name}: ${scenario[field].toLocaleString('en')}`).join(', ');
}
