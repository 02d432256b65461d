import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { Job } from 'bullmq';
import { BatchOptionsError, withBatches } from '../../../src/index.js';
import { BatchBoardAdapter } from '../../../src/surfaces/bull-board/index.js';
import { boardOf } from '../../support/board.js';
import { describe, expect, test } from '../../support/test.js';

const require = createRequire(import.meta.url);
const installed = JSON.parse(readFileSync(require.resolve('@bull-board/ui/package.json'), 'utf8')).version as string;

describe('Bull Board, as this adapter was built for it', () => {
  test('is of the version that its guide names', () => {
    const [major = '', minor = ''] = installed.split('.');
    expect(readFileSync(new URL('../../../docs/bull-board.md', import.meta.url), 'utf8')).toContain(
      `\`@bull-board/api\` ${major}.${minor}`,
    );
  });

  test('has the methods that the adapter replaces', () => {
    const replaced = Object.getOwnPropertyNames(BatchBoardAdapter.prototype);
    const known = new Set(Object.getOwnPropertyNames(BullMQAdapter.prototype));
    expect(replaced.filter((name) => !known.has(name))).toEqual([]);
    const ofJobs = ['retry', 'promote', 'remove', 'removeUnprocessedChildren', 'getIgnoredChildrenFailures'] as const;
    const alsoOfJobs = ['updateData', 'changeDelay', 'changePriority'] as const;
    expect([...ofJobs, ...alsoOfJobs].filter((name) => typeof Job.prototype[name] !== 'function')).toEqual([]);
  });

  test('refuses a page that is no address', async ({ testbed }) => {
    for (const page of ['batches', '', 7, null]) {
      expect(() => new BatchBoardAdapter(testbed.plainQueue('users'), { page } as never)).toThrow("e.g. '/batches'");
    }
  });

  test('refuses a queue whose batches are kept elsewhere', async ({ testbed }) => {
    const users = withBatches(testbed.plainQueue('users'), { batchesQueue: 'job-batches' });
    expect(() => new BatchBoardAdapter(users)).toThrow(
      "with the batchesQueue 'job-batches' before, and now with 'batches'",
    );
    expect(() => new BatchBoardAdapter(users, { batchesQueue: 'job-batches' })).not.toThrow();
    expect(() => new BatchBoardAdapter(testbed.plainQueue('mail'), { batchesQueue: '' })).toThrow(BatchOptionsError);
  });

  test('shows any queue with it, and keeps to read-only', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { id } = await users.createBatch({ description: 'Import' });
    const options = { readOnlyMode: true, description: 'Ours', externalJobUrl: () => ({ href: '/logs' }) };
    const board = await boardOf(testbed, [testbed.plainQueue('batches'), users], 'BatchBoardAdapter', options);
    const { body } = await board.get(`/batches/${id}`);
    expect(body.job).toMatchObject({ name: 'Import', externalUrl: { href: '/logs' } });
    for (const button of ['retry', 'promote', 'clean', 'remove-unprocessed-children']) {
      expect((await board.put(`/batches/${id}/${button}`)).status).toBe(405);
    }
    expect((await users.getBatchCounts()).open).toBe(1);
  });
});
