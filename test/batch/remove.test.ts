import { BatchError, BatchNotFoundError } from '../../src/index.js';
import { jobKeys } from '../support/job-keys.js';
import { eventually, expect, gate, type Testbed, test } from '../support/test.js';

async function family(testbed: Testbed, keep?: { age?: number; count?: number }) {
  const users = testbed.queue('users');
  testbed.worker(
    'users',
    async (job) => {
      if (job.name === 'bad') throw new Error('no');
    },
    { concurrency: 20 },
  );
  const on = { complete: { name: 'complete' } };
  const parent = await users.createBatch({ on, ...(keep === undefined ? {} : { keep }) });
  const child = await parent.createBatch({ on, ...(keep === undefined ? {} : { keep }) });
  await child.addBulk(Array.from({ length: 1200 }, (_, i) => ({ name: i < 3 ? 'bad' : 'good', data: i })));
  await child.seal();
  await parent.add('good', {});
  return { users, parent, child };
}

test.for([false, true])(
  'remove({ members: %s }) leaves no key of the batch, its children and its callbacks',
  async (members, { testbed }) => {
    const { users, parent, child } = await family(testbed);
    testbed.batchWorker();
    await parent.seal();
    await parent.waitUntilFinished(20_000);
    await parent.remove({ members });
    await expect(parent.status()).rejects.toThrow(BatchNotFoundError);
    await expect(child.status()).rejects.toThrow(BatchNotFoundError);
    await expect(parent.remove()).rejects.toThrow(BatchNotFoundError);
    expect(await jobKeys(testbed, 'batches:')).toEqual([]);
    expect(await users.getBatchCounts()).toEqual({ open: 0, running: 0, succeeded: 0, failed: 0 });
    expect(await users.getJobCountByTypes('completed', 'failed')).toBe(members ? 0 : 1201);
  },
);

test('remove() refuses a batch that has not finished, and unknown options', async ({ testbed }) => {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  await expect(batch.remove()).rejects.toThrow(BatchError);
  await expect(batch.remove()).rejects.toThrow('has not finished: wait for it');
  await expect(batch.remove()).rejects.toThrow('to cancel it first. No BatchWorker is running: start one with');
  await expect(batch.remove({ member: true } as never)).rejects.toThrow("Did you mean 'members'?");
  expect(await batch.status()).toMatchObject({ state: 'open' });
});

test('remove() refuses a failed batch of which a member is retried by hand, until it has finished again', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const first = testbed.batchWorker();
  const retried = gate();
  testbed.use({ close: async () => retried.open() });
  testbed.worker('users', async ({ attemptsStarted }) => {
    if (attemptsStarted === 1) throw new Error('no');
    await retried.opened;
  });
  const batch = await users.createBatch();
  const member = await batch.add('member', {});
  await batch.seal();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', failed: 1 });
  await first.close();
  await (await users.getJob(member.id ?? ''))?.retry();
  await expect(batch.remove()).rejects.toThrow('has not finished: wait for it');
  expect(await batch.status()).toMatchObject({ total: 1, pending: 1 });
  retried.open();
  testbed.batchWorker({ reconcileInterval: 20 });
  await eventually(async () => (await batch.status()).state === 'succeeded');
  await batch.remove();
  await expect(batch.status()).rejects.toThrow(BatchNotFoundError);
});

test('remove({ members: true }) leaves no id of a member in a list that was to run again outside of the batch', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const maintained = testbed.batchWorker();
  const failing = testbed.worker('users', async () => {
    throw new Error('no');
  });
  const row = { name: 'row', data: {}, opts: { attempts: 2 } };
  const batch = await users.addBatch({}, [row, row]);
  await batch.waitUntilFinished(10_000);
  await Promise.all([maintained.close(), failing.close()]);
  const key = `${testbed.prefix}:batches:${batch.id}`;
  for (const member of await users.getFailed()) {
    await member.retry('failed', { resetAttemptsMade: true });
    // What queue.retryJobs() does on BullMQ 5: the member stays among the failed ones.
    await testbed.redis.srem(`${key}:dependencies`, `${testbed.prefix}:users:${member.id}`);
    await testbed.redis.hset(`${key}:failed`, `${testbed.prefix}:users:${member.id}`, 'no');
  }
  const ran: string[] = [];
  const held = gate();
  testbed.use({ close: async () => held.open() });
  testbed.worker('users', async ({ name }) => {
    ran.push(name);
    await held.opened;
    throw new Error('no');
  });
  await eventually(() => ran.length === 1);
  await batch.remove({ members: true });
  held.open();
  await users.add('last', {});
  await eventually(() => ran.length === 2);
  expect(ran).toEqual(['row', 'last']);
  expect(await users.getJobCountByTypes('waiting', 'delayed', 'completed')).toBe(0);
});

test('a batch of many thousand members is removed', async ({ testbed }) => {
  const users = testbed.queue('users');
  testbed.batchWorker();
  const batch = await users.addBatch({}, []);
  await batch.waitUntilFinished();
  const key = `${testbed.prefix}:batches:${batch.id}`;
  for (const which of ['processed', 'failed']) {
    const members = Array.from({ length: 20_000 }, (_, i) => [`${testbed.prefix}:users:${batch.id}-${i}`, 'null']);
    await testbed.redis.hset(`${key}:${which}`, ...members.flat());
  }
  await batch.remove();
  expect(await jobKeys(testbed, 'batches:')).toEqual([]);
});

test('a batch expires, with its children and callbacks, and a child not before its parent', async ({ testbed }) => {
  const { users, parent, child } = await family(testbed, { age: 0 });
  testbed.batchWorker({ reconcileInterval: 20 });
  await eventually(async () => (await child.status()).state === 'failed');
  // The reconciler goes round: a batch that expires at once is gone, the child of an open parent is not.
  const witness = await users.createBatch({ keep: { age: 0 } });
  await witness.seal();
  await eventually(() =>
    witness.status().then(
      () => false,
      (error: unknown) => error instanceof BatchNotFoundError,
    ),
  );
  expect(await child.status()).toMatchObject({ state: 'failed', succeeded: 1197, failed: 3 });
  await parent.seal();
  await eventually(() =>
    parent.status().then(
      () => false,
      (error: unknown) => error instanceof BatchNotFoundError,
    ),
  );
  await eventually(async () => (await jobKeys(testbed, 'batches:')).length === 0);
  expect(await users.getJobCountByTypes('completed', 'failed'), 'the members stay').toBe(1201);
});

test('results() and failures() say, in the end, that the batch was removed while they were read', async ({
  testbed,
}) => {
  const { parent, child } = await family(testbed);
  testbed.batchWorker();
  await parent.seal();
  await parent.waitUntilFinished(20_000);
  const read = async (source: AsyncIterable<unknown>) => {
    let n = 0;
    for await (const _ of source) {
      if (++n === 1) {
        await child.remove();
      }
    }
  };
  await expect(read(child.results())).rejects.toThrow(BatchNotFoundError);
  await expect(read(child.failures())).rejects.toThrow(BatchNotFoundError);
  await expect(read(child.results({ ordered: true }))).rejects.toThrow(BatchNotFoundError);
});

test('keep.count keeps the latest', async ({ testbed }) => {
  const users = testbed.queue('users');
  testbed.batchWorker({ reconcileInterval: 20 });
  const ids: string[] = [];
  for (let i = 0; i < 4; i++) {
    const batch = await users.createBatch({ keep: { count: 2 } });
    await batch.seal();
    await eventually(() => batch.status().then(({ finishedAt }) => finishedAt !== undefined));
    ids.push(batch.id);
  }
  await eventually(async () => (await users.getBatchCounts()).succeeded === 2);
  expect((await users.getBatches('succeeded')).map(({ id }) => id).sort()).toEqual(ids.slice(2).sort());
});

test.for([[5], [null], [{ keep: 5 }]])(
  'a job that is no batch, with the data %o, keeps none from expiring',
  async ([data], { testbed }) => {
    const users = testbed.queue('users');
    const foreign = await testbed.plainQueue('batches').add('copy', data);
    const other = testbed.worker('batches', async () => {
      throw new Error('no batch');
    });
    await eventually(() => foreign.isFailed());
    await other.close();
    const first = testbed.batchWorker();
    const batch = await users.addBatch({ keep: { age: 1 } }, []);
    await eventually(async () => (await users.getBatchCounts()).succeeded === 1);
    await first.close();
    testbed.batchWorker({ reconcileInterval: 20 });
    await eventually(async () => !(await jobKeys(testbed, 'batches:')).some((key) => key.includes(batch.id)), 5000);
    expect(await foreign.isFailed()).toBe(true);
  },
);

test('a batch whose time to be kept cannot be read keeps no other one from expiring', async ({ testbed }) => {
  const users = testbed.queue('users');
  testbed.batchWorker({ reconcileInterval: 20 });
  const odd = await users.addBatch({ id: 'odd' }, []);
  await testbed.redis.hset(`${testbed.prefix}:batches:odd`, 'b:keep', '1e+300,');
  await odd.waitUntilFinished(10_000);
  const other = await users.addBatch({ keep: { age: 0 } }, []);
  await eventually(async () => (await users.getBatch(other.id).catch(() => undefined)) === undefined);
  expect((await odd.status()).state).toBe('succeeded');
});

test('a removal that was cut short is finished by the reconciler', async ({ testbed }) => {
  const users = testbed.queue('users');
  const first = testbed.batchWorker();
  const batch = await users.addBatch({ on: { complete: { name: 'complete' } } }, []);
  testbed.worker('users', async () => {});
  await batch.waitUntilFinished(10_000);
  await first.close();
  // What a process leaves that is killed after the first step of remove().
  await testbed.redis.hset(`${testbed.prefix}:batches:${batch.id}`, 'b:removal', 'killed 0');
  await expect(batch.status()).rejects.toThrow(BatchNotFoundError);
  testbed.batchWorker({ reconcileInterval: 20 });
  await eventually(async () => (await jobKeys(testbed, 'batches:')).length === 0);
  expect(await jobKeys(testbed, 'users:')).toEqual([]);
});

test.for([
  [{}, "keep needs 'age' (seconds) or 'count'"],
  [{ age: -1 }, 'keep.age must be a whole number'],
  [{ age: Number.MAX_VALUE }, 'keep.age must be a whole number'],
  [{ count: 1e21 }, 'keep.count must be a whole number'],
  [{ days: 7 }, "keep has no option 'days'"],
] as const)('keep: %o is refused', async ([keep, message], { testbed }) => {
  await expect(testbed.queue('users').createBatch({ keep: keep as never })).rejects.toThrow(message);
});

test('a remove() that asks for more than the one that is under way gets it', async ({ testbed }) => {
  const users = testbed.queue('users');
  testbed.worker('users', async () => {});
  testbed.batchWorker();
  const batch = await users.addBatch(
    {},
    [1, 2, 3].map((n) => ({ name: 'member', data: n })),
  );
  await batch.waitUntilFinished(10_000);
  const held = await testbed.heldConnection();
  const actors = await testbed.queue('users', { connection: held.connection }).getBatch(batch.id);
  await held.idle();
  held.countFrom();
  held.holdBefore(3);
  const first = actors.remove();
  await held.heldOrEnded(first);
  const second = batch.remove({ members: true });
  const mark = `${testbed.prefix}:batches:${batch.id}`;
  await eventually(async () => (await testbed.redis.hget(mark, 'b:removal'))?.includes(' members'));
  held.release();
  await Promise.all([first, second]);
  expect(await users.getCompletedCount()).toBe(0);
});
