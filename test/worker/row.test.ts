import type { Job } from 'bullmq';
import { UnrecoverableError } from 'bullmq';
import { contextOf } from '../../src/batch/batch-context.js';
import { showRow } from '../../src/record/row.js';
import { type AnyQueue, describe, eventually, expect, gate, type Testbed, test } from '../support/test.js';

/** What a plain Bull Board shows of a batch: the job in the queue `batches`, and nothing of ours. */
async function rowOf(testbed: Testbed, batchId: string): Promise<{ job: Job; log: string[] }> {
  const batches = testbed.plainQueue('batches');
  const job = await batches.getJob(batchId);
  const { logs } = await batches.getJobLogs(batchId);
  // Without the times, which are at the beginning of each line.
  return { job: job as Job, log: logs.map((line) => line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z /, '')) };
}

describe('the row of a batch', () => {
  test('says how a batch succeeded: name, progress, return value and the log of its life', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    testbed.worker('users', async () => {});
    const batch = await users.addBatch(
      { description: 'Import of ACME', on: { complete: { name: 'report' }, success: { name: 'publish' } } },
      [1, 2, 3].map((user) => ({ name: 'row', data: { user } })),
    );
    await batch.waitUntilFinished();
    const { job, log } = await rowOf(testbed, batch.id);
    expect(job.name).toBe('Import of ACME');
    expect(job.progress).toEqual({ progress: 100, total: 3, succeeded: 3, failed: 0, pending: 0, status: 'succeeded' });
    expect(job.returnvalue).toMatchObject({ state: 'succeeded', total: 3, succeeded: 3 });
    expect(log).toEqual([
      'created',
      'sealed: everything has been added',
      'completed: 3 of 3 succeeded',
      `complete callback 'report' enqueued in queue 'users'`,
      `success callback 'publish' enqueued in queue 'users'`,
      'finished: succeeded',
    ]);
  });

  test('says why a batch failed, and that it was retried and recovered', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    let isBroken = true;
    testbed.worker('users', async (job) => {
      if (isBroken && job.data.user > 1) {
        throw new UnrecoverableError('no e-mail');
      }
    });
    const batch = await users.addBatch(
      { on: { death: { name: 'warn', queue: 'mail' } } },
      [1, 2, 3].map((user) => ({ name: 'row', data: { user } })),
    );
    testbed.worker('mail', async () => {});
    await batch.waitUntilFinished();
    const failed = await rowOf(testbed, batch.id);
    expect(failed.job.failedReason).toBe('2 of 3 members failed: no e-mail, …');
    expect(failed.job.progress).toMatchObject({ progress: 100, succeeded: 1, failed: 2, status: 'failed' });
    expect(failed.log).toEqual([
      'created',
      'sealed: everything has been added',
      'first failure: a member has failed for good',
      'completed: 1 of 3 succeeded, 2 failed',
      `death callback 'warn' enqueued in queue 'mail'`,
      'finished: 2 of 3 members failed: no e-mail, …',
    ]);

    isBroken = false;
    await batch.retry();
    await eventually(async () => (await batch.status()).state === 'succeeded');
    const healed = await rowOf(testbed, batch.id);
    expect(healed.log.slice(failed.log.length)).toEqual(['retried', 'finished: succeeded']);
    expect(healed.job.progress).toMatchObject({ status: 'succeeded', succeeded: 3, failed: 0 });
  });

  test('tells of a second failure for the same reason', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    testbed.worker('users', async () => {
      throw new UnrecoverableError('no e-mail');
    });
    const batch = await users.addBatch({}, [{ name: 'row', data: {} }]);
    const { finishedAt } = await batch.waitUntilFinished();
    await batch.retry();
    await eventually(async () => {
      const again = await batch.status();
      return again.finishedAt !== undefined && again.finishedAt !== finishedAt;
    });
    const { log } = await rowOf(testbed, batch.id);
    expect(log.slice(-3)).toEqual([
      'finished: 1 of 1 member failed: no e-mail',
      'retried',
      'finished: 1 of 1 member failed: no e-mail',
    ]);
  });

  test('follows a running batch, and one that is still open, from round to round of the reconciler', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    testbed.batchWorker({ reconcileInterval: 50 });
    const rest = gate();
    testbed.worker('users', async (job) => (job.data.user > 1 ? rest.opened : undefined), { concurrency: 5 });
    const batch = await users.createBatch({ description: 'Import' });
    await batch.addBulk([1, 2, 3, 4].map((user) => ({ name: 'row', data: { user } })));
    await eventually(async () => {
      const { job, log } = await rowOf(testbed, batch.id);
      expect(job.progress).toEqual({ progress: 25, total: 4, succeeded: 1, failed: 0, pending: 3, status: 'open' });
      expect(log).toEqual(['created']);
      return true;
    });
    await batch.seal();
    await eventually(async () => {
      const { job, log } = await rowOf(testbed, batch.id);
      expect(job.progress).toMatchObject({ progress: 25, status: 'running' });
      expect(log).toEqual(['created', 'sealed: everything has been added']);
      return true;
    });
    rest.open();
    await batch.waitUntilFinished();
    const { job } = await rowOf(testbed, batch.id);
    expect(job.progress).toMatchObject({ progress: 100, status: 'succeeded' });
  });

  test('of a batch with child batches shows the progress of all jobs below it, at any depth', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker({ reconcileInterval: 50 });
    const rest = gate();
    testbed.worker('users', async (job) => (job.data.user > 1 ? rest.opened : undefined), { concurrency: 20 });
    const top = await users.createBatch();
    const middle = await top.createBatch();
    for (const size of [2, 6]) {
      const child = await middle.createBatch();
      await child.addBulk(Array.from({ length: size }, (_, user) => ({ name: 'row', data: { user } })));
      await child.seal();
    }
    await top.addBulk([
      { name: 'row', data: { user: 0 } },
      { name: 'row', data: { user: 2 } },
    ]);
    for (const batch of [middle, top]) await batch.seal();
    // Of 10 jobs users 0 and 1 are done: 2 of 2, 2 of 6, and 1 of 2.
    await eventually(async () => {
      const { job } = await rowOf(testbed, top.id);
      expect(job.progress).toMatchObject({ progress: 50, total: 3, pending: 2, jobs: { total: 10, pending: 5 } });
      return true;
    });
    expect((await rowOf(testbed, middle.id)).job.progress).toMatchObject({
      progress: 50,
      jobs: { total: 8, pending: 4 },
    });
    rest.open();
    await top.waitUntilFinished();
    expect((await rowOf(testbed, top.id)).job.progress).toMatchObject({
      progress: 100,
      jobs: { total: 10, pending: 0 },
    });
  });

  test('has the jobs below by how they stand, which status() has too, whatever people make of a row', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    testbed.batchWorker({ reconcileInterval: 50 });
    testbed.worker('users', async ({ name }) => {
      if (name === 'bad') throw new UnrecoverableError('no');
    });
    const top = await users.createBatch();
    expect((await top.status()).jobs).toBeUndefined();
    const [cancelled, open] = [await top.createBatch(), await top.createBatch()];
    const later = { name: 'later', data: {}, opts: { delay: 3_600_000 } };
    await cancelled.addBulk([later, later, later]);
    await cancelled.cancel();
    await open.addBulk([{ name: 'bad', data: {} }, { name: 'good', data: {} }, later, later]);
    const jobs = { total: 7, pending: 2, succeeded: 1, failed: 1, cancelled: 3, missing: 0, progress: 71 };
    await eventually(async () => {
      expect((await top.status()).jobs).toEqual(jobs);
      return true;
    });
    expect((await top.tree()).jobs).toEqual(jobs);
    expect((await open.status()).jobs).toBeUndefined();
    const none = { total: 0, pending: 0, succeeded: 0, failed: 0, cancelled: 0, missing: 0, progress: 0 };
    const edited = { ...none, total: 3, succeeded: 3, progress: 99 };
    for (const [row, shown] of [
      ['{', undefined],
      ['null', undefined],
      ['7', undefined],
      ['{"total":3,"pending":1}', undefined],
      ['{"jobs":"many"}', none],
      ['{"jobs":{"total":3,"pending":-1,"failed":"x"}}', edited],
    ] as const) {
      await testbed.redis.hset(`${testbed.prefix}:batches:${top.id}`, 'progress', row);
      expect((await top.status()).jobs, row).toEqual(shown);
    }
    await top.cancel();
    await top.seal();
    await top.waitUntilFinished();
    await testbed.redis.hset(`${testbed.prefix}:batches:${top.id}`, 'progress', '{"jobs":{"total":3,"pending":1}}');
    expect((await top.status()).jobs, 'a row of before the end').toBeUndefined();
  });

  test('is written a bounded number of times, however many members there are', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    testbed.worker('users', async () => {}, { concurrency: 50 });
    const batch = await users.addBatch(
      { on: { complete: { name: 'report' } } },
      Array.from({ length: 500 }, (_, user) => ({ name: 'row', data: { user } })),
    );
    await batch.waitUntilFinished();
    const events = await testbed.redis.xrange(`${testbed.prefix}:batches:events`, '-', '+');
    expect(events.filter(([, fields]) => fields.includes('progress')).length).toBeLessThan(8);
  });

  test('keeps no batch from finishing, and from being retried, when it cannot be written', async ({ testbed }) => {
    const users = testbed.queue('users');
    let isBroken = true;
    testbed.worker('users', async () => {
      if (isBroken) {
        throw new UnrecoverableError('no e-mail');
      }
    });
    const batch = await users.addBatch({}, [{ name: 'row', data: {} }]);
    await testbed.redis.set(`${testbed.prefix}:batches:${batch.id}:logs`, 'no list');
    testbed.batchWorker();
    expect((await batch.waitUntilFinished()).state).toBe('failed');
    isBroken = false;
    await batch.retry();
    await eventually(async () => (await batch.status()).state === 'succeeded');
  });

  test('is not overwritten by a look that was taken earlier', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { redis } = await contextOf(users as never);
    const batch = await users.createBatch();
    const key = `${testbed.prefix}:batches:${batch.id}`;
    const look = (progress: string, token = '') =>
      showRow(redis, batch.id, { token, progress: { progress }, log: [{ at: 0, text: progress, mayRecur: true }] });
    const shown = async () => {
      const { job, log } = await rowOf(testbed, batch.id);
      return [job.progress, log];
    };
    await look('nobody holds it');
    await look('nobody holds it');
    const events = await testbed.redis.xrange(`${testbed.prefix}:batches:events`, '-', '+');
    expect(
      events.filter(([, fields]) => fields.includes('progress')),
      'told once',
    ).toHaveLength(1);
    const first = [{ progress: 'nobody holds it' }, ['nobody holds it']];
    expect(await shown()).toEqual(first);
    await testbed.redis.set(`${key}:lock`, 'holder');
    await look('earlier');
    await look('by one that held it', 'other');
    expect(await shown()).toEqual(first);
    await look('now', 'holder');
    expect(await shown()).toEqual([{ progress: 'now' }, ['nobody holds it', 'now']]);
    await testbed.redis.del(`${key}:lock`);
    await look('late', 'holder');
    expect((await shown())[0]).toEqual({ progress: 'now' });

    testbed.batchWorker();
    await batch.seal();
    await batch.waitUntilFinished();
    const last = await shown();
    await look('earlier');
    expect(await shown()).toEqual(last);
    await batch.remove();
    await look('earlier');
    expect(await testbed.redis.keys(`${key}*`)).toEqual([]);
  });

  test('has a log that loses its middle when it is long: how it began stays, and what came last', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const { redis } = await contextOf(users as never);
    const batch = await users.createBatch();
    const life = ['created', 'sealed', 'completed'].map((text) => ({ at: 0, text, mayRecur: false }));
    for (let retry = 1; retry <= 400; retry++) {
      const ends = [`retried ${retry}`, 'finished'].map((text) => ({ at: 0, text, mayRecur: true }));
      await showRow(redis, batch.id, { token: '', progress: {}, log: [...life, ...ends] });
    }
    const { log } = await rowOf(testbed, batch.id);
    expect(log).toHaveLength(300);
    expect(log.slice(0, 5)).toEqual(['created', 'sealed', 'completed', 'retried 1', 'finished']);
    expect(log.slice(-2)).toEqual(['retried 400', 'finished']);
    await showRow(redis, batch.id, { token: '', progress: {}, log: life });
    expect((await rowOf(testbed, batch.id)).log).toEqual(log);
  });

  test('reads a log of any length at its ends only, and makes it shorter', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { redis } = await contextOf(users as never);
    const batch = await users.createBatch();
    const lines = Array.from({ length: 5000 }, (_, n) => `2026-01-01T00:00:00.000Z line ${n}`);
    await testbed.redis.rpush(`${testbed.prefix}:batches:${batch.id}:logs`, ...lines);
    const show = (...numbers: number[]) =>
      showRow(redis, batch.id, {
        token: '',
        progress: {},
        log: numbers.map((n) => ({ at: 0, text: `line ${n}`, mayRecur: false })),
      });
    await show(149, 2500, 4850);
    const { log } = await rowOf(testbed, batch.id);
    // The one in the middle was not seen; for it, and what was there too much, a hundred lines went.
    expect(log).toHaveLength(5001 - 100);
    expect([log[149], log[150], log.at(-1)]).toEqual(['line 149', 'line 250', 'line 2500']);
    for (let look = 0; look < 60; look++) {
      await show(149);
    }
    expect((await rowOf(testbed, batch.id)).log).toHaveLength(300);
  });

  test('has lines of bounded length', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { redis } = await contextOf(users as never);
    const batch = await users.createBatch();
    const log = [{ at: 0, text: `cancelled: ${'x'.repeat(1_000_000)}`, mayRecur: false }];
    await showRow(redis, batch.id, { token: '', progress: {}, log });
    await showRow(redis, batch.id, { token: '', progress: {}, log });
    expect((await rowOf(testbed, batch.id)).log.map(({ length }) => length)).toEqual([1000]);
  });

  test('leaves nothing behind when the batch is removed', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    const batch = await users.addBatch({}, []);
    await batch.waitUntilFinished();
    expect(await testbed.redis.exists(`${testbed.prefix}:batches:${batch.id}:logs`)).toBe(1);
    await batch.remove();
    expect(await testbed.redis.keys(`${testbed.prefix}:batches:${batch.id}*`)).toEqual([]);
  });
});

/** What can be done to a row by hand. */
describe('a batch job that somebody has changed by hand', () => {
  const batchesOf = (testbed: Testbed): AnyQueue => testbed.plainQueue('batches');

  test.for([
    ['nothing', {}],
    ['another batch', { id: 'other', nonce: 'x', on: {}, queue: 'users', openTimeout: 1, keep: {} }],
    ['null', null],
  ] as const)('is the same batch when its data becomes %s', async ([, data], { testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch({ description: 'Import', on: { success: { name: 'publish' } } });
    await batch.add('row', {});
    await (await batchesOf(testbed).getJob(batch.id))?.updateData(data);
    testbed.batchWorker();
    const ran: string[] = [];
    testbed.worker('users', async (job) => void ran.push(job.name));
    await batch.seal();
    expect(await batch.waitUntilFinished()).toMatchObject({ state: 'succeeded', description: 'Import', total: 1 });
    expect(ran).toEqual(['row', 'publish']);
    const [listed] = await users.getBatches('succeeded');
    expect(listed?.description).toBe('Import');
    await batch.remove();
    expect(await users.getBatchCounts()).toEqual({ open: 0, running: 0, succeeded: 0, failed: 0 });
  });

  test('has the callbacks that it was created with, also when its data names others', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch({ on: { success: { name: 'publish' } } });
    await batch.add('row', {});
    const job = await batchesOf(testbed).getJob(batch.id);
    await job?.updateData({ ...job.data, on: { success: [{ queue: 'users', name: 'another' }] } });
    testbed.batchWorker();
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => void ran.push(name));
    await batch.seal();
    expect(await batch.waitUntilFinished()).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual(['row', 'publish']);
  });

  test('is listed as what it is, also when its data has kept the id', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.addBatch({ description: 'Import', jobOptions: { attempts: 3 } }, []);
    await (await batchesOf(testbed).getJob(batch.id))?.updateData({ id: batch.id, description: 'Export' });
    const [listed] = await users.getBatches();
    expect(listed?.description).toBe('Import');
  });

  let deep: object = {};
  for (let level = 0; level < 1500; level++) {
    deep = { deep };
  }

  test.for([
    ['nothing', {}],
    ['null', null],
    ['what cjson cannot read', deep],
  ] as const)('is the same batch when its data becomes %s before anything was added', async ([, data], { testbed }) => {
    const users = testbed.queue('users');
    const parent = await users.createBatch({ on: { success: { name: 'close' } } });
    const batch = await parent.createBatch({ on: { success: { name: 'publish' } } });
    await (await batchesOf(testbed).getJob(batch.id))?.updateData(data);
    testbed.batchWorker();
    const ran: string[] = [];
    testbed.worker('users', async (job) => void ran.push(job.name));
    await batch.seal();
    await parent.seal();
    expect(await parent.waitUntilFinished()).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual(['publish', 'close']);
  });

  test('is the same batch when its data is changed before its producer has done anything else', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch({ on: { success: { name: 'publish' } } });
    await (await batchesOf(testbed).getJob(batch.id))?.updateData({});
    testbed.batchWorker();
    testbed.worker('users', async () => {});
    await batch.on('success', { name: 'late' });
    await batch.seal();
    expect((await batch.waitUntilFinished()).callbacks.map(({ name }) => name)).toEqual(['publish', 'late']);
  });

  test('says in its data what it is, with callbacks that came later', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await batch.on('success', { name: 'late' });
    expect((await batchesOf(testbed).getJob(batch.id))?.data.on.success).toMatchObject([{ name: 'late' }]);
  });

  test('expires as it was to', async ({ testbed }) => {
    const users = testbed.queue('users');
    const first = testbed.batchWorker();
    const batch = await users.addBatch({ keep: { age: 1 } }, []);
    await batch.waitUntilFinished();
    await (await batchesOf(testbed).getJob(batch.id))?.updateData({});
    await first.close();
    testbed.batchWorker({ reconcileInterval: 20 });
    await eventually(async () => (await users.getBatches()).length === 0, 5000);
  });

  test('is left alone, with a sentence, when it is neither a batch nor a copy of one, whatever is in it', async ({
    testbed,
  }) => {
    const batchWorker = testbed.batchWorker();
    const errors: string[] = [];
    batchWorker.on('error', ({ message }) => errors.push(message));
    await batchWorker.waitUntilReady();
    const job = await batchesOf(testbed).add('ours', deep, { attempts: 1 });
    await eventually(() => job.isDelayed());
    expect(errors).toEqual([
      expect.stringContaining(`The queue 'batches' holds jobs that are no batches, e.g. '${job.id}' (ours)`),
    ]);
    const left = await batchesOf(testbed).getJob(job.id ?? '');
    expect([left?.attemptsMade, JSON.stringify(left?.data)]).toEqual([0, JSON.stringify(deep)]);
  });

  test('is no second batch when it is copied: the copy calls nobody back, and fails with a sentence', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const batchWorker = testbed.batchWorker();
    const [finished, errors]: [string[], string[]] = [[], []];
    batchWorker.on('finished', ({ batchId }) => finished.push(batchId));
    batchWorker.on('error', ({ message }) => errors.push(message));
    const ran: string[] = [];
    testbed.worker('users', async (job) => void ran.push(job.name));
    const batch = await users.addBatch({ on: { success: { name: 'publish' } } }, [{ name: 'row', data: {} }]);
    await batch.waitUntilFinished();
    const original = await batchesOf(testbed).getJob(batch.id);
    const copy = await batchesOf(testbed).add(original?.name ?? '', original?.data, { attempts: 1_000_000_000 });
    const failed = await eventually(async () => {
      const job = await batchesOf(testbed).getJob(copy.id ?? '');
      return job?.failedReason ? job : undefined;
    });
    expect(failed.failedReason).toContain(`Job '${copy.id}' in the queue 'batches' is no batch`);
    expect(await failed.getState()).toBe('failed');
    expect(errors).toEqual([failed.failedReason]);
    expect(finished).toEqual([batch.id]);
    expect(ran).toEqual(['row', 'publish']);
    expect((await users.getBatches()).map(({ id }) => id)).toEqual([batch.id]);
    await batch.remove();
    expect(await users.getBatches()).toEqual([]);
  });
});
