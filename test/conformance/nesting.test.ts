import { expect, test } from '../support/test.js';
import { all, job, play } from './script.js';

/* A child batch is one member of its parent. */

test("S37 a batch that is created inside of another's jobs(fn) is its child, with members before and after it", async ({
  testbed,
}) => {
  const { users, ran } = play(testbed);
  const parent = await users.createBatch({ on: { success: { name: 'success' } } });
  const child = await parent.jobs(async () => {
    await users.add('before', {});
    const created = await users.createBatch();
    await created.jobs(() => users.add('inside', {}));
    await created.seal();
    await users.add('after', {});
    return created;
  });
  expect(child.parentId).toBe(parent.id);
  await parent.seal();
  expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 3, succeeded: 3 });
  expect(await child.status()).toMatchObject({ state: 'succeeded', total: 1, parentId: parent.id });
  expect(ran.sort()).toEqual(['after', 'before', 'inside', 'success']);
});

test('S38 a child that is added through a handle that was opened again counts too: the parent has two', async ({
  testbed,
}) => {
  const { users } = play(testbed);
  const parent = await users.createBatch();
  const first = await parent.createBatch();
  const again = await users.getBatch(parent.id);
  const second = await again.createBatch();
  expect(await parent.status()).toMatchObject({ total: 2, pending: 2 });
  for (const batch of [first, second, parent]) await batch.seal();
  expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 2 });
  const children = (await all(parent.results())).filter(({ isBatch }) => isBatch).map(({ id }) => id);
  expect(children.sort()).toEqual([first.id, second.id].sort());
});

test('S39 each child has its own member only, no child, and its parent', async ({ testbed }) => {
  const users = testbed.queue('users');
  const parent = await users.createBatch();
  for (const child of [await parent.createBatch(), await (await users.getBatch(parent.id)).createBatch()]) {
    await child.add('row', {});
    expect(await child.status()).toMatchObject({ total: 1, pending: 1, parentId: parent.id });
    expect((await child.parent())?.id).toBe(parent.id);
    const dependencies = await testbed.redis.smembers(`${testbed.prefix}:batches:${child.id}:dependencies`);
    expect(dependencies.filter((key) => key.startsWith(`${testbed.prefix}:batches:`))).toEqual([]);
  }
  expect(await parent.status(), "a child's members are not its parent's").toMatchObject({ total: 2, pending: 2 });
});

test("S47 a child's success callback opens the parent again, also when that is sealed, and the parent waits", async ({
  testbed,
}) => {
  const { users, ran } = play(testbed, {
    next: async (callback, queue) => {
      const parent = await (await queue.batchOf(callback))?.parent();
      await parent?.addBulk([job('late'), job('late')]);
    },
  });
  const parent = await users.createBatch({ on: { complete: { name: 'complete' } } });
  const child = await parent.createBatch({ on: { success: { name: 'next' } } });
  await parent.seal();
  await child.add('row', {});
  await child.seal();
  expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 3 });
  expect(ran).toEqual(['row', 'next', 'late', 'late', 'complete']);
});
