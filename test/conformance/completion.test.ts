import { eventually, expect, test } from '../support/test.js';
import { fail, gateOf, job, play } from './script.js';

/*
 * When a batch is complete. Ours means settled: every member has succeeded, or failed for good. The event that looks at
 * attempts, as theirs does, is `attempted`: see death.test.ts.
 */

const ON = { complete: { name: 'complete' }, success: { name: 'success' } };

test('S19 (ours: settled) the only outstanding member fails for good: complete fires, and not before', async ({
  testbed,
}) => {
  const lastAttempt = gateOf(testbed);
  const { users, ran } = play(testbed, {
    bad: async ({ attemptsMade }) => {
      if (attemptsMade === 1) await lastAttempt.opened;
      throw new Error('no');
    },
  });
  const batch = await users.addBatch({ on: ON }, [job('good'), job('bad', { attempts: 2 })]);
  await eventually(() => ran.filter((name) => name === 'bad').length === 2);
  await eventually(async () => (await batch.status()).succeeded === 1);
  const [complete] = (await batch.status()).callbacks;
  expect(complete, 'one attempt is left').toMatchObject({ event: 'complete', state: 'pending' });
  lastAttempt.open();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', succeeded: 1, failed: 1 });
  expect(ran.filter((name) => name !== 'good')).toEqual(['bad', 'bad', 'complete']);
});

test('S21 (ours: success) when what had failed succeeds later, success is considered again; complete has been', async ({
  testbed,
}) => {
  let isUp = false;
  const { users, ran } = play(testbed, {
    flaky: () => {
      if (!isUp) throw new Error('down');
    },
  });
  const batch = await users.addBatch({ on: ON }, [job('flaky'), job('flaky')]);
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', failed: 2 });
  isUp = true;
  await batch.retry();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', recovered: true, failed: 0 });
  expect(ran).toEqual(['flaky', 'flaky', 'complete', 'flaky', 'flaky', 'success']);
});

test('S22 when the last member succeeds, complete is enqueued first and success second', async ({ testbed }) => {
  const held = gateOf(testbed);
  const { users, ran } = play(testbed, { complete: () => held.opened });
  const batch = await users.addBatch({ on: ON }, [job('row'), job('row')]);
  await eventually(() => ran.includes('complete'));
  const states = async () => (await batch.status()).callbacks.map(({ event, state }) => `${event} ${state}`);
  expect(await states()).toEqual(['complete enqueued', 'success pending']);
  held.open();
  await batch.waitUntilFinished(10_000);
  expect(await states()).toEqual(['complete succeeded', 'success succeeded']);
  expect(ran).toEqual(['row', 'row', 'complete', 'success']);
});

test('S23 after the last success nothing is left pending', async ({ testbed }) => {
  const { users } = play(testbed);
  const batch = await users.addBatch({ on: ON }, [job('row'), job('row'), job('row')]);
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ total: 3, pending: 0, succeeded: 3, progress: 100 });
  expect(await users.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized', 'waiting-children')).toBe(0);
  expect(await testbed.redis.exists(`${testbed.prefix}:batches:${batch.id}:dependencies`)).toBe(0);
});

test('S49 no callback before the producer has returned and the batch is sealed, however fast members are', async ({
  testbed,
}) => {
  const { users, ran } = play(testbed);
  const batch = await users.createBatch({ on: ON });
  await batch.jobs(async () => {
    await users.addBulk([job('row'), job('row')]);
    await eventually(async () => (await batch.status()).succeeded === 2);
    expect(await batch.status()).toMatchObject({ state: 'open', callbacks: [{ state: 'pending' }, {}] });
    await users.add('row', {});
  });
  await eventually(async () => (await batch.status()).succeeded === 3);
  // Not merely not yet: the batch job waits for the seal, and a look at the batch comes to the same.
  const [row] = await testbed.plainQueue('batches').getDelayed();
  expect(row?.id).toBe(batch.id);
  await row?.promote();
  await eventually(async () => (await testbed.plainQueue('batches').getDelayedCount()) === 1);
  expect(ran).toEqual(['row', 'row', 'row']);
  await batch.seal();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 3 });
  expect(ran).toEqual(['row', 'row', 'row', 'complete', 'success']);
});

test('S50 a member that fails, is retried and succeeds leads to success, exactly once', async ({ testbed }) => {
  const { users, ran } = play(testbed, {
    flaky: ({ attemptsMade }) => {
      if (attemptsMade < 2) throw new Error('try again');
    },
  });
  const batch = await users.addBatch({ on: ON, jobOptions: { attempts: 3 } }, [job('flaky'), job('good')]);
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 2, succeeded: 2 });
  expect(ran.sort()).toEqual(['complete', 'flaky', 'flaky', 'flaky', 'good', 'success']);
});

test('S51 a batch of one member that always fails never fires success', async ({ testbed }) => {
  const { users, ran } = play(testbed, { bad: fail });
  const batch = await users.addBatch({ on: ON }, [job('bad', { attempts: 3 })]);
  const status = await batch.waitUntilFinished(10_000);
  expect(status).toMatchObject({ state: 'failed', total: 1, failed: 1, failedReason: '1 of 1 member failed: no' });
  expect(status.callbacks.map(({ state }) => state)).toEqual(['succeeded', 'pending']);
  expect(ran).toEqual(['bad', 'bad', 'bad', 'complete']);
  expect(await users.getJobCountByTypes('waiting', 'active', 'completed', 'failed')).toBe(2);
});

test("S54 what a member enqueues outside of its batch does not change the batch's numbers", async ({ testbed }) => {
  const { users, ran } = play(testbed, {
    row: async (_, queue) => {
      await queue.add('aside', {});
      await queue.addBulk([job('aside'), job('bad aside')]);
    },
    'bad aside': fail,
  });
  const batch = await users.createBatch({ on: ON });
  await batch.add('row', {});
  await eventually(() => ran.length === 4);
  await eventually(async () => (await users.getJobCountByTypes('completed', 'failed')) === 4);
  expect(await batch.status()).toMatchObject({ total: 1, pending: 0, succeeded: 1, failed: 0 });
  await batch.seal();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
});
