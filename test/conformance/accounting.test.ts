import { jobKeys } from '../support/job-keys.js';
import { eventually, expect, test } from '../support/test.js';
import { all, fail, gateOf, job, play } from './script.js';

/* What becomes of a member is counted, by BullMQ's own worker; what is no member is left alone. */

test('S12 a job outside of any batch is passed through, and counted nowhere', async ({ testbed }) => {
  const { users, ran } = play(testbed);
  const alone = await users.add('alone', {});
  await users.addBulk([job('alone'), job('alone')]);
  await eventually(async () => (await users.getCompletedCount()) === 3);
  expect(ran).toEqual(['alone', 'alone', 'alone']);
  expect(alone.parent).toBeUndefined();
  expect(await users.batchOf(alone)).toBeUndefined();
  expect(await jobKeys(testbed, 'batches')).toEqual([]);
  const batch = await users.createBatch();
  await users.add('alone', {});
  await eventually(async () => (await users.getCompletedCount()) === 4);
  expect(await batch.status()).toMatchObject({ total: 0, pending: 0, succeeded: 0 });
});

test("S13 a member's processor is executed, with its own data", async ({ testbed }) => {
  const seen: unknown[] = [];
  const { users } = play(testbed, { greet: ({ data }) => seen.push(data) });
  const batch = await users.addBatch({}, [{ name: 'greet', data: { to: 'ada' } }]);
  await batch.waitUntilFinished(10_000);
  expect(seen).toEqual([{ to: 'ada' }]);
});

test('S14 a member whose processor succeeds is recorded as successful, with what it returned', async ({ testbed }) => {
  const { users } = play(testbed, { greet: () => 'hello' });
  const batch = await users.createBatch();
  const member = await batch.add('greet', {});
  await eventually(async () => (await batch.status()).succeeded === 1);
  expect(await batch.status()).toMatchObject({ total: 1, pending: 0, failed: 0 });
  expect(await all(batch.results())).toEqual([{ id: member.id, queue: 'users', value: 'hello', isBatch: false }]);
});

test('S15 a processor that throws: BullMQ sees the same error, retries, and in the end the member has failed', async ({
  testbed,
}) => {
  const error = new Error('no such user');
  const secondAttempt = gateOf(testbed);
  const { users, ran, worker } = play(testbed, {
    greet: async ({ attemptsMade }) => {
      if (attemptsMade === 1) await secondAttempt.opened;
      throw error;
    },
  });
  const seen: Error[] = [];
  worker.on('failed', (_, failure) => seen.push(failure));
  const batch = await users.createBatch();
  const member = await batch.add('greet', {}, { attempts: 2 });
  await eventually(() => ran.length === 2);
  expect(await batch.status(), 'one attempt is left').toMatchObject({ pending: 1, failed: 0 });
  secondAttempt.open();
  await eventually(async () => (await batch.status()).failed === 1);
  await eventually(() => seen.length === 2);
  expect(seen[0]).toBe(error);
  expect(seen[1]).toBe(error);
  expect(await users.getJob(member.id ?? '')).toMatchObject({ attemptsMade: 2, failedReason: 'no such user' });
  expect(await all(batch.failures())).toMatchObject([{ id: member.id, reason: 'no such user' }]);
});

test('S16 a job that is added inside of a batch bears its id, and is enqueued like any other', async ({ testbed }) => {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  const members = [await batch.add('row', {}), await batch.jobs(() => users.add('row', {}))];
  for (const { id } of members) {
    const stored = await users.getJob(id ?? '');
    expect(stored?.parent).toMatchObject({ id: batch.id, queueKey: `${testbed.prefix}:batches` });
    expect(await stored?.getState()).toBe('waiting');
  }
});

test("S17 (ours: no hooks) the worker is BullMQ's own, and a member adds members with a wrapped queue", async ({
  testbed,
}) => {
  const producer = testbed.queue('users');
  const inTheWorker = testbed.queue('users');
  testbed.worker('users', async (member) => {
    if (member.name === 'load') await (await inTheWorker.batchOf(member))?.addBulk([job('row'), job('row')]);
  });
  testbed.batchWorker();
  const batch = await producer.addBatch({}, [job('load')]);
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 3, succeeded: 3 });
});

// Whether the batch is still wanted, the third thing that S18 asks for, is in cancelling.test.ts.
test('S18 job code can read the id of its batch, and has its handle', async ({ testbed }) => {
  const seen: unknown[] = [];
  const { users } = play(testbed, {
    row: async (member, queue) => {
      const own = await queue.batchOf(member);
      seen.push(member.parent?.id, own?.id, (await own?.status())?.total);
    },
  });
  const batch = await users.addBatch({}, [job('row')]);
  await batch.waitUntilFinished(10_000);
  expect(seen).toEqual([batch.id, batch.id, 1]);
});

test('S20 all failed members are remembered, each once, however often it was tried', async ({ testbed }) => {
  const { users, ran } = play(testbed, { bad: fail });
  const batch = await users.createBatch({ jobOptions: { attempts: 3 } });
  const bad = await batch.jobs(() => users.addBulk([job('bad'), job('bad'), job('bad')]));
  await batch.add('good', {});
  await batch.seal();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ total: 4, failed: 3, succeeded: 1 });
  expect(ran.filter((name) => name === 'bad')).toHaveLength(9);
  const ids = (await all(batch.failures())).map(({ id }) => id);
  expect(ids.sort()).toEqual(bad.map(({ id }) => id).sort());
});
