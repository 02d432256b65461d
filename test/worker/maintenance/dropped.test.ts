import { contextOf } from '../../../src/batch/batch-context.js';
import { removeDropped } from '../../../src/batch/cancel.js';
import { droppedQueues } from '../../../src/record/dropped.js';
import { DROPPED_FIELD, droppedKey } from '../../../src/record/keys.js';
import { dropped } from '../../../src/worker/maintenance/dropped.js';
import { expect, test } from '../../support/test.js';

test('a process that leads again looks for dropped jobs from the beginning: another one has led meanwhile', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const context = await contextOf(users);
  const queueKey = `${testbed.prefix}:users:`;
  const add = (count: number) => users.addBulk(Array.from({ length: count }, () => ({ name: 'row', data: {} })));
  const addDropped = async (count: number) => {
    for (const { id } of await add(count)) {
      await testbed.redis.hset(queueKey + id, DROPPED_FIELD, '1');
    }
    await testbed.redis.hincrby(droppedKey(context.redis), queueKey, count);
  };
  const turn = { who: 'this one', isOver: false, report: () => {}, repaired: () => {} };
  const service = dropped(context, 100);
  // The list is read from its head, where the latest jobs are: the first command does not come to those dropped.
  await addDropped(20);
  await add(700);
  expect(await service.slice(turn)).toBe(false);
  // The other leader removes them, and as many are dropped again.
  await removeDropped(context);
  await addDropped(20);
  service.reset?.();
  for (let isOver = false; !isOver; ) {
    isOver = await service.slice(turn);
  }
  expect(await testbed.redis.llen(`${queueKey}wait`)).toBe(700);
  expect(await droppedQueues(context.redis)).toEqual([]);
});
