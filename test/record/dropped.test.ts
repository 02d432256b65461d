import { contextOf } from '../../src/batch/batch-context.js';
import { removeDropped } from '../../src/batch/cancel.js';
import { type DroppedSearch, droppedQueues, searchDropped } from '../../src/record/dropped.js';
import { DROPPED_FIELD, droppedKey } from '../../src/record/keys.js';
import { expect, test } from '../support/test.js';

test('jobs that are dropped behind one search, while another one helps it, are found by the next', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const context = await contextOf(users);
  const { redis } = context;
  const queueKey = `${testbed.prefix}:users:`;
  const add = async (count: number) =>
    (await users.addBulk(Array.from({ length: count }, () => ({ name: 'row', data: {} })))).map(({ id }) => String(id));
  const drop = async (ids: readonly string[]) => {
    await Promise.all(ids.map((id) => testbed.redis.hset(queueKey + id, DROPPED_FIELD, '1')));
    await testbed.redis.hincrby(droppedKey(redis), queueKey, ids.length);
  };
  // The list is read from its head, where the latest jobs are.
  await drop(await add(300));
  const latest = await add(150);
  const [begun] = await droppedQueues(redis);
  let search = await searchDropped(redis, begun as DroppedSearch);
  await removeDropped(context);
  await drop(latest);
  while (search !== undefined) {
    search = await searchDropped(redis, search);
  }
  expect(await testbed.redis.llen(`${queueKey}wait`)).toBe(150);
  await removeDropped(context);
  expect(await testbed.redis.llen(`${queueKey}wait`)).toBe(0);
  expect(await droppedQueues(redis)).toEqual([]);
});

test('a search that finds more jobs than are counted is not the first of endless ones', async ({ testbed }) => {
  const users = testbed.queue('users');
  const context = await contextOf(users);
  const { redis } = context;
  const queueKey = `${testbed.prefix}:users:`;
  const jobs = await users.addBulk(Array.from({ length: 3 }, () => ({ name: 'row', data: {} })));
  await Promise.all(jobs.map(({ id }) => testbed.redis.hset(queueKey + id, DROPPED_FIELD, '1')));
  // Two were out of reach when the search for them ended.
  await testbed.redis.hincrby(droppedKey(redis), queueKey, 1);
  await removeDropped(context);
  expect(await testbed.redis.llen(`${queueKey}wait`)).toBe(0);
  expect(await droppedQueues(redis)).toEqual([]);
});
