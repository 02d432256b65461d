import { UnrecoverableError } from 'bullmq';
import type { Batch } from '../../../src/index.js';
import { BatchBoardAdapter } from '../../../src/surfaces/bull-board/index.js';
import { type AdapterName, boardOf } from '../../support/board.js';
import { type AnyQueue, describe, eventually, expect, type Testbed, test } from '../../support/test.js';

const ADAPTERS: AdapterName[] = ['BatchBoardAdapter', 'BullMQAdapter'];
const CALLBACKS = {
  on: { complete: { name: 'complete', queue: 'mail' }, success: { name: 'success', queue: 'mail' } },
};

const rows = (count: number) => Array.from({ length: count }, (_, n) => ({ name: 'row', data: { n } }));

/** A sealed batch of three members that nobody has run yet, and the board over their queue. */
async function waiting(testbed: Testbed, adapter: AdapterName, opts: object = {}) {
  const users = testbed.queue('users');
  const board = await boardOf(testbed, [testbed.plainQueue('batches'), users], adapter);
  const called: string[] = [];
  testbed.worker('mail', async (job) => void called.push(job.name));
  const batch = await users.addBatch({ ...CALLBACKS, jobOptions: opts }, rows(3));
  const state = opts === undefined || Object.keys(opts).length === 0 ? 'waiting' : 'delayed';
  const [first] = await users.getJobs([state as 'waiting'], 0, 0, true);
  return {
    users,
    board,
    batch,
    called,
    id: first?.id ?? '',
    start(process: (data: { n: number }) => unknown = () => {}) {
      testbed.batchWorker({ reconcileInterval: 50, missingAfter: 200 });
      testbed.worker('users', async (job) => process(job.data));
    },
  };
}

const finished = (batch: Batch<AnyQueue>, expected: object) =>
  eventually(async () => {
    const status = await batch.status();
    expect(status.finishedAt).toBeDefined();
    expect(status).toMatchObject(expected);
    return true;
  });

describe.each(ADAPTERS)('%s, buttons of members that wait', (adapter) => {
  test('Clean makes one missing: the batch finishes, and does not succeed', async ({ testbed }) => {
    const { board, batch, id, called, start } = await waiting(testbed, adapter);
    expect((await board.put(`/users/${id}/clean`)).status).toBe(204);
    start();
    await finished(batch, { state: 'failed', total: 3, succeeded: 2, missing: 1 });
    expect(called).toEqual(['complete']);
  });

  test('Drain makes all of them missing', async ({ testbed }) => {
    const { board, batch, called, start } = await waiting(testbed, adapter);
    expect((await board.put('/users/empty')).status).toBe(200);
    start();
    await finished(batch, { state: 'failed', total: 3, succeeded: 0, missing: 3 });
    expect(called).toEqual(['complete']);
  });

  test('Drain takes what has a priority, and what is paused, too', async ({ testbed }) => {
    const { users, board, batch, called, start } = await waiting(testbed, adapter);
    await users.addBatch({}, [{ name: 'row', data: {}, opts: { priority: 3 } }]);
    await users.pause();
    expect((await board.put('/users/empty')).status).toBe(200);
    expect(await users.getJobCountByTypes('waiting', 'prioritized')).toBe(0);
    await users.resume();
    start();
    await finished(batch, { state: 'failed', missing: 3 });
    expect(called).toEqual(['complete']);
  });

  test('Clean all leaves those of the last seconds, as BullMQ does', async ({ testbed }) => {
    const { board, batch, called, start } = await waiting(testbed, adapter);
    expect((await board.put('/users/clean/wait')).status).toBe(200);
    start();
    await finished(batch, { state: 'succeeded', succeeded: 3 });
    expect(called).toEqual(['complete', 'success']);
  });

  test('Clean all makes older ones missing', async ({ testbed }) => {
    const { users, board, batch, called, start } = await waiting(testbed, adapter);
    for (const job of await users.getJobs(['waiting'])) {
      await testbed.redis.hset(`${testbed.prefix}:users:${job.id}`, 'timestamp', '1');
    }
    expect((await board.put('/users/clean/wait')).status).toBe(200);
    start();
    await finished(batch, { state: 'failed', missing: 3 });
    expect(called).toEqual(['complete']);
  });

  test('Obliterate makes all of them missing', async ({ testbed }) => {
    const { board, batch, called, start } = await waiting(testbed, adapter);
    await board.put('/users/pause');
    expect((await board.put('/users/obliterate', { force: true })).status).toBe(200);
    start();
    await finished(batch, { state: 'failed', succeeded: 0, missing: 3 });
    expect(called).toEqual(['complete']);
  });

  test('Pause holds the batch, which says so, and Resume lets it finish', async ({ testbed }) => {
    const { board, batch, called, start } = await waiting(testbed, adapter);
    await board.put('/users/pause');
    start();
    expect((await batch.explain()).reasons.join()).toContain("queue 'users', which is paused");
    await board.put('/users/resume');
    await finished(batch, { state: 'succeeded' });
    expect(called).toEqual(['complete', 'success']);
  });

  test('Edit data changes what the member works on, and nothing of the batch', async ({ testbed }) => {
    const { board, batch, id, called, start } = await waiting(testbed, adapter);
    expect((await board.patch(`/users/${id}/update-data`, { jobData: { n: 7 } })).status).toBe(200);
    const seen: number[] = [];
    start(({ n }) => seen.push(n));
    await finished(batch, { state: 'succeeded', total: 3 });
    expect(seen).toContain(7);
    expect(called).toEqual(['complete', 'success']);
  });

  test('Change priority changes its turn, and nothing of the batch', async ({ testbed }) => {
    const { board, batch, id, called, start } = await waiting(testbed, adapter);
    expect((await board.patch(`/users/${id}/priority`, { priority: 5 })).status).toBe(200);
    start();
    await finished(batch, { state: 'succeeded', total: 3 });
    expect(called).toEqual(['complete', 'success']);
  });

  test('Duplicate never makes the batch succeed early, or twice', async ({ testbed }) => {
    const { users, board, batch, id, called, start } = await waiting(testbed, adapter);
    const { name, data, opts } = (await board.get(`/users/${id}`)).body.job;
    const { jobId, ...options } = opts;
    expect((await board.post('/users/add', { name, data, options })).status).toBe(200);
    expect(await users.getWaitingCount()).toBe(4);
    start();
    // To BullMQ's own adapter the copy is one more child of the batch job, which is waited for, and is no member.
    await finished(batch, { state: 'succeeded', total: 3, succeeded: 3 });
    await eventually(async () => (await users.getCompletedCount()) === 4);
    expect(called).toEqual(['complete', 'success']);
  });
});

describe.each(ADAPTERS)('%s, buttons of members that are delayed', (adapter) => {
  const delayed = { delay: 3_600_000 };

  test('Promote, Promote all and Reschedule let them run, and the batch finish', async ({ testbed }) => {
    const { board, batch, id, called, start } = await waiting(testbed, adapter, delayed);
    start();
    const second = (await testbed.redis.zrange(`${testbed.prefix}:users:delayed`, '1', '1'))[0];
    expect((await board.patch(`/users/${second}/delay`, { runAt: Date.now() })).status).toBe(200);
    expect((await board.put(`/users/${id}/promote`)).status).toBe(204);
    await eventually(async () => (await batch.status()).succeeded === 2);
    expect((await board.put('/users/promote')).status).toBe(200);
    await finished(batch, { state: 'succeeded', succeeded: 3 });
    expect(called).toEqual(['complete', 'success']);
  });
});

describe.each(ADAPTERS)('%s, buttons of members that have failed', (adapter) => {
  async function failed(testbed: Testbed) {
    const board = await waiting(testbed, adapter);
    let isBroken = true;
    board.start(({ n }) => {
      if (isBroken && n > 0) {
        throw new UnrecoverableError('no e-mail');
      }
    });
    await finished(board.batch, { state: 'failed', failed: 2 });
    return {
      ...board,
      mend() {
        isBroken = false;
      },
    };
  }

  test('Retry heals the batch when the last of them succeeds', async ({ testbed }) => {
    const { board, batch, called, mend } = await failed(testbed);
    mend();
    for await (const { id } of batch.failures()) {
      expect((await batch.status()).state).not.toBe('succeeded');
      expect((await board.put(`/users/${id}/retry`)).status).toBe(204);
    }
    await finished(batch, { state: 'succeeded', succeeded: 3, recovered: true });
    expect(called).toEqual(['complete', 'success']);
  });

  test('Retry all heals it', async ({ testbed }) => {
    const { board, batch, called, mend } = await failed(testbed);
    mend();
    expect((await board.put('/users/retry/failed')).body).toEqual({ retried: 2, skipped: 0 });
    await finished(batch, { state: 'succeeded', succeeded: 3, recovered: true });
    expect(called).toEqual(['complete', 'success']);
  });

  test('Clean forgets the job, and the batch stays failed: a later retry cannot bring it back', async ({ testbed }) => {
    const { board, batch, called, mend } = await failed(testbed);
    for await (const { id } of batch.failures()) {
      expect((await board.put(`/users/${id}/clean`)).status).toBe(204);
    }
    mend();
    await batch.retry();
    await finished(batch, { state: 'failed', failed: 2, succeeded: 1 });
    expect(called).toEqual(['complete']);
  });
});

describe.each(ADAPTERS)('%s, buttons of members that have succeeded', (adapter) => {
  test('Retry and Clean leave the batch as it finished, without a second callback', async ({ testbed }) => {
    const { users, board, batch, id, called, start } = await waiting(testbed, adapter);
    start();
    await finished(batch, { state: 'succeeded' });
    expect((await board.put(`/users/${id}/retry`)).status).toBe(204);
    await eventually(async () => (await users.getCompletedCount()) === 3);
    await finished(batch, { state: 'succeeded', total: 3, succeeded: 3 });
    expect((await board.put(`/users/${id}/clean`)).status).toBe(204);
    await finished(batch, { state: 'succeeded', total: 3, succeeded: 3 });
    expect(called).toEqual(['complete', 'success']);
  });
});

describe('BatchBoardAdapter, a queue that is being added to', () => {
  test('is drained of what was there', async ({ testbed }) => {
    const users = testbed.queue('users');
    const board = await boardOf(testbed, [users], 'BatchBoardAdapter');
    const clean = users.clean.bind(users);
    let slices = 0;
    users.clean = async (...args) => {
      const cleaned = await clean(...args);
      await users.add('row', {});
      slices += 1;
      return slices < 200 ? cleaned : [];
    };
    await users.addBulk(rows(3));
    expect((await board.put('/users/empty')).status).toBe(200);
    expect(slices).toBeLessThan(200);
  });
});

describe('BatchBoardAdapter, links to the page of batches', () => {
  const own = { displayText: 'Order', href: '/orders/7' };

  test('are those of batches and members, also when the data of a job has its id', async ({ testbed }) => {
    const [users, batches] = [testbed.queue('users'), testbed.plainQueue('batches')];
    const options = { page: '/batches/', externalJobUrl: () => own };
    const [jobs, rowsOfBatches] = [new BatchBoardAdapter(users, options), new BatchBoardAdapter(batches, options)];
    const batch = await users.createBatch();
    const member = await batch.add('row', { id: 'user-7' }, { jobId: 'user-7' });
    const other = await users.add('row', { id: 'user-8' }, { jobId: 'user-8' });
    const toBatch = { displayText: 'Batch', href: `/batches/${batch.id}` };
    expect(jobs.externalJobUrl?.(member.toJSON() as never)).toEqual(toBatch);
    expect(jobs.externalJobUrl?.(other.toJSON() as never)).toEqual(own);
    const [listed] = await rowsOfBatches.getJobs(['delayed'], 0, 0);
    expect(rowsOfBatches.externalJobUrl?.(listed?.toJSON() as never)).toEqual(toBatch);
  });
});

describe('BatchBoardAdapter, members by the thousand', () => {
  test('are drained in steps of a thousand', async ({ testbed }) => {
    const users = testbed.queue('users');
    const board = await boardOf(testbed, [users], 'BatchBoardAdapter');
    const batch = await users.addBatch({}, rows(5500));
    const slices: number[] = [];
    const clean = users.clean.bind(users);
    users.clean = (grace, limit, type) => {
      slices.push(limit);
      return clean(grace, limit, type);
    };
    expect((await board.put('/users/empty')).status).toBe(200);
    expect(await users.getJobCountByTypes('waiting')).toBe(0);
    expect(Math.max(...slices)).toBe(1000);
    testbed.batchWorker();
    await finished(batch, { state: 'failed', missing: 5500 });
  });
});
