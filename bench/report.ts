import { count } from './compare.js';
import type { Environment } from './environment.js';
import { DATA_BYTES } from './jobs.js';
import type { Amount, Outcome, Row, Scenario } from './scenario.js';

export function jsonReport(
  { name }: Scenario,
  { jobs, runs }: Amount,
  environment: Environment,
  { figures }: Outcome,
): object {
  return { scenario: name, jobs, dataBytes: DATA_BYTES, runs, environment, ...figures };
}

export function textReport(
  scenario: Scenario,
  { jobs, runs }: Amount,
  environment: Environment,
  outcome: Outcome,
): string {
  const { node, bullmq, redis, redisFrom, cpus, cpuModel } = environment;
  const { conditions, table, verdict, target } = outcome;
  return [
    `${scenario.name} ${scenario.title}`,
    `${count(jobs)} jobs with ${DATA_BYTES} bytes of data; ${runs === 1 ? '1 run' : `${runs} runs`} of each side, in turn`,
    conditions,
    `Node ${node}, bullmq ${bullmq}, ${redis} (${redisFrom}), ${cpus} CPUs (${cpuModel})`,
    '',
    ...aligned(table),
    '',
    verdict,
    `target: ${target.text} — ${target.met ? 'met' : 'NOT met'}`,
  ].join('\n');
}

function aligned(rows: readonly Row[]): string[] {
  const columns = Object.keys(rows[0] ?? {});
  const cells = [columns.map((column) => (column === 'side' ? '' : column)), ...rows.map((row) => Object.values(row))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => (line[i] ?? '').length)));
  return cells.map((line) =>
    line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('   '),
  );
}
