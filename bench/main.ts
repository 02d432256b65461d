import { startPrivateRedis } from '../test/support/private-redis.js';
import { drain } from './drain.js';
import { enqueue } from './enqueue.js';
import { environmentOf } from './environment.js';
import { memory } from './memory.js';
import { HELP, help, type Options, readOptions, UsageError } from './options.js';
import { BenchRedis } from './redis.js';
import { jsonReport, textReport } from './report.js';
import { workflow } from './workflow.js';

const SCENARIOS = [enqueue, drain, memory, workflow];

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

async function run(options: Options): Promise<void> {
  const { scenario, jobs, runs, json, check } = options;
  const server = await startPrivateRedis({ say });
  const redis = new BenchRedis(server.url);
  try {
    const environment = await environmentOf(redis, server.how);
    const outcome = await scenario.measure({ redis, jobs, runs, say });
    console.log((json ? jsonReport : textReport)(options, environment, outcome));
    if (check && !outcome.target.met) {
      process.exitCode = 1;
    }
  } finally {
    await redis.close();
    await server.stop();
  }
}

function whatThereIs(): string {
  return `Scenarios are: ${SCENARIOS.map(({ name }) => name).join(', ')}. --help lists the options.`;
}

/** Standard output is for the result alone. */
function say(line: string): void {
  console.error(line);
}
