import { BatchNotFoundError, BatchOptionsError } from '../../src/index.js';
import { eventually, expect, test } from '../support/test.js';
import { fail, gateOf, job, play } from './script.js';

/* Which callbacks are enqueued, with what, and what their jobs see. A callback is an ordinary job. */

const ON = { complete: { name: 'complete' }, success: { name: 'success' } };

test('S24 an event that has fired enqueues nothing when it comes about again', async ({ testbed }) => {
  const { users, ran } = play(testbed, { bad: fail });
  const rows = testbed.plainQueue('batches');
  const good = await users.addBatch({ on: ON }, [job('good')]);
  await good.waitUntilFinished(10_000);
  await good.seal();
  await (await rows.getJob(good.id))?.retry('completed');
  expect(await good.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
  const bad = await users.addBatch({ on: ON }, [job('bad')]);
  await bad.waitUntilFinished(10_000);
  await (await rows.getJob(bad.id))?.retry();
  expect(await bad.waitUntilFinished(10_000)).toMatchObject({ state: 'failed' });
  await eventually(async () => (await rows.getJob(bad.id))?.attemptsMade === 2);
  expect(ran).toEqual(['good', 'complete', 'success', 'bad', 'complete']);
  expect(await users.getJobCountByTypes('waiting', 'active', 'delayed', 'completed', 'failed')).toBe(5);
});

test('S25 an event without a callback enqueues nothing', async ({ testbed }) => {
  const { users, ran } = play(testbed, { bad: fail });
  for (const on of [{}, { complete: [] }, { success: { name: 'success' } }]) {
    await (await users.addBatch({ on }, [job('bad')])).waitUntilFinished(10_000);
  }
  await (await users.addBatch({}, [job('good')])).waitUntilFinished(10_000);
  expect(ran).toEqual(['bad', 'bad', 'bad', 'good']);
  expect(await users.getJobCountByTypes('waiting', 'active', 'delayed', 'completed', 'failed')).toBe(4);
});

test('S26 (ours: kept) a batch without callbacks stays readable while it is to be kept, and then goes', async ({
  testbed,
}) => {
  const { users } = play(testbed, {}, { reconcileInterval: 20 });
  const kept = await users.addBatch({}, [job('row')]);
  const brief = await users.addBatch({ keep: { age: 0 } }, [job('row')]);
  await eventually(() =>
    brief.status().then(
      () => false,
      (error: unknown) => error instanceof BatchNotFoundError,
    ),
  );
  expect(await kept.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
});

test('S27 a callback gets its data, the event, and the ids of batch and parent, on either queue', async ({
  testbed,
}) => {
  const { users } = play(testbed);
  testbed.worker('mail', async () => {});
  const parent = await users.createBatch();
  const on = {
    complete: { name: 'summary', data: { org: 7 } },
    success: { name: 'tell', queue: 'mail', data: { to: 'boss' } },
  };
  const child = await parent.createBatch({ on });
  const alone = await users.createBatch({ on });
  const counts = { total: 1, pending: 0, succeeded: 1, failed: 0, cancelled: 0, missing: 0 };
  for (const batch of [child, alone]) {
    await batch.add('row', {});
    await batch.seal();
    const { callbacks } = await batch.waitUntilFinished(10_000);
    const of = { id: batch.id, ...(batch === child ? { parentId: parent.id } : {}), ...counts };
    const [complete, success] = callbacks;
    const summary = await users.getJob(complete?.jobId ?? '');
    expect(summary?.name).toBe('summary');
    expect(summary?.data).toEqual({ org: 7, batch: { ...of, event: 'complete' } });
    const told = await testbed.plainQueue('mail').getJob(success?.jobId ?? '');
    expect(told?.name).toBe('tell');
    expect(told?.data).toEqual({ to: 'boss', batch: { ...of, event: 'success' } });
  }
});

// Ours are enqueued one by one, each under an id that tells whether it was: a crash in between repeats none.
test('S28 several callbacks of one event are all enqueued, each with its own data and options', async ({ testbed }) => {
  const { users, ran } = play(testbed);
  const batch = await users.addBatch(
    {
      on: {
        complete: [
          { name: 'one', data: { n: 1 }, opts: { attempts: 4 } },
          { name: 'two', data: { n: 2 }, opts: { priority: 9 } },
          { name: 'three' },
        ],
      },
    },
    [job('row')],
  );
  const { callbacks } = await batch.waitUntilFinished(10_000);
  const [one, two, three] = await Promise.all(callbacks.map(({ jobId }) => users.getJob(jobId)));
  expect(one).toMatchObject({ name: 'one', data: { n: 1 }, opts: { attempts: 4 } });
  expect(two).toMatchObject({ name: 'two', data: { n: 2 }, opts: { priority: 9 } });
  expect(three?.data).toEqual({ batch: one?.data.batch });
  expect(ran.sort()).toEqual(['one', 'row', 'three', 'two']);
});

test('S29 (ours: it waits) a callback that nobody handles yet holds its batch, visibly, and is not lost', async ({
  testbed,
}) => {
  const { users } = play(testbed);
  const nobody = testbed.plainQueue('nobody');
  const batch = await users.addBatch({ on: { complete: { name: 'notify', queue: 'nobody' } } }, [job('row')]);
  await eventually(async () => (await nobody.getWaitingCount()) === 1);
  expect(await batch.status()).toMatchObject({
    state: 'finishing',
    finishedAt: undefined,
    callbacks: [{ name: 'notify', queue: 'nobody', state: 'enqueued' }],
  });
  testbed.worker('nobody', async () => {});
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
});

test('S30 (ours: refused) an unknown event is an error when it is registered, and nothing is written', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  // @ts-expect-error there is no such event
  const creating = users.createBatch({ on: { completed: { name: 'complete' } } });
  await expect(creating).rejects.toThrow(BatchOptionsError);
  await expect(creating).rejects.toThrow("'on' has no option 'completed'. Did you mean 'complete'?");
  expect(await users.getBatchCounts()).toEqual({ open: 0, running: 0, succeeded: 0, failed: 0 });
});

test('S31 the job of success sees the status of the batch, and its own data', async ({ testbed }) => {
  const seen: unknown[] = [];
  const { users } = play(testbed, {
    success: async (callback, queue) => {
      seen.push(callback.data.org, callback.data.batch, await (await queue.batchOf(callback))?.status());
    },
  });
  const batch = await users.addBatch({ on: { success: { name: 'success', data: { org: 7 } } } }, [job('row')]);
  await batch.waitUntilFinished(10_000);
  const counts = { id: batch.id, total: 1, succeeded: 1, failed: 0 };
  expect(seen).toMatchObject([7, { event: 'success', ...counts }, { state: 'finishing', ...counts }]);
});

test('S32 the job of complete sees the status of the batch, and its own data', async ({ testbed }) => {
  const seen: unknown[] = [];
  const { users } = play(testbed, {
    bad: fail,
    complete: async (callback, queue) => {
      seen.push(callback.data.org, callback.data.batch, await (await queue.batchOf(callback))?.status());
    },
  });
  const on = { complete: { name: 'complete', data: { org: 7 } } };
  const batch = await users.addBatch({ on }, [job('good'), job('bad')]);
  await batch.waitUntilFinished(10_000);
  const counts = { id: batch.id, total: 2, succeeded: 1, failed: 1 };
  expect(seen).toMatchObject([7, { event: 'complete', ...counts }, { state: 'finishing', ...counts }]);
});

test('S33 (ours: a callback names a job) exactly that job runs, whatever the event, and is told which one', async ({
  testbed,
}) => {
  const events: string[] = [];
  const { users, ran } = play(testbed, { notify: ({ data }) => events.push(data.batch.event) });
  const batch = await users.addBatch({ on: { complete: { name: 'notify' }, success: { name: 'notify' } } }, [
    job('row'),
  ]);
  await batch.waitUntilFinished(10_000);
  expect(ran).toEqual(['row', 'notify', 'notify']);
  expect(events).toEqual(['complete', 'success']);
});

test('S53 the numbers that a callback is given are the real ones, however late it runs', async ({ testbed }) => {
  const held = gateOf(testbed);
  const told: unknown[] = [];
  const late = async (callback: { data: { batch: unknown } }) => {
    await held.opened;
    told.push(callback.data.batch);
  };
  const { users, ran } = play(testbed, { complete: late, success: late }, { reconcileInterval: 20 });
  // It may go as soon as it has finished, which is not before its callbacks have run.
  const batch = await users.addBatch({ on: ON, keep: { age: 0 } }, [job('row'), job('row'), job('row')]);
  await eventually(() => ran.includes('complete'));
  const witness = await users.addBatch({ keep: { age: 0 } }, []);
  await eventually(() =>
    witness.status().then(
      () => false,
      () => true,
    ),
  );
  expect(await batch.status()).toMatchObject({ state: 'finishing', total: 3, succeeded: 3 });
  held.open();
  await eventually(() => told.length === 2);
  const counts = { total: 3, pending: 0, succeeded: 3, failed: 0, missing: 0 };
  expect(told).toMatchObject([
    { event: 'complete', ...counts },
    { event: 'success', ...counts },
  ]);
});
