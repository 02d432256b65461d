import { heldBatchWorker } from '../support/interleave.js';
import { expect, test } from '../support/test.js';

test('from the last member to the end a BatchWorker sends few commands: two passes over the batch', async ({
  testbed,
}) => {
  const held = await testbed.heldConnection();
  await heldBatchWorker(testbed, held);
  const users = testbed.queue('users');
  // The first batch makes the connection learn the scripts.
  testbed.worker('users', async () => {});
  const run = async () => {
    const batch = await users.addBatch({ on: { complete: { name: 'done' } } }, [{ name: 'row', data: {} }]);
    expect(await batch.waitUntilFinished()).toMatchObject({ state: 'succeeded' });
    await held.waiting();
  };
  await run();
  held.countFrom();
  await run();
  // The row is sent together with the move. What BullMQ sends to take its jobs depends on when they come.
  const first = ['decide', 'enqueueCallbacks', 'show', 'moveToWaitingChildren'];
  const second = ['decide', 'show', 'moveToFinished'];
  expect(held.commands.filter((name) => name !== 'moveToActive')).toEqual([...first, ...second]);
});
