import { BatchOptionsError } from '../../src/index.js';
import { describe, expect, test } from '../support/test.js';

describe('a connection with options of ioredis', () => {
  test('enableAutoPipelining: batches run, whatever commands are collected in one pipeline', async ({ testbed }) => {
    const connection = { ...testbed.connection, enableAutoPipelining: true };
    const users = testbed.queue('users', { connection });
    testbed.batchWorker({ connection, reconcileInterval: 20, sweepInterval: 20 });
    testbed.worker('users', async () => 7, { concurrency: 20 });
    const rows = Array.from({ length: 300 }, (_, n) => ({ name: 'row', data: n }));
    const batches = await Promise.all(
      ['a', 'b', 'c'].map((id) => users.addBatch({ id, on: { complete: { name: 'done' } }, deadline: 100_000 }, rows)),
    );
    const [first] = batches;
    await Promise.all([first?.status(), first?.explain(), users.getBatchCounts(), first?.members(), first?.tree()]);
    for (const batch of batches) {
      expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 300 });
    }
  });

  test('stringNumbers is refused: nothing could be told from what Redis answers', async ({ testbed }) => {
    const connection = { ...testbed.connection, stringNumbers: true };
    const users = testbed.queue('users', { connection });
    await expect(users.createBatch()).rejects.toThrow(BatchOptionsError);
    await expect(users.addBatch({}, [{ name: 'row', data: 1 }])).rejects.toThrow("'stringNumbers'");
  });
});
