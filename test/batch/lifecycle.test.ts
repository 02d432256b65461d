import { BatchNotFoundError, type BatchStatus, BatchTimeoutError, type CallbackBatch } from '../../src/index.js';
import { all } from '../conformance/script.js';
import { cutConnection } from '../support/cut-connection.js';
import { type AnyJob, describe, eventually, expect, gate, type Testbed, test } from '../support/test.js';

type Told = { name: string; batch: CallbackBatch };
const isCallback = (job: AnyJob) => job.data?.batch !== undefined;

describe('callbacks', () => {
  test('of an empty sealed batch run', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async (job) => void ran.push(job.name));
    testbed.batchWorker();
    const batch = await users.createBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } });
    await batch.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 0, progress: 100 });
    expect(ran).toEqual(['complete', 'success']);
  });

  test('of a batch whose members finish before seal() run at seal(), not before', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async (job) => void ran.push(job.name));
    testbed.batchWorker();
    const batch = await users.createBatch({ on: { complete: { name: 'complete' } } });
    await batch.addBulk([
      { name: 'a', data: 1 },
      { name: 'b', data: 2 },
    ]);
    await eventually(async () => (await batch.status()).succeeded === 2);
    expect(await batch.status()).toMatchObject({ state: 'open', progress: 99, callbacks: [{ state: 'pending' }] });
    // A batch job that somebody promotes by hand goes back to waiting for its seal.
    const [job] = await testbed.plainQueue('batches').getDelayed();
    await job?.promote();
    await eventually(async () => (await testbed.redis.hget(`${testbed.prefix}:batches:${batch.id}`, 'ats')) === '1');
    await eventually(async () => (await batch.status()).state === 'open');
    expect(ran.sort()).toEqual(['a', 'b']);
    await batch.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
    expect(ran).toContain('complete');
  });

  test('several per event, on any queue, under their own options, with data and counts', async ({ testbed }) => {
    const users = testbed.queue('users', { defaultJobOptions: { attempts: 3, removeOnComplete: true } });
    const mail = testbed.plainQueue('mail', { defaultJobOptions: { attempts: 5 } });
    const told: Told[] = [];
    const attempts: Record<string, number | undefined> = {};
    const record = async (job: AnyJob) => {
      if (isCallback(job)) {
        told.push({ name: job.name, batch: job.data.batch });
        attempts[job.name] = job.opts.attempts;
      } else if (job.data.fails) {
        throw new Error('no');
      }
    };
    // A worker's own defaults would remove a callback too, and with it the proof that it was enqueued.
    testbed.worker('users', record, { removeOnComplete: { count: 0 } });
    testbed.worker('mail', record);
    testbed.worker('audit', record);
    testbed.batchWorker();
    const parent = await users.createBatch();
    const batch = await users.createBatch({
      parent,
      description: 'Import of ACME',
      on: {
        complete: [
          { name: 'summary', data: { org: 7 }, opts: { attempts: 9 } },
          { name: 'mail', queue: mail },
          { name: 'audit', queue: 'audit' },
        ],
        success: { name: 'never' },
      },
    });
    await batch.addBulk([
      { name: 'row', data: {} },
      { name: 'row', data: { fails: true }, opts: { attempts: 1 } },
      { name: 'row', data: {} },
    ]);
    await batch.seal();
    const status = await batch.waitUntilFinished(10_000);
    expect(status).toMatchObject({
      state: 'failed',
      failedReason: '1 of 3 members failed: no',
      total: 3,
      succeeded: 2,
      failed: 1,
    });
    const counts = { total: 3, succeeded: 2, failed: 1, missing: 0, pending: 0, cancelled: 0 };
    const batchData = {
      id: batch.id,
      event: 'complete',
      description: 'Import of ACME',
      parentId: parent.id,
      ...counts,
    };
    expect(told.map(({ name }) => name).sort()).toEqual(['audit', 'mail', 'summary']);
    for (const { batch: data } of told) {
      expect(data).toEqual(batchData);
    }
    expect(attempts).toEqual({ summary: 9, mail: 5, audit: 0 });
    const [complete] = status.callbacks;
    const job = await users.getJob(complete?.jobId ?? '');
    expect(job?.data, 'a callback is kept as long as its batch').toMatchObject({ org: 7, batch: batchData });
    expect(await parent.status()).toMatchObject({ state: 'open', total: 1, failed: 1 });
  });

  test('success is enqueued only after the complete callbacks have succeeded', async ({ testbed }) => {
    const users = testbed.queue('users');
    const held = gate();
    const ran: string[] = [];
    testbed.worker(
      'users',
      async (job) => {
        if (job.name === 'complete') await held.opened;
        ran.push(job.name);
      },
      { concurrency: 5 },
    );
    testbed.batchWorker();
    const batch = await users.addBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } }, [
      { name: 'row', data: {} },
    ]);
    const status = await eventually(async () => {
      const now = await batch.status();
      return now.state === 'finishing' && now.callbacks[0]?.state === 'enqueued' ? now : undefined;
    });
    expect(status.callbacks.map(({ state }) => state)).toEqual(['enqueued', 'pending']);
    expect(status).toMatchObject({ progress: 99, pending: 0, succeeded: 1, finishedAt: undefined });
    held.open();
    await batch.waitUntilFinished(10_000);
    expect(ran).toEqual(['row', 'complete', 'success']);
  });

  test('a callback is retried; one that fails for good fails the batch and withholds success, here and above', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async (job) => {
      ran.push(job.name);
      if (job.name === 'complete') throw new Error('smtp is down');
    });
    testbed.batchWorker();
    const parent = await users.createBatch({ on: { success: { name: 'parent-success' } } });
    const batch = await parent.createBatch({
      on: { complete: { name: 'complete', opts: { attempts: 3 } }, success: { name: 'success' } },
    });
    await batch.add('row', {});
    await batch.seal();
    await parent.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({
      state: 'failed',
      failedReason: "the complete callback 'complete' in queue 'users' failed: smtp is down",
      succeeded: 1,
      failed: 0,
      callbacks: [{ state: 'failed' }, { state: 'pending' }],
    });
    expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', failed: 1 });
    expect(ran).toEqual(['row', 'complete', 'complete', 'complete']);
  });

  test('a callback that fails with a message of a megabyte leaves what is told of its batch small', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async () => {
      throw new Error(`smtp is down: ${'é'.repeat(500_000)}`);
    });
    testbed.batchWorker();
    const parent = await users.createBatch();
    const batch = await parent.createBatch({ on: { complete: { name: 'complete' } } });
    await batch.seal();
    await parent.seal();
    await parent.waitUntilFinished(10_000);
    const status = await batch.status();
    expect(status.failedReason).toMatch(
      /^the complete callback 'complete' in queue 'users' failed: smtp is down: é+…$/,
    );
    const told = {
      status,
      explanation: await batch.explain(),
      tree: await parent.tree(),
      page: await parent.failuresPage(),
    };
    for (const [what, value] of Object.entries(told)) {
      expect({ what, isSmall: JSON.stringify(value).length < 5000 }).toEqual({ what, isSmall: true });
    }
    expect(told.explanation.callbacks[0]?.failedReason).toMatch(/^smtp is down: é+$/);
  });

  test('a member that fails, retries and succeeds leads to success, once', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async (job) => {
      ran.push(job.name);
      if (job.name === 'flaky' && job.attemptsMade < 2) throw new Error('try again');
    });
    testbed.batchWorker();
    const batch = await users.addBatch({ on: { success: { name: 'success' } }, jobOptions: { attempts: 3 } }, [
      { name: 'flaky', data: {} },
    ]);
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({
      state: 'succeeded',
      total: 1,
      succeeded: 1,
      failed: 0,
    });
    expect(ran).toEqual(['flaky', 'flaky', 'flaky', 'success']);
  });
});

describe('nesting', () => {
  test('callbacks of a child run before those of its parent, four levels deep, without callbacks in between', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async (job) => void ran.push(job.name), { concurrency: 10 });
    testbed.batchWorker();
    const on = (level: number) => ({ complete: { name: `complete ${level}` }, success: { name: `success ${level}` } });
    const one = await users.createBatch({ on: on(1) });
    const two = await one.createBatch({ on: on(2) });
    const three = await two.createBatch();
    const four = await three.createBatch({ on: on(4) });
    await four.add('leaf', {});
    for (const batch of [one, two, three, four]) {
      await batch.seal();
    }
    const status = await one.waitUntilFinished(20_000);
    expect(status).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1, parentId: undefined });
    expect(ran).toEqual(['leaf', 'complete 4', 'success 4', 'complete 2', 'success 2', 'complete 1', 'success 1']);
    expect((await four.parent())?.id).toBe(three.id);
    expect((await (await users.getBatch(three.id)).parent())?.id).toBe(two.id);
    expect(await one.parent()).toBeUndefined();
    const results = [];
    for await (const result of one.results()) results.push(result);
    expect(results).toMatchObject([
      { id: two.id, queue: 'batches', isBatch: true, value: { state: 'succeeded', total: 1 } },
    ]);
  });

  test('a child that fails is a failed member of its parent, with the reason', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async () => {
      throw new Error('no');
    });
    testbed.batchWorker();
    const parent = await users.createBatch();
    const child = await parent.createBatch();
    await child.add('row', { n: 1 });
    await child.seal();
    await parent.seal();
    expect(await parent.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', total: 1, failed: 1 });
    const failures = [];
    for await (const failure of parent.failures()) failures.push(failure);
    expect(failures).toEqual([{ id: child.id, queue: 'batches', reason: '1 of 1 member failed: no', isBatch: true }]);
  });

  test('an open child holds its sealed parent', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async () => {});
    testbed.batchWorker();
    const parent = await users.createBatch();
    const child = await parent.createBatch();
    await parent.seal();
    await eventually(async () => (await testbed.plainQueue('batches').getWaitingChildrenCount()) === 1);
    expect(await parent.status()).toMatchObject({ state: 'running', pending: 1 });
    await child.add('row', {});
    await child.seal();
    expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
  });
});

describe('status', () => {
  test('tells the whole life, in times that follow each other', async ({ testbed }) => {
    const users = testbed.queue('users');
    const held = gate();
    testbed.worker(
      'users',
      async (job) => {
        if (job.name === 'held') await held.opened;
      },
      { concurrency: 2 },
    );
    testbed.batchWorker();
    const batch = await users.createBatch({ description: 'A life' });
    const seen: BatchStatus[] = [await batch.status()];
    await batch.addBulk([
      { name: 'held', data: 1 },
      { name: 'quick', data: 2 },
    ]);
    await eventually(async () => (await batch.status()).succeeded === 1);
    seen.push(await batch.status());
    await batch.seal();
    seen.push(await batch.status());
    held.open();
    seen.push(await batch.waitUntilFinished(10_000));
    expect(seen.map(({ state, progress, sealed }) => [state, progress, sealed])).toEqual([
      ['open', 0, false],
      ['open', 50, false],
      ['running', 50, true],
      ['succeeded', 100, true],
    ]);
    const [, , running, last] = seen;
    expect(running).toMatchObject({
      id: batch.id,
      description: 'A life',
      completedAt: undefined,
      finishedAt: undefined,
    });
    const times = [last?.createdAt, last?.sealedAt, last?.completedAt, last?.finishedAt];
    expect(times.every((time) => typeof time === 'number')).toBe(true);
    expect([...times].sort()).toEqual(times);
  });

  test('takes one command, however large the batch', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const users = testbed.queue('users', { connection: held.connection });
    const batch = await users.createBatch({ on: { complete: [{ name: 'a' }, { name: 'b' }] } });
    await batch.addBulk(Array.from({ length: 2000 }, () => ({ name: 'user', data: {} })));
    await batch.status();
    await held.idle();
    held.countFrom();
    await batch.status();
    expect(held.commands).toEqual(['read']);
  });

  test('waits for a job that was attached by hand, and does not count it as a member', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    const batch = await users.createBatch();
    await users.add('by-hand', {}, { parent: { id: batch.id, queue: `${testbed.prefix}:batches` } });
    expect(await batch.status()).toMatchObject({ total: 1, pending: 1, missing: 0 });
    testbed.worker('users', async () => {});
    await batch.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({
      state: 'succeeded',
      total: 0,
      succeeded: 0,
      missing: 0,
    });
  });
});

describe('a member that vanishes', () => {
  test('is missing, and success is withheld', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    const batch = await users.createBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } });
    await batch.add('stays', {});
    const removed = await batch.add('goes', {});
    await removed.remove();
    await batch.seal();
    testbed.worker('users', async (job) => void ran.push(job.name));
    testbed.batchWorker();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({
      state: 'failed',
      total: 2,
      succeeded: 1,
      missing: 1,
      failedReason: '1 of 2 members is missing',
    });
    expect(ran).toEqual(['stays', 'complete']);
  });
});

test('watch() yields every state that it sees once, and ends with the final one', async ({ testbed }) => {
  const users = testbed.queue('users');
  const held = gate();
  testbed.worker('users', async () => held.opened);
  testbed.batchWorker();
  const batch = await users.createBatch();
  await batch.add('row', {});
  const seen: BatchStatus[] = [];
  for await (const status of batch.watch()) {
    seen.push(status);
    if (status.state === 'open') await batch.seal();
    if (status.state === 'running') held.open();
  }
  expect(seen.map(({ state }) => state).filter((state) => state !== 'finishing')).toEqual([
    'open',
    'running',
    'succeeded',
  ]);
  expect(new Set(seen.map((status) => JSON.stringify(status))).size).toBe(seen.length);
});

describe('waitUntilFinished', () => {
  test('rejects when the time has passed, and says where the batch is', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await batch.add('row', {});
    await expect(batch.waitUntilFinished(0)).rejects.toThrow(
      'has not finished after 0 ms: it is open, with 1 of 1 members pending. No BatchWorker is running: start one with',
    );
    await expect(batch.waitUntilFinished('1s' as never)).rejects.toThrow("ttl is a number of milliseconds, not '1s'");
  });

  test('rides out a lost connection, and keeps to its time while there is none', async ({ testbed }) => {
    const way = testbed.use(await cutConnection(testbed.connection));
    const users = testbed.queue('users', { connection: { ...way.connection, maxRetriesPerRequest: 0 } });
    users.on('error', () => {});
    const batch = await users.createBatch();
    way.lose('answer');
    await expect(batch.waitUntilFinished(300)).rejects.toThrow(BatchTimeoutError);
    await expect(batch.waitUntilFinished(300)).rejects.toThrow('has not finished after 300 ms');
    const waiting = batch.waitUntilFinished(15_000);
    way.lose(undefined);
    await eventually(() => batch.seal().then(() => true));
    testbed.batchWorker();
    expect(await waiting).toMatchObject({ state: 'succeeded' });
    await users.close();
  });

  test('of a batch that is removed meanwhile says so', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const waiting = expect(batch.waitUntilFinished(10_000)).rejects.toThrow(BatchNotFoundError);
    await testbed.plainQueue('batches').remove(batch.id);
    await waiting;
  });
});

describe('results and failures', () => {
  test('are paged: every member once, with values, reasons and data', async ({ testbed }) => {
    const users = testbed.queue('users', { defaultJobOptions: { removeOnComplete: true } });
    testbed.worker(
      'users',
      async (job) => {
        if (job.name === 'bad') throw new Error(`row ${job.data.n} is bad`);
        return job.data.n;
      },
      { concurrency: 50 },
    );
    testbed.batchWorker();
    const batch = await users.createBatch({ on: { complete: { name: 'done' } } });
    await batch.addBulk(Array.from({ length: 2400 }, (_, n) => ({ name: n % 2 === 0 ? 'good' : 'bad', data: { n } })));
    await batch.seal();
    await batch.waitUntilFinished(20_000);
    const values = new Map<string, unknown>();
    for await (const { id, queue, value, isBatch } of batch.results()) {
      expect({ queue, isBatch }).toEqual({ queue: 'users', isBatch: false });
      values.set(id, value);
    }
    expect([...values.values()].sort((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: 1200 }, (_, i) => 2 * i),
    );
    let failures = 0;
    for await (const { reason, data } of batch.failures()) {
      expect(reason).toBe(`row ${data?.n} is bad`);
      failures++;
    }
    expect(failures).toBe(1200);
    const [first] = await users.getFailed(0, 0);
    await first?.remove();
    let withoutData = 0;
    for await (const { data } of batch.failures()) {
      withoutData += data === undefined ? 1 : 0;
    }
    expect(withoutData, 'a failure is listed when its job is gone, without data').toBe(1);
  });
});

describe('a job that was attached to the batch job by hand', () => {
  const parentOf = (testbed: Testbed, batchId: string) => ({ id: batchId, queue: `${testbed.prefix}:batches` });

  test.for([
    ['generated ids', () => ({})],
    ['ids of their own', (i: number) => ({ jobId: `row-${i}` })],
  ] as const)('does not hide a missing member: members with %s', async ([, opts], { testbed }) => {
    const users = testbed.queue('users');
    const other = testbed.queue('other');
    const ran: string[] = [];
    const batch = await users.createBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } });
    const jobs = [await batch.add('row', {}, opts(0)), await batch.add('row', {}, opts(1))];
    await other.add('stranger', {}, { parent: parentOf(testbed, batch.id), ignoreDependencyOnFailure: true });
    await jobs[1]?.remove();
    await batch.seal();
    expect((await batch.explain()).strangers).toEqual([`${testbed.prefix}:other:1`]);
    expect((await batch.explain()).reasons.join(' ')).toContain(`1 job that is no member was attached to it by hand`);
    testbed.worker('users', async (job) => void ran.push(job.name));
    testbed.worker('other', async () => 'result of a stranger');
    testbed.batchWorker();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({
      state: 'failed',
      total: 2,
      succeeded: 1,
      missing: 1,
      failedReason: '1 of 2 members is missing',
    });
    expect(ran).toEqual(['row', 'complete']);
    expect(await all(batch.results())).toHaveLength(1);
  });

  test('and fails is no failure of the batch, and no death', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    const on = { death: { name: 'death' }, success: { name: 'success' } };
    const batch = await users.createBatch({ on });
    await batch.add('row', {});
    await users.add('stranger', {}, { parent: parentOf(testbed, batch.id), ignoreDependencyOnFailure: true });
    testbed.worker('users', async (job) => {
      ran.push(job.name);
      if (job.name === 'stranger') throw new Error('not yours');
    });
    testbed.batchWorker({ sweepInterval: 20 });
    await eventually(async () => (await users.getFailedCount()) + (await users.getCompletedCount()) === 2);
    await batch.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, failed: 0 });
    expect(ran.sort()).toEqual(['row', 'stranger', 'success']);
    expect(await all(batch.failures())).toEqual([]);
  });

  test('with another prefix: the batch can be read, explained, cancelled and removed', async ({ testbed }) => {
    const users = testbed.queue('users');
    const elsewhere = testbed.plainQueue('users', { prefix: `${testbed.prefix}-elsewhere` });
    const batch = await users.createBatch({ on: { complete: { name: 'complete' } } });
    await batch.add('row', {}, { delay: 3_600_000 });
    await elsewhere.add('stranger', {}, { parent: parentOf(testbed, batch.id), ignoreDependencyOnFailure: true });
    await batch.seal();
    testbed.worker('users', async () => {});
    testbed.batchWorker({ reconcileInterval: 20, sweepInterval: 20 });
    const { strangers } = await batch.explain();
    expect(strangers).toEqual([`${testbed.prefix}-elsewhere:users:1`]);
    await batch.cancel();
    const job = await elsewhere.getJob('1');
    await job?.removeChildDependency();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'cancelled', total: 1, cancelled: 1 });
    await batch.remove();
    await job?.remove();
    await elsewhere.obliterate({ force: true });
  });

  test('are 50 among 1,000 members: all of them are told from members', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await batch.addBulk(Array.from({ length: 1000 }, () => ({ name: 'row', data: {} })));
    const parent = parentOf(testbed, batch.id);
    await users.addBulk(Array.from({ length: 50 }, () => ({ name: 'stranger', data: {}, opts: { parent } })));
    testbed.worker('users', async () => {}, { concurrency: 100 });
    testbed.batchWorker();
    await batch.seal();
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 1000, succeeded: 1000 });
  });
});
