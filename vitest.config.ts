import { defineConfig } from 'vitest/config';

/** Tests that say nothing about BullMQ run once; all others run against both majors. */
const WITHOUT_BULLMQ = [
  'test/support/**',
  'test/architecture.test.ts',
  'test/options.test.ts',
  'test/batch/rules.test.ts',
];

export default defineConfig({
  test: {
    globalSetup: 'test/support/global-setup.ts',
    testTimeout: 30_000,
    hookTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: { name: 'bullmq 6', include: ['test/**/*.test.ts'], env: { BULLMQ: 'bullmq' } },
      },
      {
        extends: true,
        resolve: { alias: [{ find: /^bullmq$/, replacement: 'bullmq5' }] },
        test: { name: 'bullmq 5', include: ['test/**/*.test.ts'], exclude: WITHOUT_BULLMQ, env: { BULLMQ: 'bullmq5' } },
      },
    ],
  },
});
