import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

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

/** The folder of a version of BullMQ that the fast writer is to be proved for, by `npm run verify-bullmq`. */
const { VERIFY_BULLMQ } = process.env;

const verify =
  VERIFY_BULLMQ === undefined
    ? []
    : [
        {
          extends: true as const,
          resolve: { alias: [{ find: /^bullmq$/, replacement: VERIFY_BULLMQ }] },
          test: { name: 'verify', include: ['test/record/fast-writer.test.ts'] },
        },
      ];

export default defineConfig({
  test: {
    globalSetup: 'test/support/global-setup.ts',
    testTimeout: 30_000,
    // Most tests wait for Redis and for other processes: on two processors, too, two files at a time.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    hookTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: { name: 'bullmq 6', include: ['test/**/*.test.ts'], env: { BULLMQ: 'bullmq' } },
      },
      {
        extends: true,
        resolve: { alias: [{ find: /^bullmq$/, replacement: 'bullmq5' }] },
        test: { name: 'bullmq 5', include: ['test/**/*.test.ts'], exclude: ONCE, env: { BULLMQ: 'bullmq5' } },
      },
      ...verify,
    ],
  },
});
