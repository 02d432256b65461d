import { defineWorkflow } from '../../src/index.js';
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
  // The moves are sent together with the commands before them. What BullMQ sends to take its jobs depends on when they
  // come.
  const first = ['decide', 'moveToWaitingChildren'];
  const second = ['decide', 'show', 'moveToFinished'];
  expect(held.commands.filter((name) => name !== 'moveToActive')).toEqual([...first, ...second]);
});

test('for a stage of one job a BatchWorker decides, starts the next one, and ends it', async ({ testbed }) => {
  const held = await testbed.heldConnection();
  await heldBatchWorker(testbed, held);
  const queue = testbed.queue('work');
  testbed.worker('work', async () => {});
  const commandsOf = async (length: number) => {
    const stages = Array.from({ length }, (_, i) => [
      `s${i}`,
      { ...(i > 0 ? { after: `s${i - 1}` } : {}), name: 'row' },
    ]);
    const run = await defineWorkflow(`chain-${length}`, Object.fromEntries(stages), { queue }).start();
    expect(await run.waitUntilFinished()).toMatchObject({ state: 'succeeded' });
    await held.waiting();
    const sent = new Map<string, number>();
    for (const name of held.commands) {
      sent.set(name, (sent.get(name) ?? 0) + 1);
    }
    held.countFrom();
    return sent;
  };
  // The first run makes the connection learn the scripts.
  await commandsOf(3);
  const short = await commandsOf(3);
  const long = await commandsOf(4);
  short.delete('moveToActive');
  long.delete('moveToActive');
  const more = [...long].flatMap(([name, count]) => Array(count - (short.get(name) ?? 0)).fill(name));
  // The row and the end are sent together: two round trips beside the one that adds the job.
  expect(more.sort()).toEqual(['decide', 'moveToFinished', 'show', 'startStage']);
});
