import { startPrivateRedis } from '../test/support/private-redis.js';
import { drain, drainFlow } from './drain.js';
import { enqueue, enqueueMixed } from './enqueue.js';
import { environmentOf } from './environment.js';
import { huge } from './huge.js';
import { latency } from './latency.js';
import { memory } from './memory.js';
import { nested } from './nested.js';
import { HELP, help, type Options, readOptions, UsageError } from './options.js';
import { pin } from './pin.js';
import { BenchRedis } from './redis.js';
import { jsonReport, textReport } from './report.js';
import { small } from './small.js';
import { workflow } from './workflow.js';

const SCENARIOS = [enqueue, enqueueMixed, drain, drainFlow, small, latency, nested, memory, huge, workflow];

try {
  const options = readOptions(process.argv.slice(2), SCENARIOS);
  if (options === HELP) {
    console.log(help(SCENARIOS));
  } else {
    await run(options);
  }
} catch (error) {
  console.error(error instanceof UsageError ? `${error.message} ${whatThereIs()}` : error);
  // What was under way when it went wrong may still be waiting for something.
  process.exit(1);
}

async function run({ scenarios, json, check, pinned, ...wanted }: Options): Promise<void> {
  const server = await startPrivateRedis({ say });
  const redis = new BenchRedis(server.url);
  const reports: object[] = [];
  try {
    const environment = await environmentOf(redis, server.how);
    if (pinned) {
      await pin(await redis.processId());
    }
    for (const scenario of scenarios) {
      const amount = { jobs: wanted.jobs ?? scenario.jobs, runs: wanted.runs ?? scenario.runs };
      say(`${scenario.name}:`);
      const outcome = await scenario.measure({ redis, ...amount, say });
      reports.push(jsonReport(scenario, amount, environment, outcome));
      if (!json) {
        console.log(`${textReport(scenario, amount, environment, outcome)}\n`);
      }
      if (check && !outcome.target.met) {
        process.exitCode = 1;
      }
    }
    if (json) {
      console.log(JSON.stringify(reports.length === 1 ? reports[0] : { scenarios: reports }));
    }
  } finally {
    await redis.close();
    await server.stop();
  }
}

function whatThereIs(): string {
  return `Scenarios are: ${SCENARIOS.map(({ name }) => name).join(', ')}; all. --help lists the options.`;
}

/** Standard output is for the result alone. */
function say(line: string): void {
  console.error(line);
}
