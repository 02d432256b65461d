import { BatchFinishedError, BatchNotFoundError, BatchSealedError } from '../../src/index.js';
import { runChild } from '../support/child.js';
import { jobKeys } from '../support/job-keys.js';
import { eventually, expect, test } from '../support/test.js';
import { all, gateOf, job, play } from './script.js';

/*
 * What is known to go wrong elsewhere, and must be impossible here. D10 and D12 are in cancelling.test.ts and
 * death.test.ts.
 */

const ON = { complete: { name: 'complete' }, success: { name: 'success' } };

test('D1 members are counted in the step that gives BullMQ their jobs', async ({ testbed }) => {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  const key = `${testbed.prefix}:batches:${batch.id}`;
  let isAdding = true;
  const looks: unknown[] = [];
  const look = async () => {
    while (isAdding) {
      const reply = await testbed.redis.multi().hget(key, 'b:total').llen(`${testbed.prefix}:users:wait`).exec();
      const [total, waiting] = (reply ?? []).map(([, value]) => Number(value ?? 0));
      looks.push([total, waiting]);
      expect(total).toBe(waiting);
    }
  };
  const looking = look();
  await batch.add('row', {});
  for (let i = 0; i < 10; i++) {
    await batch.addBulk(Array.from({ length: 300 }, () => job('row')));
  }
  await batch.jobs(() => users.add('row', {}));
  isAdding = false;
  await looking;
  expect(looks.length).toBeGreaterThan(1);
  expect(await batch.status()).toMatchObject({ total: 3002, pending: 3002 });
});

test('D1 a batch that runs while it grows is never complete too early', async ({ testbed }) => {
  const { users, ran } = play(testbed, {
    grow: async (member, queue) => {
      const own = await queue.batchOf(member);
      const { depth } = member.data;
      if (depth < 6) {
        await own?.addBulk([0, 1].map(() => ({ name: 'grow', data: { depth: depth + 1 } })));
      }
    },
  });
  const batch = await users.addBatch({ on: { complete: { name: 'complete' } } }, [
    { name: 'grow', data: { depth: 0 } },
  ]);
  for await (const { total, pending, succeeded, completedAt } of batch.watch()) {
    expect(pending).toBeGreaterThanOrEqual(0);
    expect(pending + succeeded).toBe(total);
    if (completedAt !== undefined) expect(total).toBe(127);
  }
  expect(ran.indexOf('complete'), 'after all members').toBe(127);
  expect(ran).toHaveLength(128);
});

test('D2 a member of a child that is retried leaves no trace in the parent, which succeeds', async ({ testbed }) => {
  const lastAttempt = gateOf(testbed);
  const { users, ran } = play(testbed, {
    flaky: async ({ attemptsMade }) => {
      if (attemptsMade < 2) throw new Error('try again');
      await lastAttempt.opened;
    },
  });
  const parent = await users.createBatch({ on: ON });
  const child = await parent.createBatch();
  await child.add('flaky', {}, { attempts: 3 });
  await child.seal();
  await parent.seal();
  await eventually(() => ran.length === 3);
  expect(await parent.status()).toMatchObject({ total: 1, pending: 1, failed: 0 });
  expect(await all(parent.failures())).toEqual([]);
  lastAttempt.open();
  expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
  expect(ran.slice(3)).toEqual(['complete', 'success']);
});

test('D3 the numbers of a parent do not grow with the members of a child, and always add up', async ({ testbed }) => {
  const { users } = play(testbed);
  const parent = await users.createBatch();
  const child = await parent.createBatch();
  const totals: number[] = [];
  const look = async () => {
    const { total, pending, succeeded, failed, missing } = await parent.status();
    expect(pending + succeeded + failed + missing).toBe(total);
    totals.push(total);
  };
  await look();
  await child.add('row', {});
  await look();
  await child.jobs(() => users.addBulk([job('row'), job('row')]));
  await look();
  await parent.add('row', {});
  await look();
  await child.seal();
  await parent.seal();
  await parent.waitUntilFinished(10_000);
  await look();
  expect(totals).toEqual([1, 1, 1, 2, 2]);
  expect(await child.status()).toMatchObject({ total: 3, succeeded: 3 });
});

test('D4 an empty nested batch completes, with callbacks and without, and so does its parent', async ({ testbed }) => {
  const { users, ran } = play(testbed);
  const parent = await users.createBatch({ on: ON });
  await parent.jobs(async () => {
    await users.addBatch({ on: { complete: { name: 'empty complete' } } }, []);
    await users.addBatch({}, []);
  });
  await parent.seal();
  expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 2, succeeded: 2 });
  expect(ran).toEqual(['empty complete', 'complete', 'success']);
});

test('D5 (ours: refused) once complete has fired nobody can add a member that would lead to no complete', async ({
  testbed,
}) => {
  const refused: unknown[] = [];
  const { users, ran } = play(testbed, {
    complete: async (callback, queue) => {
      const own = await queue.batchOf(callback);
      await own?.add('late', {}).catch((error: unknown) => refused.push(error));
    },
  });
  const batch = await users.addBatch({ on: ON }, [job('row')]);
  await batch.waitUntilFinished(10_000);
  await batch.add('late', {}).catch((error: unknown) => refused.push(error));
  expect(refused).toHaveLength(2);
  expect(refused[0]).toBeInstanceOf(BatchSealedError);
  expect(refused[1]).toBeInstanceOf(BatchFinishedError);
  expect(await batch.status()).toMatchObject({ state: 'succeeded', total: 1 });
  expect(ran).toEqual(['row', 'complete', 'success']);
});

test('D5 (ours: success) a batch that was given up, has told complete, and grows again still leads to success', async ({
  testbed,
}) => {
  const { users, ran } = play(testbed);
  // Long enough for add() and seal() together, or it is given up once more between them.
  const batch = await users.createBatch({ on: ON, openTimeout: 1000 });
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', abandoned: true });
  expect(ran).toEqual(['complete']);
  await batch.add('row', {});
  await batch.seal();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, abandoned: false });
  expect(ran).toEqual(['complete', 'row', 'success']);
});

test('D6 with a complete callback only, nothing is cleaned up before that has run, so it sees no zeros', async ({
  testbed,
}) => {
  const held = gateOf(testbed);
  const seen: unknown[] = [];
  const { users, ran } = play(
    testbed,
    {
      complete: async (callback, queue) => {
        await held.opened;
        const own = await queue.batchOf(callback);
        seen.push(callback.data.batch, await own?.status(), own && (await all(own.results())).length);
      },
    },
    { reconcileInterval: 20 },
  );
  const batch = await users.addBatch({ on: { complete: { name: 'complete' } }, keep: { age: 0 } }, [
    job('row'),
    job('row'),
  ]);
  await eventually(() => ran.includes('complete'));
  // The reconciler goes round: this one is gone.
  const witness = await users.addBatch({ keep: { age: 0 } }, []);
  const isGone = (id: string) =>
    users.getBatch(id).then(
      () => false,
      (error: unknown) => error instanceof BatchNotFoundError,
    );
  await eventually(() => isGone(witness.id));
  held.open();
  await eventually(() => seen.length === 3);
  const counts = { total: 2, pending: 0, succeeded: 2, failed: 0 };
  expect(seen).toMatchObject([counts, { state: 'finishing', ...counts }, 2]);
  await eventually(() => isGone(batch.id));
});

test('D7 (ours: no interval) a chunk is pushed when it is full, however long the source takes to go on', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  const held = gateOf(testbed);
  async function* source() {
    for (let i = 0; i < 1100; i++) yield job('row');
    await held.opened;
    yield job('row');
  }
  const adding = batch.addBulk(source());
  await eventually(async () => (await users.getWaitingCount()) === 1000);
  expect(await batch.status()).toMatchObject({ total: 1000, pending: 1000 });
  held.open();
  expect(await adding).toEqual({ added: 1101, known: 0 });
  expect(await users.getWaitingCount()).toBe(1101);
});

// One early, one in the middle, one late; test/worker/crash.test.ts kills before every command in turn.
test.for([3, 6, 9])(
  'D8 a BatchWorker that dies before its command %i loses no event: another one goes on, and each callback runs once',
  async (n, { testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => void ran.push(name), { concurrency: 4 });
    const batch = await users.addBatch({ on: ON }, [job('row'), job('row')]);
    const settings = { n, lockDuration: 500, last: batch.id };
    expect(await runChild('doomedBatchWorker', testbed, settings).ended).toBe('SIGKILL');
    expect((await batch.status()).finishedAt, 'it died on the way').toBeUndefined();
    testbed.batchWorker({ lockDuration: 500, stalledInterval: 200 });
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 2, succeeded: 2 });
    expect(ran.sort()).toEqual(['complete', 'row', 'row', 'success']);
  },
);

test('D9 a member that ends after its batch was removed leaves no key of it', async ({ testbed }) => {
  const held = gateOf(testbed);
  let isUp = false;
  const { users, ran } = play(testbed, {
    held: () => held.opened,
    bad: () => {
      if (!isUp) throw new Error('down');
    },
  });
  // One still runs, and one that had failed is retried by hand.
  const running = await users.createBatch();
  await running.add('held', {});
  await eventually(() => ran.includes('held'));
  const failed = await users.createBatch();
  const bad = await failed.add('bad', {});
  await failed.seal();
  await failed.waitUntilFinished(10_000);
  await testbed.plainQueue('batches').remove(running.id, { removeChildren: false });
  await failed.remove();
  expect(await jobKeys(testbed, 'batches')).toEqual([]);
  held.open();
  isUp = true;
  await (await users.getJob(bad.id ?? ''))?.retry();
  await eventually(async () => (await users.getCompletedCount()) === 2);
  expect(await jobKeys(testbed, 'batches')).toEqual([]);
  await expect(running.status()).rejects.toThrow(BatchNotFoundError);
});

test('D11 callbacks are a list: the same one twice runs twice, in the order in which they were given', async ({
  testbed,
}) => {
  const { users, ran } = play(testbed, {}, { jobsAtOnce: 1 });
  const same = { name: 'same', data: { n: 1 } };
  const complete = [{ name: 'z' }, same, { name: 'a' }, same, { name: 'm' }];
  const batch = await users.addBatch({ on: { complete } }, [job('row')]);
  const { callbacks } = await batch.waitUntilFinished(10_000);
  expect(callbacks.map(({ name }) => name)).toEqual(['z', 'same', 'a', 'same', 'm']);
  expect(ran).toEqual(['row', 'z', 'same', 'a', 'same', 'm']);
});
