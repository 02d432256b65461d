import { UnrecoverableError } from 'bullmq';
import { type AnyJob, expect, type Testbed, test } from '../support/test.js';

async function failedBatch(testbed: Testbed, reasons: readonly (string | undefined)[]) {
  const users = testbed.queue('users');
  testbed.batchWorker();
  testbed.worker(
    'users',
    async ({ data }: AnyJob) => {
      if (data.fail !== undefined) throw new UnrecoverableError(data.fail);
    },
    { concurrency: 50 },
  );
  const batch = await users.addBatch(
    {},
    reasons.map((fail, row) => ({ name: 'row', data: { row, fail } })),
  );
  await batch.waitUntilFinished(20_000);
  return batch;
}

test('failures are counted by reason, with those that differ in a number as one', async ({ testbed }) => {
  const rows = Array.from({ length: 12 }, (_, row) => `duplicate of row ${row}`);
  const batch = await failedBatch(testbed, [...rows, 'name is missing', 'name is missing', 'row 99 is odd', undefined]);
  const { reasons, ...rest } = await batch.failureReasons();
  expect(rest).toEqual({ examined: 15, complete: true });
  expect(reasons.map(({ reason, count, examples }) => [reason, count, examples.length])).toEqual([
    ['duplicate of row …', 12, 3],
    ['name is missing', 2, 2],
    ['row … is odd', 1, 1],
  ]);
  expect(reasons[0]?.examples[0]).toEqual({
    id: expect.any(String),
    queue: 'users',
    reason: expect.stringMatching(/^duplicate of row \d+$/),
    isBatch: false,
  });
});

test('a child batch that has failed is one failure, with its own reason', async ({ testbed }) => {
  const users = testbed.queue('users');
  testbed.batchWorker();
  testbed.worker('users', async () => {
    throw new UnrecoverableError('no e-mail');
  });
  const parent = await users.createBatch();
  const child = await parent.createBatch();
  await child.add('row', {});
  await child.seal();
  await parent.seal();
  await parent.waitUntilFinished(20_000);
  const { reasons } = await parent.failureReasons();
  expect(reasons).toMatchObject([{ count: 1, examples: [{ id: child.id, isBatch: true }] }]);
});

test('no more failures are looked at than the limit says, and the answer tells so', async ({ testbed }) => {
  const batch = await failedBatch(
    testbed,
    Array.from({ length: 30 }, () => 'no e-mail'),
  );
  expect(await batch.failureReasons({ limit: 20 })).toMatchObject({
    reasons: [{ reason: 'no e-mail', count: 20 }],
    examined: 20,
    complete: false,
  });
  expect(await batch.failureReasons({ limit: Number.POSITIVE_INFINITY })).toMatchObject({
    examined: 30,
    complete: true,
  });
});

test('failuresPage() goes through those with one reason, by the name that failureReasons() gives it', async ({
  testbed,
}) => {
  const batch = await failedBatch(
    testbed,
    Array.from({ length: 600 }, (_, row) => (row % 6 === 0 ? `duplicate of row ${row}` : 'no e-mail')),
  );
  const found = new Set<string>();
  let cursor: string | undefined;
  do {
    const page = await batch.failuresPage({ cursor, count: 10, reason: 'duplicate of row …' });
    for (const { id, reason } of page.failures) {
      expect(reason).toMatch(/^duplicate of row/);
      found.add(id);
    }
    cursor = page.cursor;
  } while (cursor !== undefined);
  expect(found.size).toBe(100);
});

test.for([0, -1, 1.5, Number.NaN, '10'] as const)('a limit of %s is refused', async (limit, { testbed }) => {
  const batch = await testbed.queue('users').createBatch();
  await expect(batch.failureReasons({ limit: limit as number })).rejects.toThrow(
    'failureReasons(): limit must be an integer from 1, or Infinity',
  );
});

test('a batch without failures has no reasons for any', async ({ testbed }) => {
  const batch = await testbed.queue('users').createBatch();
  expect(await batch.failureReasons()).toEqual({ reasons: [], examined: 0, complete: true });
  await expect(batch.failuresPage({ reason: 7 as never })).rejects.toThrow('reason must be a string, not 7');
});
