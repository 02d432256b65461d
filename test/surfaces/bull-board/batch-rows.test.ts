import { UnrecoverableError } from 'bullmq';
import { type Batch, type BatchQueue, withBatches } from '../../../src/index.js';
import { BatchBoardAdapter } from '../../../src/surfaces/bull-board/index.js';
import { type AdapterName, type Board, boardOf } from '../../support/board.js';
import { type AnyQueue, describe, eventually, expect, type Testbed, test } from '../../support/test.js';

/** A board over the batches and their members, and what an application has beside it. */
async function open(testbed: Testbed, adapter: AdapterName) {
  const users = testbed.queue('users');
  const batches = testbed.plainQueue('batches');
  const board = await boardOf(testbed, [batches, users], adapter);
  const ran: string[] = [];
  return {
    users,
    batches,
    board,
    /** The names of the jobs that ran, callbacks among them. */
    ran,
    /** Workers for everything; repairs come at once, so that what is stuck in spite of them is seen to be. */
    start(process: (data: { fails?: boolean }) => void = () => {}) {
      testbed.batchWorker({ reconcileInterval: 50, missingAfter: 200 });
      return testbed.worker('users', async (job) => {
        ran.push(job.name);
        process(job.data);
      });
    },
  };
}

const CALLBACKS = { on: { complete: { name: 'complete' }, success: { name: 'success' } } };
const ADAPTERS: AdapterName[] = ['BatchBoardAdapter', 'BullMQAdapter'];

const rows = (...fails: boolean[]) => fails.map((isFailing) => ({ name: 'row', data: { fails: isFailing } }));

async function failing(users: BatchQueue<AnyQueue>): Promise<Batch<AnyQueue>> {
  const batch = await users.addBatch(CALLBACKS, rows(false, true));
  await finished(batch, 'failed');
  return batch;
}

const finished = (batch: Batch<AnyQueue>, state: string) =>
  eventually(async () => {
    const status = await batch.status();
    expect(status.state).toBe(state);
    return status;
  });

async function row(board: Board, queue: string, id: string) {
  const { body } = await board.get(`/${queue}/${id}`);
  return body.job;
}

describe.each(ADAPTERS)('%s, buttons of a batch that has failed', (adapter) => {
  test('Retry lets it run again, and succeed when its members do', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    let isBroken = true;
    start(({ fails }) => {
      if (fails && isBroken) {
        throw new UnrecoverableError('no e-mail');
      }
    });
    const batch = await failing(users);
    isBroken = false;
    if (adapter === 'BullMQAdapter') {
      // The plain board knows nothing of members: the row fails again as long as they have failed.
      expect((await board.put(`/batches/${batch.id}/retry`)).status).toBe(204);
      await finished(batch, 'failed');
      for await (const { id } of batch.failures()) {
        expect((await board.put(`/users/${id}/retry`)).status).toBe(204);
      }
    } else {
      expect((await board.put(`/batches/${batch.id}/retry`)).status).toBe(204);
    }
    await finished(batch, 'succeeded');
    expect(ran.filter((name) => name !== 'row')).toEqual(['complete', 'success']);
  });

  test('Retry all does the same for all, and leaves those that were cancelled', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    let isBroken = true;
    const worker = start(({ fails }) => {
      if (fails && isBroken) {
        throw new UnrecoverableError('no e-mail');
      }
    });
    const [one, other] = [await failing(users), await failing(users)];
    await worker.pause();
    const cancelled = await users.addBatch({}, rows(false));
    await cancelled.cancel();
    await finished(cancelled, 'cancelled');
    worker.resume();
    isBroken = false;
    if (adapter === 'BullMQAdapter') {
      await board.put('/users/retry/failed');
    }
    const { status } = await board.put('/batches/retry/failed');
    // The reconciler may have been there first: to the plain board that is an error.
    expect(adapter === 'BullMQAdapter' ? [200, 500] : [200]).toContain(status);
    await Promise.all([finished(one, 'succeeded'), finished(other, 'succeeded'), finished(cancelled, 'cancelled')]);
    expect(ran.filter((name) => name === 'success')).toHaveLength(2);
    expect(ran.filter((name) => name === 'complete')).toHaveLength(2);
  });

  test('Clean, and Clean all, remove it', async ({ testbed }) => {
    const { users, board, start } = await open(testbed, adapter);
    start(({ fails }) => {
      if (fails) {
        throw new UnrecoverableError('no e-mail');
      }
    });
    const batch = await failing(users);
    expect((await board.put(`/batches/${batch.id}/clean`)).status).toBe(204);
    expect(await users.getBatches()).toEqual([]);
    expect(await testbed.redis.keys(`${testbed.prefix}:batches:${batch.id}*`)).toEqual([]);
    // What has failed within the last seconds is not cleaned: BullMQ's rule, and the board's grace.
    const young = await failing(users);
    expect((await board.put('/batches/clean/failed')).status).toBe(200);
    expect((await users.getBatches()).map(({ id }) => id)).toEqual([young.id]);
  });
});

describe.each(ADAPTERS)('%s, buttons of a batch that is open', (adapter) => {
  test('Promote never finishes it early', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    start();
    const batch = await users.createBatch(CALLBACKS);
    await batch.addBulk(rows(false));
    await eventually(async () => (await batch.status()).succeeded === 1);
    expect((await board.put(`/batches/${batch.id}/promote`)).status).toBe(204);
    if (adapter === 'BullMQAdapter') {
      // To BullMQ it is a delayed job like any other; it goes back to waiting for its seal.
      await eventually(async () => (await users.getBatchCounts()).open === 1);
      expect(await batch.status()).toMatchObject({ state: 'open', sealed: false });
      expect(ran).toEqual(['row']);
      await batch.seal();
    }
    await finished(batch, 'succeeded');
    expect(ran).toEqual(['row', 'complete', 'success']);
  });

  test('Promote all leaves it open', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    start();
    const batch = await users.createBatch(CALLBACKS);
    expect((await board.put('/batches/promote')).status).toBe(200);
    const sealed = await users.addBatch({}, []);
    await finished(sealed, 'succeeded');
    await eventually(async () => (await users.getBatchCounts()).open === 1);
    expect(await batch.status()).toMatchObject({ state: 'open', sealed: false });
    expect(ran).toEqual([]);
  });

  test('Promote all makes sealed batches run that wait for another attempt', async ({ testbed }) => {
    const { users, board } = await open(testbed, adapter);
    const batch = await users.addBatch({}, []);
    // As after an error of the infrastructure, and not long enough for the reconciler to mind.
    const later = (Date.now() + 40_000) * 4096;
    await testbed.redis.zadd(`${testbed.prefix}:batches:delayed`, later, batch.id);
    expect((await board.put('/batches/promote')).status).toBe(200);
    testbed.batchWorker();
    await finished(batch, 'succeeded');
  });

  test('Reschedule does not end it', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    start();
    const batch = await users.createBatch(CALLBACKS);
    const { status, body } = await board.patch(`/batches/${batch.id}/delay`, { runAt: Date.now() + 60_000 });
    expect([status, body.message]).toEqual(
      adapter === 'BullMQAdapter' ? [200, undefined] : [409, expect.stringContaining('Promote it to seal it')],
    );
    expect(await batch.status()).toMatchObject({ state: 'open', sealed: false });
    await batch.addBulk(rows(false));
    await batch.seal();
    await finished(batch, 'succeeded');
    expect(ran).toEqual(['row', 'complete', 'success']);
  });

  test('Edit data does not change what it is', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    start();
    const batch = await users.createBatch(CALLBACKS);
    await batch.addBulk(rows(false));
    const { status, body } = await board.patch(`/batches/${batch.id}/update-data`, { jobData: { on: {} } });
    expect([status, body.message]).toEqual(
      adapter === 'BullMQAdapter' ? [200, undefined] : [409, expect.stringContaining('is not edited')],
    );
    await batch.seal();
    await finished(batch, 'succeeded');
    expect(ran).toEqual(['row', 'complete', 'success']);
  });

  test('Change priority does not hold it', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    start();
    const batch = await users.createBatch(CALLBACKS);
    const { status, body } = await board.patch(`/batches/${batch.id}/priority`, { priority: 5 });
    expect([status, body.message]).toEqual(
      adapter === 'BullMQAdapter' ? [200, undefined] : [409, expect.stringContaining('A batch has no priority')],
    );
    await batch.seal();
    await finished(batch, 'succeeded');
    expect(ran).toEqual(['complete', 'success']);
  });

  test('Duplicate makes no second batch', async ({ testbed }) => {
    const { users, batches, board, ran, start } = await open(testbed, adapter);
    const batch = await users.createBatch(CALLBACKS);
    const { name, data, opts } = await row(board, 'batches', batch.id);
    const { jobId, delay, ...options } = opts;
    const { status, body } = await board.post('/batches/add', { name, data, options });
    start();
    if (adapter === 'BullMQAdapter') {
      expect(status).toBe(200);
      await eventually(async () => {
        const copy = await batches.getJob(body.job.id);
        expect(copy?.failedReason).toContain(`in the queue 'batches' is no batch`);
        return true;
      });
    } else {
      expect([status, body.message]).toEqual([409, expect.stringContaining('is created with createBatch()')]);
    }
    expect(ran).toEqual([]);
    await batch.seal();
    await finished(batch, 'succeeded');
    expect(ran).toEqual(['complete', 'success']);
    expect((await users.getBatches()).map(({ id }) => id)).toEqual([batch.id]);
  });

  test('Clean removes it, with the members that wait', async ({ testbed }) => {
    const { users, board } = await open(testbed, adapter);
    const batch = await users.createBatch(CALLBACKS);
    await batch.addBulk(rows(false, false));
    expect((await board.put(`/batches/${batch.id}/clean`)).status).toBe(204);
    expect(await users.getBatches()).toEqual([]);
    expect(await users.getJobCounts('waiting')).toMatchObject({ waiting: 0 });
    expect(await testbed.redis.keys(`${testbed.prefix}:batches:${batch.id}*`)).toEqual([]);
  });
});

describe.each(ADAPTERS)('%s, buttons of a batch that runs', (adapter) => {
  test('Remove unprocessed children ends it without a success', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    const batch = await users.addBatch(CALLBACKS, rows(false, false));
    testbed.batchWorker();
    await eventually(async () => (await users.getBatchCounts()).running === 1);
    const { status, body } = await board.put(`/batches/${batch.id}/remove-unprocessed-children`);
    expect([status, body]).toEqual([200, { removed: 2 }]);
    start();
    const how = adapter === 'BullMQAdapter' ? 'failed' : 'cancelled';
    const { cancelled, missing } = await finished(batch, how);
    expect({ cancelled, missing }).toEqual(
      adapter === 'BullMQAdapter' ? { cancelled: 0, missing: 2 } : { cancelled: 2, missing: 0 },
    );
    expect(ran).toEqual(['complete']);
    expect(await users.getJobCounts('waiting', 'failed')).toMatchObject({ waiting: 0, failed: 0 });
  });

  test('Clean removes it, with the members that wait, and its parent does not succeed', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    const parent = await users.createBatch(CALLBACKS);
    const batch = await parent.createBatch(CALLBACKS);
    await batch.addBulk(rows(false, false));
    await batch.seal();
    await parent.seal();
    const batchWorker = testbed.batchWorker();
    await eventually(async () => (await users.getBatchCounts()).running === 2);
    expect((await board.put(`/batches/${batch.id}/clean`)).status).toBe(204);
    await batchWorker.close();
    start();
    const { missing, succeeded } = await finished(parent, 'failed');
    expect({ missing, succeeded }).toEqual({ missing: 1, succeeded: 0 });
    expect(ran).toEqual(['complete']);
    expect(await users.getJobCounts('waiting')).toMatchObject({ waiting: 0 });
  });

  test('Pause holds it, and Resume lets it finish', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    expect((await board.put('/batches/pause')).status).toBe(200);
    start();
    const batch = await users.addBatch(CALLBACKS, rows(false));
    await eventually(() => ran.length === 1);
    expect((await batch.explain()).reasons[0]).toContain('paused');
    expect(ran).toEqual(['row']);
    expect((await board.put('/batches/resume')).status).toBe(200);
    await finished(batch, 'succeeded');
    expect(ran).toEqual(['row', 'complete', 'success']);
  });

  test('Drain never makes a success of it', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    const batch = await users.addBatch(CALLBACKS, rows(false));
    const { status, body } = await board.put('/batches/empty');
    expect([status, body.message]).toEqual(
      adapter === 'BullMQAdapter' ? [200, undefined] : [409, expect.stringContaining('nothing was removed')],
    );
    start();
    await finished(batch, 'succeeded');
    expect(ran).toEqual(['row', 'complete', 'success']);
  });

  test('Obliterate asks for force; BullMQ leaves what waits for its children, the adapter nothing', async ({
    testbed,
  }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    const running = await users.addBatch(CALLBACKS, rows(false, false));
    const unsealed = await users.createBatch(CALLBACKS);
    await unsealed.addBulk(rows(false));
    expect((await board.put('/batches/obliterate', { force: true })).status).toBe(400);
    await board.put('/batches/pause');
    if (adapter === 'BatchBoardAdapter') {
      expect((await board.put('/batches/obliterate', { force: false })).status).toBe(409);
      expect(await users.getBatches()).toHaveLength(2);
    }
    expect((await board.put('/batches/obliterate', { force: true })).status).toBe(200);
    if (adapter === 'BullMQAdapter') {
      expect((await users.getBatches()).map(({ id }) => id)).toEqual([running.id]);
      start();
      await finished(running, 'succeeded');
      return;
    }
    expect(await users.getBatches()).toEqual([]);
    const left = await testbed.redis.keys(`${testbed.prefix}:batches:*`);
    expect(left.filter((key) => !key.includes(':reconciler:'))).toEqual([]);
    start();
    const { name } = await users.add('last', {});
    await eventually(() => ran.includes(name));
    expect(ran).not.toContain('success');
  });
});

describe.each(ADAPTERS)('%s, a batch that has succeeded', (adapter) => {
  test('Retry does not call back again', async ({ testbed }) => {
    const { users, board, ran, start } = await open(testbed, adapter);
    start();
    const batch = await users.addBatch(CALLBACKS, rows(false));
    await finished(batch, 'succeeded');
    await board.put(`/batches/${batch.id}/retry`);
    await board.put('/batches/retry/completed');
    await finished(batch, 'succeeded');
    const after = await users.addBatch(CALLBACKS, []);
    await finished(after, 'succeeded');
    expect(ran).toEqual(['row', 'complete', 'success', 'complete', 'success']);
  });

  test('Clean removes it, also when there are thousands of members', async ({ testbed }) => {
    const { users, board } = await open(testbed, adapter);
    testbed.worker('users', async () => {}, { concurrency: 100 });
    testbed.batchWorker();
    const batch = await users.addBatch({}, rows(...Array.from({ length: 3000 }, () => false)));
    await finished(batch, 'succeeded');
    expect((await board.put(`/batches/${batch.id}/clean`)).status).toBe(204);
    expect(await users.getBatches()).toEqual([]);
    expect(await testbed.redis.keys(`${testbed.prefix}:batches:${batch.id}*`)).toEqual([]);
  });
});

describe('BatchBoardAdapter, a batch that has ended', () => {
  test('is removed without the jobs of its members, and not run again: that is refused with a sentence', async ({
    testbed,
  }) => {
    const { users, board, start } = await open(testbed, 'BatchBoardAdapter');
    start();
    const batch = await users.addBatch({}, rows(false));
    await finished(batch, 'succeeded');
    const again = await board.put(`/batches/${batch.id}/retry`);
    expect([again.status, again.body.message]).toEqual([409, expect.stringContaining('nothing to run again')]);
    const cancelled = await users.createBatch();
    await cancelled.cancel();
    await finished(cancelled, 'cancelled');
    const { status, body } = await board.put(`/batches/${cancelled.id}/retry`);
    expect([status, body.message]).toEqual([409, expect.stringContaining('was cancelled, and stays so')]);
    expect((await board.put(`/batches/${batch.id}/clean`)).status).toBe(204);
    expect(await users.getCompletedCount()).toBe(1);
  });
});

describe('BatchBoardAdapter, Clean all', () => {
  test('refuses to remove batches that run', async ({ testbed }) => {
    const { users, board } = await open(testbed, 'BatchBoardAdapter');
    const batch = await users.addBatch({}, rows(false));
    for (const state of ['wait', 'active', 'waiting-children']) {
      const { status, body } = await board.put(`/batches/clean/${state}`);
      expect([status, body.message]).toEqual([409, expect.stringContaining('nothing was removed')]);
    }
    expect((await batch.status()).total).toBe(1);
  });

  test('removes more batches than are looked at together, and leaves those that are too young', async ({ testbed }) => {
    const { users, board } = await open(testbed, 'BatchBoardAdapter');
    const all = await Promise.all(Array.from({ length: 230 }, () => users.createBatch()));
    const young = new Set(all.filter((_, i) => i % 23 === 0).map(({ id }) => id));
    const old = all.filter(({ id }) => !young.has(id));
    await Promise.all(old.map(({ id }) => testbed.redis.hset(`${testbed.prefix}:batches:${id}`, 'timestamp', 1)));
    expect((await board.put('/batches/clean/delayed')).status).toBe(200);
    expect(new Set((await users.getBatches()).map(({ id }) => id))).toEqual(young);
  });
});

describe('BatchBoardAdapter, a row by its address', () => {
  test('finds a batch and its members whose id has a colon, which Bull Board unescapes twice', async ({ testbed }) => {
    const { users, board } = await open(testbed, 'BatchBoardAdapter');
    const batch = await users.addBatch({ id: 'upload~7:30' }, [{ name: 'row', data: {} }]);
    const other = await users.addBatch({ id: 'upload:31' }, [{ name: 'row', data: {} }]);
    const address = (id: string) => encodeURIComponent(decodeURIComponent(id));
    expect(batch.id).toBe('upload%7E7%3A30');
    expect((await row(board, 'batches', address(batch.id))).id).toBe(batch.id);
    const { members } = await other.members();
    const [member = { id: '' }] = members;
    expect(member.id).toContain('%3A');
    expect((await row(board, 'users', address(member.id))).id).toBe(member.id);
    expect((await board.get('/users/none:7')).status).toBe(404);
  });
});

describe('BatchBoardAdapter, Retry all', () => {
  test('passes over what has succeeded meanwhile, such as the child of a batch that was retried', async ({
    testbed,
  }) => {
    const { users, batches, start } = await open(testbed, 'BatchBoardAdapter');
    let isBroken = true;
    start(({ fails }) => {
      if (fails && isBroken) {
        throw new UnrecoverableError('no e-mail');
      }
    });
    const batch = await failing(users);
    const [listed] = await new BatchBoardAdapter(batches).getJobs(['failed'], 0, 9);
    isBroken = false;
    await batch.retry();
    await finished(batch, 'succeeded');
    await listed?.retry('failed');
    expect((await batch.status()).state).toBe('succeeded');
  });

  test('passes over what is being removed', async ({ testbed }) => {
    const { users, board } = await open(testbed, 'BatchBoardAdapter');
    testbed.batchWorker();
    const batch = await users.addBatch({}, rows(false));
    await batch.cancel();
    await finished(batch, 'cancelled');
    await testbed.redis.hset(`${testbed.prefix}:batches:${batch.id}`, 'b:removal', 'killed 0');
    expect((await board.put('/batches/retry/failed')).status).toBe(200);
  });
});

describe('BatchBoardAdapter, a batch whose removal is under way, or was cut short', () => {
  async function halfRemoved(testbed: Testbed) {
    const { users, board } = await open(testbed, 'BatchBoardAdapter');
    const batchWorker = testbed.batchWorker();
    testbed.worker('users', async () => {});
    const batch = await users.addBatch({}, rows(false));
    await finished(batch, 'succeeded');
    await batchWorker.close();
    await testbed.redis.hset(`${testbed.prefix}:batches:${batch.id}`, 'b:removal', 'killed 0');
    return { users, board, batch };
  }

  test('is not taken further by its row, which would take the jobs of its members too', async ({ testbed }) => {
    const { users, board, batch } = await halfRemoved(testbed);
    const { status, body } = await board.put(`/batches/${batch.id}/clean`);
    expect([status, body.message]).toEqual([409, expect.stringContaining('is being removed')]);
    expect(await users.getCompletedCount()).toBe(1);
  });

  test('does not hold Clean all', async ({ testbed }) => {
    const { board } = await halfRemoved(testbed);
    expect((await board.put('/batches/clean/completed')).status).toBe(200);
  });
});

describe('BatchBoardAdapter, what is shown of a batch', () => {
  test('is its progress of this moment, without a write', async ({ testbed }) => {
    const { users, batches, board } = await open(testbed, 'BatchBoardAdapter');
    const batch = await users.createBatch({ description: 'Import' });
    await batch.addBulk(rows(false, false, false, false));
    const worker = testbed.worker('users', async () => {}, { autorun: false });
    await worker.waitUntilReady();
    const job = await worker.getNextJob('token');
    await job?.moveToCompleted(1, 'token', false);
    const shown = { progress: 25, total: 4, succeeded: 1, failed: 0, pending: 3, status: 'open' };
    expect((await row(board, 'batches', batch.id)).progress).toEqual(shown);
    const { body } = await board.get('?activeQueue=batches&status=delayed&page=1&jobsPerPage=10');
    const [listed] = body.queues.find(({ name }: { name: string }) => name === 'batches').jobs;
    expect([listed.name, listed.progress]).toEqual(['Import', shown]);
    expect((await batches.getJob(batch.id))?.progress).toBe(0);
  });

  test('is the progress of all jobs below, where there are child batches, as BullMQ keeps it', async ({ testbed }) => {
    const { users, batches, board, start } = await open(testbed, 'BatchBoardAdapter');
    start();
    const parent = await users.createBatch();
    const child = await parent.createBatch();
    await child.addBulk([...rows(false), ...rows(false).map((job) => ({ ...job, opts: { delay: 3_600_000 } }))]);
    const jobs = { total: 2, pending: 1, succeeded: 1, failed: 0 };
    await eventually(async () => {
      expect((await batches.getJob(parent.id))?.progress).toMatchObject({ progress: 50, total: 1, jobs });
      return true;
    });
    expect((await row(board, 'batches', parent.id)).progress).toMatchObject({ progress: 50, total: 1, jobs });
  });

  test('are links: from a member and a callback to the batch, from a child batch to its parent', async ({
    testbed,
  }) => {
    const { users, board, start } = await open(testbed, 'BatchBoardAdapter');
    start();
    const parent = await users.createBatch({ id: 'import of äöü' });
    const child = await parent.createBatch(CALLBACKS);
    const member = await child.add('row', {});
    await child.seal();
    await parent.seal();
    await finished(parent, 'succeeded');
    const [callback] = (await child.status()).callbacks;
    const toChild = { displayText: 'Batch', href: `queue/batches/${child.id}` };
    expect((await row(board, 'users', member.id ?? '')).externalUrl).toEqual(toChild);
    expect((await row(board, 'users', callback?.jobId ?? '')).externalUrl).toEqual(toChild);
    expect((await row(board, 'batches', child.id)).externalUrl.href).toBe(
      `queue/batches/${encodeURIComponent(parent.id)}`,
    );
    expect((await row(board, 'batches', encodeURIComponent(parent.id))).externalUrl).toBeUndefined();
  });

  test('are those of the queue that holds the batches, and another queue called batches keeps its own', async ({
    testbed,
  }) => {
    const batchesQueue = 'job-batches';
    const users = withBatches(testbed.plainQueue('users'), { batchesQueue });
    const queues = [testbed.plainQueue(batchesQueue), testbed.plainQueue('batches'), users];
    const board = await boardOf(testbed, queues, 'BatchBoardAdapter', { batchesQueue } as object);
    let isBroken = true;
    testbed.worker('users', async () => {
      if (isBroken) throw new UnrecoverableError('no e-mail');
    });
    testbed.batchWorker({ batchesQueue, reconcileInterval: 3_600_000 });
    const parent = await users.createBatch({ description: 'Import' });
    const child = await parent.createBatch();
    const member = await child.add('row', {});
    await child.seal();
    await parent.seal();
    await finished(parent, 'failed');
    const toChild = { displayText: 'Batch', href: `queue/job-batches/${child.id}` };
    expect((await row(board, 'users', member.id ?? '')).externalUrl).toEqual(toChild);
    expect(await row(board, batchesQueue, child.id)).toMatchObject({
      externalUrl: { href: `queue/job-batches/${parent.id}` },
      progress: { total: 1, failed: 1 },
    });
    const { body } = await board.get(`/${batchesQueue}/${child.id}/flow?depth=3&maxChildren=10`);
    expect(body.flowRoot).toMatchObject({ name: 'Import', progress: { status: 'failed' } });

    const own = await board.post('/batches/add', { name: 'order', data: {}, options: {} });
    expect([own.status, own.body.job.externalUrl], 'a job of the application').toEqual([200, undefined]);
    const { data, opts } = await row(board, 'users', member.id ?? '');
    const { jobId, ...options } = opts;
    isBroken = false;
    expect((await board.post('/users/add', { name: 'row', data, options })).status).toBe(200);
    expect((await board.put(`/${batchesQueue}/${parent.id}/retry`)).status).toBe(204);
    await finished(parent, 'succeeded');
    expect((await child.status()).total, 'a duplicate is no member').toBe(1);
  });

  test('is the tree of nested batches in the flow of any of its jobs, with failures up to a number', async ({
    testbed,
  }) => {
    const { users, board } = await open(testbed, 'BatchBoardAdapter');
    testbed.worker('users', async () => {
      throw new UnrecoverableError('no e-mail');
    });
    const parent = await users.createBatch({ description: 'Import' });
    const child = await parent.createBatch({ description: 'Users' });
    await child.addBulk(rows(...Array.from({ length: 60 }, () => true)));
    await eventually(async () => (await child.status()).failed === 60);
    const { body } = await board.get(`/batches/${child.id}/flow?depth=3&maxChildren=10`);
    expect(body.flowRoot).toMatchObject({ name: 'Import', progress: { status: 'open', total: 1 } });
    const [node] = body.flowRoot.children;
    expect(node).toMatchObject({ name: 'Users', progress: { failed: 60 }, dependencies: { ignored: 60 } });
    expect(Object.keys(node.ignoredChildFailureReasons)).toHaveLength(20);
  });
});
