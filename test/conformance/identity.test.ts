import { expect, test } from '../support/test.js';

/* Who a batch is: the same one for whoever opens it, in any process. */

test('S1 a batch that is created without an id gets one of its own', async ({ testbed }) => {
  const users = testbed.queue('users');
  const [one, two] = [await users.createBatch(), await users.createBatch()];
  expect(one.id).toMatch(/^\w{12}$/);
  expect(two.id).not.toBe(one.id);
  expect((await users.getBatch(one.id)).id).toBe(one.id);
});

test('S2 createBatch with an id that exists opens that batch again', async ({ testbed }) => {
  const users = testbed.queue('users');
  const first = await users.createBatch({ id: 'import-42' });
  await first.add('row', {});
  const again = await testbed.queue('users').createBatch({ id: 'import-42' });
  expect([first.id, again.id]).toEqual(['import-42', 'import-42']);
  expect([first.created, again.created]).toEqual([true, false]);
  await again.add('row', {});
  expect(await first.status()).toMatchObject({ id: 'import-42', total: 2 });
  expect(await users.getBatchCounts()).toMatchObject({ open: 1 });
});

test('S3 the description is readable from the handle, and is stored', async ({ testbed }) => {
  const batch = await testbed.queue('users').createBatch({ description: 'Import of ACME' });
  expect(batch.description).toBe('Import of ACME');
  const elsewhere = await testbed.queue('users').getBatch(batch.id);
  expect(elsewhere.description).toBe('Import of ACME');
  expect((await elsewhere.status()).description).toBe('Import of ACME');
});

test('S4 (ours: each callback names its queue) the queue is readable, and is stored', async ({ testbed }) => {
  const batch = await testbed.queue('users').createBatch({
    on: {
      complete: [
        { name: 'by name', queue: 'mail' },
        { name: 'by queue', queue: testbed.plainQueue('audit') },
      ],
      success: { name: 'by default' },
    },
  });
  const elsewhere = await testbed.queue('users').getBatch(batch.id);
  expect((await elsewhere.status()).callbacks.map(({ name, queue }) => [name, queue])).toEqual([
    ['by name', 'mail'],
    ['by queue', 'audit'],
    ['by default', 'users'],
  ]);
});
