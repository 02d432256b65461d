import { BatchFinishedError } from '../../src/index.js';
import { eventually, expect, type Testbed, test } from '../support/test.js';
import { all, gateOf, job, play } from './script.js';

/*
 * Cancelling. Theirs marks the batch, and members ask; ours also removes the members that have not started, so that
 * only running ones have to ask.
 */

const ON = { complete: { name: 'complete' }, success: { name: 'success' } };

/** Members named `work` wait for the gate, then ask whether they are still wanted, and work if they are. */
function working(testbed: Testbed, options: { jobsAtOnce?: number } = {}) {
  const held = gateOf(testbed);
  const worked: string[] = [];
  const skipped: string[] = [];
  const told: { event: string; cancelled: number; cancelReason?: string }[] = [];
  const callback = ({ data }: { data: { batch: (typeof told)[number] } }) => told.push(data.batch);
  const played = play(
    testbed,
    {
      work: async (member, queue) => {
        await held.opened;
        const isCancelled = await (await queue.batchOf(member))?.isCancelled();
        (isCancelled ? skipped : worked).push(member.data.of);
      },
      complete: callback,
      success: callback,
    },
    options,
  );
  return { ...played, held, worked, skipped, told };
}

const work = (of: string) => ({ name: 'work', data: { of } });

test('S18 job code can ask whether its batch is still wanted, and the answer changes while it runs', async ({
  testbed,
}) => {
  const held = gateOf(testbed);
  const answers: (boolean | undefined)[] = [];
  const { users } = play(testbed, {
    long: async (member, queue) => {
      const own = await queue.batchOf(member);
      answers.push(await own?.isCancelled());
      await held.opened;
      answers.push(await own?.isCancelled());
    },
  });
  const batch = await users.addBatch({}, [job('long')]);
  await eventually(() => answers.length === 1);
  await batch.cancel();
  held.open();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'cancelled' });
  expect(answers).toEqual([false, true]);
});

test('S34 after cancelling, running members that ask skip their work, and the others are removed', async ({
  testbed,
}) => {
  const { users, ran, held, worked, skipped, told } = working(testbed, { jobsAtOnce: 2 });
  const batch = await users.addBatch({ on: ON }, [work('a'), work('b'), work('c'), work('d'), work('e')]);
  await eventually(() => ran.length === 2);
  await batch.cancel('wrong file');
  await expect(batch.add('late', {})).rejects.toThrow(BatchFinishedError);
  held.open();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({
    state: 'cancelled',
    total: 5,
    pending: 0,
    succeeded: 2,
    cancelled: 3,
    missing: 0,
    cancelReason: 'wrong file',
  });
  expect(worked).toEqual([]);
  expect(skipped.sort()).toEqual(['a', 'b']);
  expect(told, 'complete is told; success never comes').toMatchObject([
    { event: 'complete', cancelled: 3, cancelReason: 'wrong file' },
  ]);
  expect(ran).toEqual(['work', 'work', 'complete']);
});

/** A running member in each of three batches, one below the other, the upper one still open. */
async function threeLevels(testbed: Testbed) {
  const { users, ran, ...rest } = working(testbed);
  const parent = await users.createBatch({ on: ON });
  const child = await parent.createBatch();
  const grandchild = await child.createBatch();
  await parent.addBulk([work('parent')]);
  await child.addBulk([work('child')]);
  await grandchild.addBulk([work('grandchild')]);
  for (const batch of [grandchild, child]) await batch.seal();
  await eventually(() => ran.length === 3);
  return { ...rest, users, ran, parent, child, grandchild };
}

test('S35 cancelling a parent tells members of the parent, of its child and of its grandchild', async ({ testbed }) => {
  const { users, parent, child, grandchild, held, worked, skipped, told } = await threeLevels(testbed);
  const ended = await users.addBatch({ parent }, []);
  await ended.waitUntilFinished(10_000);
  await parent.cancel();
  expect(await ended.isCancelled(), 'one that has ended keeps its outcome, and is told about its parent').toBe(true);
  expect((await ended.status()).state).toBe('succeeded');
  for (const batch of [parent, child, grandchild]) {
    expect(await batch.isCancelled()).toBe(true);
    await expect(batch.add('late', {})).rejects.toThrow(BatchFinishedError);
  }
  held.open();
  expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'cancelled' });
  expect((await child.status()).state).toBe('cancelled');
  expect((await grandchild.status()).state).toBe('cancelled');
  expect(worked).toEqual([]);
  expect(skipped.sort()).toEqual(['child', 'grandchild', 'parent']);
  expect(told.map(({ event }) => event)).toEqual(['complete']);
});

test('S36 cancelling a grandchild tells its own members only; those of parent and child still work', async ({
  testbed,
}) => {
  const { parent, child, grandchild, held, worked, skipped, told } = await threeLevels(testbed);
  await parent.seal();
  await grandchild.cancel('not needed');
  expect(await Promise.all([parent, child, grandchild].map((batch) => batch.isCancelled()))).toEqual([
    false,
    false,
    true,
  ]);
  held.open();
  // To the batches above it a cancelled child is a member that failed, with the reason.
  expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', total: 2, succeeded: 1, failed: 1 });
  expect(await child.status()).toMatchObject({ state: 'failed', total: 2, succeeded: 1, failed: 1 });
  expect(await grandchild.status()).toMatchObject({ state: 'cancelled', cancelReason: 'not needed' });
  const [failure] = await all(child.failures());
  expect(failure).toMatchObject({ id: grandchild.id, isBatch: true });
  expect(failure?.reason).toContain('not needed');
  expect(worked.sort()).toEqual(['child', 'parent']);
  expect(skipped).toEqual(['grandchild']);
  expect(told.map(({ event }) => event)).toEqual(['complete']);
});

test('D10 asking whether a batch is still wanted is one command, however deep it is', async ({ testbed }) => {
  const held = await testbed.heldConnection();
  const users = testbed.queue('users', { connection: held.connection });
  const commandsOf = async (work: () => Promise<unknown>) => {
    await held.idle();
    held.countFrom();
    await work();
    return [...held.commands];
  };
  const top = await users.createBatch();
  let deepest = top;
  for (let level = 0; level < 6; level++) {
    deepest = await deepest.createBatch();
  }
  await deepest.isCancelled();
  expect(await commandsOf(() => deepest.isCancelled())).toEqual(['climb']);
  await top.cancel();
  expect(await deepest.isCancelled()).toBe(true);
  expect(await commandsOf(() => deepest.isCancelled())).toEqual(['climb']);
});
