import type { Testbed } from '../support/test.js';
import { describe, expect, test } from '../support/test.js';

/** Finishes the members of a batch as BullMQ's ports for other languages do: with what is no JSON, or JSON twice. */
async function finished(testbed: Testbed, collection: 'processed' | 'failed', value: string, returned?: string) {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  const job = await batch.add('row', {});
  await batch.seal();
  const key = `${testbed.prefix}:users:${job.id}`;
  const batchKey = `${testbed.prefix}:batches:${batch.id}`;
  await testbed.redis
    .multi()
    .hset(key, collection === 'processed' ? 'returnvalue' : 'failedReason', returned ?? value, 'finishedOn', Date.now())
    .lrem(`${testbed.prefix}:users:wait`, 1, job.id ?? '')
    .zadd(`${testbed.prefix}:users:${collection === 'processed' ? 'completed' : 'failed'}`, Date.now(), job.id ?? '')
    .srem(`${batchKey}:dependencies`, key)
    .hset(`${batchKey}:${collection}`, key, value)
    .exec();
  return batch;
}

describe('workers of other languages', () => {
  test.for([
    ['a string as it is', 'done: 7 rows', 'done: 7 rows'],
    ['JSON', '{"rows":7}', { rows: 7 }],
    ['nothing', '', ''],
  ] as const)(
    'a return value that is stored as %s is what results() yields',
    async ([, stored, value], { testbed }) => {
      const batch = await finished(testbed, 'processed', stored);
      const results: unknown[] = [];
      for await (const result of batch.results()) {
        results.push(result.value);
      }
      expect(results).toEqual([value]);
    },
  );

  test.for([
    ['a JSON string', '"no e-mail in \\"row 7\\""', 'no e-mail in "row 7"'],
    ['a text that begins with a quotation mark', '"row 7" has no e-mail', '"row 7" has no e-mail'],
  ] as const)('a reason that is stored as %s is read as it was meant', async ([, stored, reason], { testbed }) => {
    const batch = await finished(testbed, 'failed', stored);
    testbed.batchWorker({ reconcileInterval: 100 });
    const failures: unknown[] = [];
    for await (const failure of batch.failures()) {
      failures.push(failure.reason);
    }
    expect(failures).toEqual([reason]);
    expect((await batch.failuresPage()).failures[0]?.reason).toBe(reason);
    const { failedReason } = await batch.waitUntilFinished(20_000);
    expect(failedReason).toBe(`1 of 1 member failed: ${reason}`);
  });
});
