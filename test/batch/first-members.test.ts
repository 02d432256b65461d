import { randomUUID } from 'node:crypto';
import { afterEach } from 'vitest';
import { describe, eventually, expect, test, withTestbed } from '../support/test.js';

/* addBatch() of a few jobs: created, filled and sealed in one step. With both writers. */

afterEach(() => {
  delete process.env.BULLMQ_BATCHES_WRITER;
});

const rows = (count: number, opts: object = {}) =>
  Array.from({ length: count }, (_, n) => ({ name: `row ${n}`, data: { n }, opts }));

describe.each(['', 'bullmq'])('addBatch() of a few jobs, with the writer %o', (writer) => {
  test('is one command, and no BatchWorker is needed before the last member has run', async ({ testbed }) => {
    process.env.BULLMQ_BATCHES_WRITER = writer;
    const held = await testbed.heldConnection();
    const users = testbed.queue('users', { connection: held.connection });
    await users.addBatch({}, rows(3));
    await held.idle();
    held.countFrom();
    const batch = await users.addBatch({ on: { complete: { name: 'done' } } }, rows(150));
    expect(held.commands).toHaveLength(1);
    expect(batch.created).toBe(true);
    expect(await batch.status()).toMatchObject({ state: 'running', sealed: true, total: 150, pending: 150 });
    expect(await testbed.plainQueue('batches').getJobState(batch.id)).toBe('waiting-children');

    testbed.worker('users', async () => {});
    testbed.batchWorker();
    expect(await batch.waitUntilFinished()).toMatchObject({ state: 'succeeded', total: 150, succeeded: 150 });
  });

  test('creates nothing when a job that is not in the batch has the id of a member', async ({ testbed }) => {
    process.env.BULLMQ_BATCHES_WRITER = writer;
    const users = testbed.queue('users');
    await users.add('other', {}, { jobId: 'row-2' });
    const named = [1, 2, 3].map((n) => ({ name: 'row', data: n, opts: { jobId: `row-${n}` } }));
    await expect(users.addBatch({ id: 'import' }, named)).rejects.toThrow("a job with the id 'row-2' exists");
    await expect(users.getBatch('import')).rejects.toThrow("'import'");
    expect(await users.getJobCountByTypes('waiting')).toBe(1);
  });

  test('counts members with the same id once, and those that exist already not again', async ({ testbed }) => {
    process.env.BULLMQ_BATCHES_WRITER = writer;
    const users = testbed.queue('users');
    const named = [1, 2, 2, 3, 1].map((n) => ({ name: 'row', data: n, opts: { jobId: `row-${n}` } }));
    const batch = await users.addBatch({ id: 'import' }, named);
    expect(await batch.status()).toMatchObject({ sealed: true, total: 3 });
    const again = await users.addBatch({ id: 'import' }, named);
    expect(again.created).toBe(false);
    expect(await batch.status()).toMatchObject({ sealed: true, total: 3, pending: 3 });
  });

  test('goes to the queues that the jobs name, with their options and the defaults', async ({ testbed }) => {
    process.env.BULLMQ_BATCHES_WRITER = writer;
    const [users, mails] = [testbed.queue('users'), testbed.queue('mails')];
    const batch = await users.addBatch({ jobOptions: { attempts: 3 } }, [
      { name: 'row', data: 1 },
      { name: 'mail', data: 2, queue: 'mails', opts: { delay: 60_000 } },
      { name: 'mail', data: 3, queue: mails, opts: { priority: 2, attempts: 5 } },
    ]);
    expect(await batch.status()).toMatchObject({ total: 3, pending: 3 });
    expect(await users.getJobs(['waiting'])).toMatchObject([{ data: 1, opts: { attempts: 3 } }]);
    expect(await mails.getJobs(['delayed'])).toMatchObject([{ data: 2, delay: 60_000, opts: { attempts: 3 } }]);
    expect(await mails.getJobs(['prioritized'])).toMatchObject([{ data: 3, priority: 2, opts: { attempts: 5 } }]);
  });

  test('is a member of its parent, which waits for it', async ({ testbed }) => {
    process.env.BULLMQ_BATCHES_WRITER = writer;
    const users = testbed.queue('users');
    const parent = await users.createBatch();
    const child = await users.addBatch({ parent }, rows(2));
    await parent.seal();
    expect(await parent.status()).toMatchObject({ total: 1, pending: 1 });
    testbed.worker('users', async () => {});
    testbed.batchWorker();
    expect(await parent.waitUntilFinished()).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
    expect(await child.status()).toMatchObject({ state: 'succeeded', total: 2 });
  });

  test('leaves no batch behind when BullMQ cannot store a member', async ({ testbed }) => {
    process.env.BULLMQ_BATCHES_WRITER = writer;
    const users = testbed.queue('users');
    await users.waitUntilReady();
    await testbed.redis.hset(`${testbed.prefix}:users:wait`, 'not', 'a list');
    await expect(users.addBatch({ id: 'import' }, rows(3))).rejects.toThrow('WRONGTYPE');
    await eventually(async () => (await testbed.redis.exists(`${testbed.prefix}:batches:import`)) === 0);
  });
});

test('a pending member with small data is kept as small as Redis can', async ({ testbed: { connection, redis } }) => {
  // With a prefix as long as BullMQ's own, 'bull'.
  await withTestbed({ connection, redis, prefix: randomUUID().slice(0, 4) }, async (testbed) => {
    for (const writer of ['', 'bullmq']) {
      process.env.BULLMQ_BATCHES_WRITER = writer;
      const users = testbed.queue('users');
      const batch = await users.createBatch({ jobOptions: { attempts: 3 } });
      const job = await batch.add('row', { n: 1 });
      const named = await batch.add('row', { n: 1 }, { jobId: `row-${writer}` });
      await batch.addBulk([{ name: 'row', data: { n: 2 } }]);
      for (const { id } of [job, named]) {
        expect(await redis.object('ENCODING', `${testbed.prefix}:users:${id}`)).toBe('listpack');
      }
      for (const key of await redis.smembers(`${testbed.prefix}:batches:${batch.id}:dependencies`)) {
        expect(await redis.object('ENCODING', key)).toBe('listpack');
      }
    }
  });
});
