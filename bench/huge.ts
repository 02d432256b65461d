import { BatchWorker, withBatches } from '../src/index.js';
import { count, measure } from './compare.js';
import { makeJobs, openQueue } from './jobs.js';
import type { BenchRedis } from './redis.js';
import type { Outcome, Scenario, Setting } from './scenario.js';

const MAX_MS = 50;
const MAX_COMMAND_MS = 10;
const SMALL = 10_000;

/** How often a small batch is filled, for the median: one takes too short a time to be measured once. */
const SMALL_RUNS = 5;

/** The share of the members that have settled before the others are cancelled; a cancel takes these others away. */
const SETTLED = 0.3;

export const huge: Scenario = {
  name: 'huge',
  title: 'one batch of a million members: what each of its methods takes, and how long it keeps Redis busy',
  jobs: 1_000_000,
  runs: 1,
  measure: (setting) => setting.redis.withPrefix((prefix) => measureHuge(setting, prefix)),
};

async function measureHuge({ redis, jobs, say }: Setting, prefix: string): Promise<Outcome> {
  const queue = withBatches(await openQueue(redis.connection, prefix));
  const batchWorker = new BatchWorker({ connection: redis.connection, prefix });
  await batchWorker.waitUntilReady();
  const steps: {
    readonly step: string;
    readonly seconds: number;
    readonly slowestMs: number;
    readonly each: number;
  }[] = [];
  const step = async (name: string, members: number, work: () => Promise<unknown>) => {
    const { seconds, slowestMs } = await slowest(redis, work);
    steps.push({ step: name, seconds, slowestMs, each: (seconds * 1e6) / members });
    say(`${name}: ${seconds.toFixed(3)} s, slowest command ${slowestMs.toFixed(1)} ms`);
  };
  for (let run = 1; run <= SMALL_RUNS; run++) {
    const few = await queue.createBatch();
    await step(`add ${count(SMALL)}, run ${run}`, SMALL, () => few.addBulk(makeJobs(SMALL)));
    await few.remove({ force: true, members: true });
  }
  const batch = await queue.createBatch();
  const rssBefore = process.memoryUsage.rss();
  await step(`add ${count(jobs)}`, jobs, () => batch.addBulk(makeJobs(jobs)));
  const growthMB = (process.memoryUsage.rss() - rssBefore) / 1024 / 1024;
  await batch.seal();
  await step('status()', 1, () => batch.status());
  await step('explain()', 1, () => batch.explain());
  await step('tree()', 1, () => batch.tree());
  const settled = Math.floor(jobs * SETTLED);
  await settle(redis, prefix, batch.id, settled);
  await step(`results() of ${count(settled)}`, settled, async () => {
    for await (const _ of batch.results());
  });
  await step(`cancel() of ${count(jobs - settled)}`, jobs - settled, () => batch.cancel());
  await step('cancelled to the end', jobs, () => batch.waitUntilFinished());
  await step(`remove({ members: true }) of ${count(settled)}`, settled, () => batch.remove({ members: true }));
  await Promise.all([batchWorker.close(), queue.close()]);
  return outcomeOf(steps, growthMB);
}

function outcomeOf(
  steps: readonly {
    readonly step: string;
    readonly seconds: number;
    readonly slowestMs: number;
    readonly each: number;
  }[],
  growthMB: number,
): Outcome {
  const secondsOf = (name: string) => steps.find(({ step }) => step === name)?.seconds ?? Number.NaN;
  const isFast = ['status()', 'explain()', 'tree()'].every((name) => secondsOf(name) * 1000 <= MAX_MS);
  const slowestMs = Math.max(...steps.map((step) => step.slowestMs));
  const met = isFast && slowestMs <= MAX_COMMAND_MS;
  return {
    conditions:
      'the slowest command is that of SLOWLOG, on a server of its own; results: of members settled by a script',
    table: steps.map(({ step, seconds, each, slowestMs: slow }) => ({
      side: step,
      time: `${(seconds * 1000).toFixed(1)} ms`,
      'µs/member': each.toFixed(1),
      'slowest command': `${slow.toFixed(1)} ms`,
    })),
    verdict: `slowest command: ${slowestMs.toFixed(1)} ms; the producer has grown by ${growthMB.toFixed(0)} MB`,
    target: { text: `status, explain, tree ≤ ${MAX_MS} ms; no command > ${MAX_COMMAND_MS} ms`, met },
    figures: { steps, slowestMs, growthMB, target: { atMostMs: MAX_MS, commandMs: MAX_COMMAND_MS, met } },
  };
}

/** Runs something, and asks Redis for the command that has kept it busy longest. */
async function slowest(
  redis: BenchRedis,
  work: () => Promise<unknown>,
): Promise<{ seconds: number; slowestMs: number }> {
  await redis.client.config('SET', 'slowlog-log-slower-than', '1000');
  await redis.client.config('SET', 'slowlog-max-len', '1000');
  await redis.client.slowlog('RESET');
  const { seconds } = await measure(redis, work);
  const entries = (await redis.client.slowlog('GET', 1000)) as [number, number, number, string[]][];
  return { seconds, slowestMs: Math.max(0, ...entries.map(([, , micros]) => micros)) / 1000 };
}

/** What workers do to members that wait, without the minutes that they would take. */
async function settle({ client }: BenchRedis, prefix: string, batchId: string, members: number): Promise<void> {
  const [users, key] = [`${prefix}:bench:`, `${prefix}:batches:${batchId}`];
  const settleSome = `
    for _, id in ipairs(redis.call('LPOP', KEYS[1], 500) or {}) do
      redis.call('ZADD', KEYS[2], 1, id)
      redis.call('HSET', ARGV[1] .. id, 'finishedOn', 1, 'returnvalue', 'null')
      redis.call('SREM', KEYS[3], ARGV[1] .. id)
      redis.call('HSET', KEYS[4], ARGV[1] .. id, 'null')
    end`;
  const keys = [`${users}wait`, `${users}completed`, `${key}:dependencies`, `${key}:processed`];
  for (let settled = 0; settled < members; settled += 500) {
    await client.eval(settleSome, 4, ...keys, users);
  }
}
