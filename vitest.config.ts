import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Tests that say nothing about BullMQ, that run programs with the installed BullMQ, or need what only BullMQ 6 has. */
const ONCE = [
  'test/support/**',
  'test/examples/**',
  'test/bench/**',
  'test/browser/**',
  'test/surfaces/cli/**',
  'test/architecture.test.ts',
  'test/validation.test.ts',
  'test/public-api.test.ts',
  'test/readme.test.ts',
  'test/docs.test.ts',
  'test/model/rules.test.ts',
  'test/model/reason-pattern.test.ts',
  'test/batch/stream.test.ts',
  'test/batch/node-redis.test.ts',
  'test/batch/callbacks.test.ts',
  'test/surfaces/nestjs/**',
  'test/workflow/graph.test.ts',
  'test/surfaces/page/text.test.ts',
  'test/surfaces/page/readings.test.ts',
  'test/surfaces/page/chart.test.ts',
  'test/surfaces/page/history.test.ts',
  'test/surfaces/page/nesting.test.ts',
  'test/surfaces/page/pace.test.ts',
];

/** What must hold as well where members are added by BullMQ's own scripts, as with a version that is not proved. */
const WITH_OWN_SCRIPTS = [
  'test/conformance/**/*.test.ts',
  'test/**/*crash.test.ts',
  'test/interleavings/{add,adding,lost-replies,next-life,seal,workflow}.test.ts',
];

/** What each project needs for itself. The global setup is not part of it: it runs once for all of them. */
const shared = {
  testTimeout: 30_000,
  hookTimeout: 30_000,
  // Importing BullMQ, ioredis and the source for every file anew took half of the CPU time; no test changes a module.
  isolate: false,
};

/** Files that take long, the longest first: begun last, one of them would keep one processor busy alone. */
const LONG = [
  'test/workflow/crash.test.ts',
  'test/worker/crash.test.ts',
  'test/interleavings/workflow.test.ts',
  'test/interleavings/workflow-retry.test.ts',
  'test/batch/producer-crash.test.ts',
  'test/browser/watching.test.ts',
  'test/browser/seeing.test.ts',
  'test/examples/import.test.ts',
  'test/worker/sweep.test.ts',
  'test/record/fast-writer.test.ts',
  'test/interleavings/late.test.ts',
  'test/bench/bench.test.ts',
  'test/interleavings/maintenance.test.ts',
  'test/interleavings/remove.test.ts',
  'test/surfaces/cli/commands.test.ts',
  'test/support/fetch-redis-server.test.ts',
];

/** Starts long files first, and one project after the other: a process is used again within a project only. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const projects = [...new Set(sorted.map(({ project }) => project))];
    const rank = ({ moduleId }: TestSpecification) => {
      const place = LONG.findIndex((file) => moduleId.endsWith(file));
      return place === -1 ? LONG.length : place;
    };
    return projects.flatMap((own) =>
      sorted.filter(({ project }) => project === own).toSorted((one, other) => rank(one) - rank(other)),
    );
  }
}

const VERSIONS = [
  // An empty list would make what the command line excludes ineffective: see test:quick in package.json.
  { name: 'bullmq 6', bullmq: 'bullmq', excluding: {} },
  { name: 'bullmq 5', bullmq: 'bullmq5', excluding: { exclude: ONCE } },
];

const aliasOf = (bullmq: string) => [{ find: /^bullmq$/, replacement: bullmq }];

/** The folder of a version of BullMQ that the fast writer is to be proved for, by `npm run verify-bullmq`. */
const { VERIFY_BULLMQ } = process.env;

const verify =
  VERIFY_BULLMQ === undefined
    ? []
    : [
        {
          resolve: { alias: aliasOf(VERIFY_BULLMQ) },
          test: { ...shared, name: 'verify', include: ['test/record/fast-writer.test.ts'] },
        },
      ];

export default defineConfig({
  test: {
    globalSetup: 'test/support/global-setup.ts',
    // Many tests wait, for a lock to run out or for a child process: two files more than there are processors.
    maxWorkers: availableParallelism() + 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      ...VERSIONS.flatMap(({ name, bullmq, excluding }) => [
        {
          resolve: { alias: aliasOf(bullmq) },
          test: { ...shared, ...excluding, name, include: ['test/**/*.test.ts'], env: { BULLMQ: bullmq } },
        },
        {
          resolve: { alias: aliasOf(bullmq) },
          test: {
            ...shared,
            name: `${name}, own scripts`,
            include: WITH_OWN_SCRIPTS,
            env: { BULLMQ: bullmq, BULLMQ_BATCHES_WRITER: 'bullmq' },
          },
        },
      ]),
      ...verify,
    ],
  },
});
