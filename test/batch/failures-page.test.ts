import { UnrecoverableError } from 'bullmq';
import { BatchOptionsError } from '../../src/index.js';
import { expect, type Testbed, test } from '../support/test.js';

async function failedBatch(testbed: Testbed, size: number, reason = 'no') {
  const rows = testbed.queue('rows');
  testbed.batchWorker();
  testbed.worker(
    'rows',
    async () => {
      throw new UnrecoverableError(reason);
    },
    { concurrency: 50 },
  );
  const batch = await rows.addBatch(
    { on: { complete: { name: 'told' } } },
    Array.from({ length: size }, (_, row) => ({ name: 'row', data: { row } })),
  );
  await batch.waitUntilFinished(20_000);
  return batch;
}

test('failuresPage() goes through all failures, page by page, without the callbacks', async ({ testbed }) => {
  const batch = await failedBatch(testbed, 1200);
  const rows: number[] = [];
  let pages = 0;
  let cursor: string | undefined;
  do {
    const page = await batch.failuresPage({ cursor, count: 100 });
    for (const { reason, data, queue, isBatch } of page.failures) {
      expect({ reason, queue, isBatch }).toEqual({ reason: 'no', queue: 'rows', isBatch: false });
      rows.push(data.row);
    }
    pages++;
    cursor = page.cursor;
  } while (cursor !== undefined);
  expect(pages).toBeGreaterThan(3);
  expect(rows.sort((a, b) => a - b)).toEqual(Array.from({ length: 1200 }, (_, row) => row));
});

test('failuresPage() holds as many failures as asked for, also when one command reads fewer', async ({ testbed }) => {
  const batch = await failedBatch(testbed, 300, 'x'.repeat(10_000));
  const { failures, cursor } = await batch.failuresPage({ count: 100 });
  expect(cursor).toBeDefined();
  expect(failures.length).toBeGreaterThanOrEqual(100);
  expect(failures.length).toBeLessThan(130);
});

test('failuresPage() of a batch without failures is one empty page', async ({ testbed }) => {
  const batch = await testbed.queue('rows').createBatch();
  expect(await batch.failuresPage()).toEqual({ failures: [], cursor: undefined });
});

test.for([
  { cursor: '-1' },
  { cursor: 'x' },
  { cursor: '' },
  { cursor: '18446744073709551616' },
  { cursor: 0 },
  { count: 0 },
  { count: 1001 },
  { count: 1.5 },
  { curser: '0' },
])('failuresPage(%j) is refused', async (options, { testbed }) => {
  const batch = await testbed.queue('rows').createBatch();
  await expect(batch.failuresPage(options as never)).rejects.toThrow(BatchOptionsError);
});
