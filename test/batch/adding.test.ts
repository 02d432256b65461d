import {
  type Batch,
  BatchFinishedError,
  BatchMemberError,
  BatchNotFoundError,
  BatchOptionsError,
  BatchSealedError,
} from '../../src/index.js';
import { cutConnection } from '../support/cut-connection.js';
import { startPrivateRedis } from '../support/private-redis.js';
import { type AnyJob, type AnyQueue, describe, eventually, expect, gate, test } from '../support/test.js';

const rows = (n: number) => Array.from({ length: n }, (_, i) => ({ name: 'row', data: { i } }));

describe('adding members', () => {
  test('returns the job, and counts it', async ({ testbed }) => {
    const users = testbed.queue('users', { defaultJobOptions: { attempts: 7 } });
    const batch = await users.createBatch({ jobOptions: { priority: 5 } });
    const job = await batch.add('welcome', { to: 'ada' }, { delay: 1000 });
    expect(job).toMatchObject({ name: 'welcome', data: { to: 'ada' } });
    const stored: AnyJob | undefined = await users.getJob(job.id ?? '');
    expect(stored?.opts).toMatchObject({ attempts: 7, priority: 5, delay: 1000 });
    expect(await batch.status()).toMatchObject({ total: 1, pending: 1, state: 'open', sealed: false });
  });

  test('takes an array, an iterable and an async iterable, of any length', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    expect(await batch.addBulk([])).toEqual({ added: 0, known: 0 });
    expect(await batch.addBulk(rows(3))).toEqual({ added: 3, known: 0 });
    expect(await batch.addBulk(new Set(rows(1500)))).toEqual({ added: 1500, known: 0 });
    async function* stream() {
      yield* rows(2000);
    }
    expect(await batch.addBulk(stream())).toEqual({ added: 2000, known: 0 });
    expect(await batch.status()).toMatchObject({ total: 3503, pending: 3503 });
    expect(await users.getWaitingCount()).toBe(3503);
  });

  test('reads a source no faster than Redis takes it: at most two chunks are in memory', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    let most = 0;
    async function* source() {
      for (let i = 0; i < 8000; i++) {
        if (i % 100 === 0) {
          most = Math.max(most, i - (await users.getWaitingCount()));
        }
        yield { name: 'row', data: i };
      }
    }
    await batch.addBulk(source());
    expect(most).toBeLessThanOrEqual(2000);
    expect(most).toBeGreaterThan(0);
  });

  test('stops reading, and closes the source, when a chunk fails', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    let read = 0;
    let closed = false;
    function* source() {
      try {
        for (; read < 10_000; read++) {
          yield { name: read === 1500 ? '' : 'row', data: read };
        }
      } finally {
        closed = true;
      }
    }
    await expect(batch.addBulk(source())).rejects.toThrow('The name of job 1500 must be a non-empty string');
    expect(closed).toBe(true);
    expect(read).toBeLessThan(4000);
    expect(await batch.status()).toMatchObject({ total: 1500, pending: 1500 });
  });

  test('an error of the source reaches the caller, and what was read before is settled', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    async function* source() {
      yield* rows(2000);
      throw new Error('the file ended in the middle');
    }
    await expect(batch.addBulk(source())).rejects.toThrow('the file ended in the middle');
    const { total, pending } = await batch.status();
    expect({ total, pending }).toEqual({ total: 2000, pending: 2000 });
  });

  test('adds to other queues, by name or by the queue itself', async ({ testbed }) => {
    const users = testbed.queue('users');
    const mail = testbed.plainQueue('mail', { defaultJobOptions: { attempts: 4 } });
    testbed.plainQueue('images');
    const batch = await users.createBatch();
    await batch.addBulk([
      { name: 'a', data: 1 },
      { name: 'b', data: 2, queue: mail },
      { name: 'c', data: 3, queue: 'images' },
    ]);
    expect((await mail.getWaiting())[0]).toMatchObject({ name: 'b', data: 2, opts: { attempts: 4 } });
    expect(await users.getWaitingCount()).toBe(1);
    expect(await batch.status()).toMatchObject({ total: 3, pending: 3 });
  });

  test('an id that is a member already is left alone, also within one call', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const row = { name: 'row', data: {}, opts: { jobId: 'row-1' } };
    expect(await batch.addBulk([row, row, { name: 'row', data: {} }])).toEqual({ added: 2, known: 1 });
    expect(await batch.addBulk([row])).toEqual({ added: 0, known: 1 });
    expect((await batch.add('row', {}, { jobId: 'row-1' })).id).toBe('row-1');
    expect(await batch.status()).toMatchObject({ total: 2, pending: 2 });
  });

  test('an id that is in two chunks of one call is added once, also when its job is gone at once', async ({
    testbed,
  }) => {
    const users = testbed.queue('users', { defaultJobOptions: { removeOnComplete: true } });
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => void ran.push(name), { concurrency: 50 });
    const batch = await users.createBatch();
    const twice = { name: 'twice', data: {}, opts: { jobId: 'twice' } };
    const jobs = [...rows(999), twice, twice, ...rows(999)];
    expect(await batch.addBulk(jobs)).toEqual({ added: 1999, known: 1 });
    await batch.seal();
    testbed.batchWorker();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded', total: 1999 });
    expect(ran.filter((name) => name === 'twice')).toHaveLength(1);
  });

  test('a member that has succeeded or failed is not added again, even when its job is gone', async ({ testbed }) => {
    const users = testbed.queue('users', { defaultJobOptions: { removeOnComplete: true, removeOnFail: true } });
    const runs: string[] = [];
    testbed.worker('users', async (job) => {
      runs.push(job.id ?? '');
      if (job.name === 'bad') {
        throw new Error('no');
      }
    });
    const batch = await users.createBatch();
    const jobs = [
      { name: 'good', data: {}, opts: { jobId: 'good' } },
      { name: 'bad', data: {}, opts: { jobId: 'bad' } },
    ];
    await batch.addBulk(jobs);
    await eventually(async () => (await batch.status()).pending === 0);
    expect(await batch.addBulk(jobs)).toEqual({ added: 0, known: 2 });
    expect(runs.sort()).toEqual(['bad', 'good']);
    expect(await batch.status()).toMatchObject({ total: 2, succeeded: 1, failed: 1, missing: 0 });
  });

  test.for(['waiting', 'delayed', 'prioritized', 'active', 'completed', 'failed', 'in another batch'])(
    'a foreign job with the same id, %s, is refused by name, and nothing of its chunk is added',
    async (kind, { testbed }) => {
      const users = testbed.queue('users');
      const other = await users.createBatch();
      if (kind === 'in another batch') {
        await other.add('theirs', {}, { jobId: 'taken' });
      } else {
        const opts = { delayed: { delay: 3_600_000 }, prioritized: { priority: 3 } }[kind] ?? {};
        await users.add(kind, {}, { jobId: 'taken', ...opts });
      }
      const held = gate();
      if (kind === 'completed' || kind === 'failed' || kind === 'active') {
        testbed.worker('users', async () => {
          if (kind === 'active') await held.opened;
          if (kind === 'failed') throw new Error('no');
        });
        await eventually(async () => (await users.getJobState('taken')) === kind);
      }
      const batch = await users.createBatch();
      const adding = batch.addBulk([
        { name: 'row', data: {}, opts: { jobId: 'mine' } },
        { name: 'row', data: {}, opts: { jobId: 'taken' } },
      ]);
      await expect(adding).rejects.toThrow(BatchMemberError);
      await expect(adding).rejects.toMatchObject({ batchId: batch.id, jobIds: ['taken'] });
      await expect(adding).rejects.toThrow("a job with the id 'taken' exists in queue 'users'");
      expect(await batch.status()).toMatchObject({ total: 0, pending: 0, missing: 0 });
      expect(await users.getJob('mine')).toBeUndefined();
      testbed.batchWorker();
      await batch.seal();
      expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
      held.open();
    },
  );

  test('data that is not JSON is an error that names the job, and nothing is added', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const adding = batch.addBulk([
      { name: 'fine', data: 1 },
      { name: 'broken', data: 1n, opts: { jobId: 'the-broken-one' } },
    ]);
    await expect(adding).rejects.toThrow("The data of job 1 ('broken') is not JSON");
    expect(await batch.status()).toMatchObject({ total: 0, pending: 0, missing: 0 });
    await batch.add('fine', 1);
    expect(await batch.status()).toMatchObject({ total: 1, pending: 1, missing: 0 });
  });

  test('options that BullMQ refuses are an error that names the jobs, and nothing of them is counted', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const adding = batch.add('row', 'x'.repeat(100), { sizeLimit: 10, jobId: 'r1' });
    await expect(adding).rejects.toThrow(`1 job was not added to batch '${batch.id}'`);
    await expect(adding).rejects.toThrow('exceeds the limit 10 bytes');
    await expect(adding).rejects.toMatchObject({ jobIds: ['r1'] });
    expect(await batch.status()).toMatchObject({ total: 0, missing: 0 });
  });

  test.for([1, 3])(
    '%i jobs for a queue in another Redis than its batch: an error that names them',
    async (n, { testbed }) => {
      const elsewhere = await startPrivateRedis({ env: { ...process.env, REDIS_URL: '' } });
      testbed.use({ close: elsewhere.stop });
      const users = testbed.queue('users');
      const lost = testbed.plainQueue('lost', {
        connection: { host: '127.0.0.1', port: Number(new URL(elsewhere.url).port) },
      });
      const batch = await users.createBatch();
      await batch.add('fine', {});
      const jobs = Array.from({ length: n }, (_, i) => ({
        name: 'row',
        data: {},
        queue: lost,
        opts: { jobId: `r${i}` },
      }));
      const adding = batch.addBulk(jobs);
      await expect(adding).rejects.toThrow(`not added to batch '${batch.id}': queue 'lost' is in another Redis`);
      await expect(adding).rejects.toMatchObject({ jobIds: jobs.map(({ opts }) => opts.jobId) });
      expect(await lost.getWaitingCount()).toBe(0);
      expect(await batch.status()).toMatchObject({ total: 1, pending: 1, missing: 0 });
      await lost.disconnect();
    },
  );

  test('a Redis that is full: what was stored is counted, what was not is named', async ({ testbed }) => {
    const small = testbed.use(
      await startPrivateRedis({ env: { ...process.env, REDIS_URL: '' }, args: ['--maxmemory', '6mb'] }).then(
        (redis) => ({
          ...redis,
          close: redis.stop,
        }),
      ),
    );
    const connection = { host: '127.0.0.1', port: Number(new URL(small.url).port) };
    const users = testbed.queue('users', { connection });
    const batch = await users.createBatch();
    const failure = await batch
      .addBulk(
        Array.from({ length: 5000 }, (_, i) => ({ name: 'row', data: 'x'.repeat(1000), opts: { jobId: `r${i}` } })),
      )
      .then(
        () => undefined,
        (error: unknown) => error,
      );
    expect(failure).toBeInstanceOf(BatchMemberError);
    const { jobIds } = failure as BatchMemberError;
    expect(jobIds.length).toBeGreaterThan(0);
    for (const id of jobIds) {
      expect(await users.getJob(id)).toBeUndefined();
    }
    expect(await batch.status()).toMatchObject({ total: await users.getWaitingCount(), missing: 0 });
    await users.disconnect();
  });

  test.for([
    [{ name: 'row', data: 1, delay: 5 }, "job 0 has no option 'delay'"],
    [{ nam: 'row', data: 1 }, "job 0 has no option 'nam'. Did you mean 'name'?"],
    [{ data: 1 }, 'The name of job 0 must be a non-empty string'],
    ['row', "job 0 must be an object, not 'row'. Example: { name: 'import', data: {} }."],
    [Promise.resolve({ name: 'row', data: 1 }), 'job 0 must be an object, not a Promise: await it first.'],
    [{ name: 'row', data: 1, opts: { jobId: 5 } }, 'The options of job 0: jobId must be a non-empty string, not 5.'],
    [{ name: 'row', data: 1, opts: { delay: '5s' } }, 'The options of job 0: delay must be a number of milliseconds'],
    [{ name: 'row', data: 1, queue: 5 }, 'job 0.queue must be the name of a queue or a BullMQ Queue'],
    [{ name: 'row', data: 1, queue: 'batches' }, "The queue 'batches' holds the batches themselves"],
    [{ name: 'row', data: 1, opts: { repeat: { every: 1 } } }, "The options of job 0 must not have 'repeat'"],
    [{ name: 'row', data: 1, opts: { failParentOnFailure: true } }, "must not have 'failParentOnFailure'"],
    [{ name: 'row', data: 1, opts: { deduplication: { id: 'a' } } }, "must not have 'deduplication'"],
  ] as const)('refuses %o', async ([job, message], { testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await expect(batch.addBulk([job as never])).rejects.toThrow(message);
    expect(await batch.status()).toMatchObject({ total: 0 });
  });

  test('refuses a list with holes, and what a queue is given inside of jobs(), before anything is written', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const holes: { name: string; data: unknown }[] = [];
    holes[260] = { name: 'a', data: 1 };
    await expect(batch.addBulk(holes)).rejects.toThrow('job 0 must be an object, not undefined');
    await expect(users.addBatch({ id: 'holes' }, holes)).rejects.toThrow('job 0 must be an object, not undefined');
    await expect(users.getBatch('holes')).rejects.toThrow(BatchNotFoundError);
    const inside = (jobs: unknown) => batch.jobs(() => users.addBulk(jobs as never));
    const many = Array.from({ length: 300 }, (_, n) => ({ name: 'row', data: n === 299 ? { n: 1n } : { n } }));
    await expect(inside(many)).rejects.toThrow("The data of job 299 ('row') is not JSON");
    await expect(inside([{ name: 'row', data: 1 }, null])).rejects.toThrow('job 1 must be an object, not null');
    await expect(inside(holes)).rejects.toThrow(BatchOptionsError);
    await expect(inside('rows')).rejects.toThrow(BatchOptionsError);
    expect(await batch.status()).toMatchObject({ total: 0 });
  });

  test('refuses what is not iterable', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await expect(batch.addBulk('rows' as never)).rejects.toThrow(
      'addBulk() takes an array, an iterable or an async iterable',
    );
    await expect(batch.addBulk(Promise.resolve([]) as never)).rejects.toThrow('not a Promise. Await it first.');
    await expect(batch.addBulk(function* rows() {} as never)).rejects.toThrow(
      'not a function. Call the function, and pass what it returns.',
    );
    await expect(users.addBatch({}, undefined as never)).rejects.toThrow('addBatch() takes an array');
    expect(await users.getBatchCounts()).toMatchObject({ open: 1 });
  });

  test('refuses a queue whose default options break batches, and one of another prefix', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const strict = testbed.plainQueue('strict', { defaultJobOptions: { failParentOnFailure: true } as never });
    await expect(batch.addBulk([{ name: 'x', data: 1, queue: strict }])).rejects.toThrow(
      "The defaultJobOptions of queue 'strict' must not have 'failParentOnFailure'",
    );
    const elsewhere = testbed.plainQueue('elsewhere', { prefix: `${testbed.prefix}x` });
    await expect(batch.addBulk([{ name: 'x', data: 1, queue: elsewhere }])).rejects.toThrow('share one prefix');
  });
});

describe('a connection that is cut while a member is added', () => {
  for (const lost of ['answer', 'command'] as const) {
    test(`so that the ${lost} is lost: nobody is told that it is not there, and success waits for it`, async ({
      testbed,
    }) => {
      const way = testbed.use(await cutConnection(testbed.connection));
      const mail = testbed.plainQueue('mail');
      const users = testbed.queue('users', {
        connection: { ...way.connection, maxRetriesPerRequest: 0, autoResendUnfulfilledCommands: false },
      });
      users.on('error', () => {});
      await users.waitUntilReady();
      const batch = await users.createBatch();
      await batch.addBulk([
        { name: 'fine', data: {} },
        { name: 'fine', data: {}, queue: mail },
      ]);
      way.lose(lost);
      const job = { name: 'mail', data: {}, queue: mail, opts: { jobId: 'mail-1' } };
      const failure: unknown = await batch.addBulk([job]).catch((error) => error);
      expect(failure).toBeInstanceOf(BatchMemberError);
      expect(failure).toMatchObject({ jobIds: ['mail-1'] });
      expect(String(failure)).toContain('It is not known whether 1 job was added');
      way.lose(undefined);
      const counted = lost === 'answer' ? 3 : 2;
      expect(await eventually(() => batch.status())).toMatchObject({ total: counted, pending: counted });
      expect(await batch.addBulk([job])).toEqual(lost === 'answer' ? { added: 0, known: 1 } : { added: 1, known: 0 });
      testbed.worker('users', async () => {});
      testbed.worker('mail', async () => {});
      testbed.batchWorker();
      await batch.seal();
      expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded', total: 3 });
      await eventually(() => mail.getWaitingCount().then(() => true));
      await users.close();
    });
  }
});

describe('who may add', () => {
  test('nobody from outside once the batch is sealed or finished', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await batch.add('row', {}, { jobId: 'r1' });
    await batch.seal();
    await expect(batch.add('late', {})).rejects.toThrow(BatchSealedError);
    await expect(batch.createBatch()).rejects.toThrow(BatchSealedError);
    expect(await batch.addBulk([{ name: 'row', data: {}, opts: { jobId: 'r1' } }])).toEqual({ added: 0, known: 1 });
    testbed.worker('users', async () => {});
    testbed.batchWorker();
    await batch.waitUntilFinished(10_000);
    await expect(batch.add('late', {})).rejects.toThrow(BatchFinishedError);
    await expect(batch.addBulk(rows(1))).rejects.toThrow(`Batch '${batch.id}' has finished`);
    expect(await batch.status()).toMatchObject({ total: 1, succeeded: 1, missing: 0 });
    expect(await users.getJobCountByTypes('waiting', 'completed')).toBe(1);
  });

  test('a running member, sealed or not, and never after it has ended', async ({ testbed }) => {
    const users = testbed.queue('users');
    const running = gate();
    let handle: Awaited<ReturnType<typeof users.batchOf>>;
    testbed.worker('users', async (job) => {
      if (job.name === 'seed') {
        handle = await users.batchOf(job);
        await running.opened;
        await handle?.add('grown', { from: job.id });
        await handle?.addBulk([{ name: 'grown', data: {} }]);
      }
    });
    testbed.batchWorker();
    const batch = await users.createBatch();
    await batch.add('seed', {});
    await eventually(() => handle);
    await batch.seal();
    running.open();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 3, succeeded: 3 });
    await expect(handle?.add('late', {})).rejects.toThrow(BatchFinishedError);
  });

  test('not a member of another batch, and not one that has ended while others run', async ({ testbed }) => {
    const users = testbed.queue('users');
    const held = gate();
    const handles: Awaited<ReturnType<typeof users.batchOf>>[] = [];
    testbed.worker(
      'users',
      async (job) => {
        handles.push(await users.batchOf(job));
        if (job.name === 'held') await held.opened;
      },
      { concurrency: 5 },
    );
    testbed.batchWorker();
    const batch = await users.createBatch();
    const first = await batch.add('short', {});
    await eventually(async () => (await users.getJobState(first.id ?? '')) === 'completed');
    await batch.add('held', {});
    await batch.seal();
    const [ended] = handles;
    await expect(ended?.add('late', {})).rejects.toThrow(BatchSealedError);
    held.open();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ total: 2, succeeded: 2 });
  });

  test('a callback adds to the parent, not to its own batch', async ({ testbed }) => {
    const users = testbed.queue('users');
    const order: string[] = [];
    let refused: unknown;
    testbed.worker('users', async (job) => {
      order.push(job.name);
      if (job.name === 'child-complete') {
        const own = await users.batchOf(job);
        refused = await own?.add('nope', {}).catch((error: unknown) => error);
        await (await own?.parent())?.add('cs', {});
      }
    });
    testbed.batchWorker();
    const parent = await users.createBatch({ on: { complete: { name: 'parent-complete' } } });
    const child = await parent.createBatch({ on: { complete: { name: 'child-complete' } } });
    await child.add('row', {});
    await child.seal();
    await parent.seal();
    expect(await parent.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded', total: 2, succeeded: 2 });
    expect(refused).toBeInstanceOf(BatchSealedError);
    expect(order).toEqual(['row', 'child-complete', 'cs', 'parent-complete']);
  });

  test('nobody, to a batch that does not exist', async ({ testbed }) => {
    const users = testbed.queue('users');
    await expect(users.getBatch('never')).rejects.toThrow(BatchNotFoundError);
    await expect(users.getBatch('never')).rejects.toThrow("There is no batch 'never'");
    const batch = await users.createBatch();
    await (await testbed.plainQueue('batches').getJob(batch.id))?.remove();
    await expect(batch.add('row', {})).rejects.toThrow(BatchNotFoundError);
    await expect(batch.seal()).rejects.toThrow(BatchNotFoundError);
    await expect(batch.status()).rejects.toThrow(BatchNotFoundError);
    expect(await testbed.redis.exists(`${testbed.prefix}:batches:${batch.id}`), 'no ghost').toBe(0);
    expect(await users.getWaitingCount()).toBe(0);
  });
});

describe('jobs(fn)', () => {
  test('makes add and addBulk of any wrapped queue join the batch, and returns what fn returns', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const mail = testbed.queue('mail');
    const batch = await users.createBatch();
    const job = await batch.jobs(async () => {
      await mail.addBulk(rows(2));
      const nested = await users.createBatch();
      await nested.seal();
      return users.add('row', {}, { attempts: 2 });
    });
    expect(job.opts).toMatchObject({ attempts: 2 });
    await users.add('outside', {});
    expect(await batch.status()).toMatchObject({ total: 4, pending: 4 });
    expect(await users.getWaitingCount()).toBe(2);
  });

  test('the innermost batch counts, and two that run at once do not mix', async ({ testbed }) => {
    const users = testbed.queue('users');
    const [outer, inner, other] = [await users.createBatch(), await users.createBatch(), await users.createBatch()];
    await Promise.all([
      outer.jobs(async () => {
        await users.add('outer', {});
        await inner.jobs(() => users.addBulk(rows(2)));
        await users.add('outer', {});
      }),
      other.jobs(() => users.addBulk(rows(5))),
    ]);
    const totals = await Promise.all([outer, inner, other].map(async (batch) => (await batch.status()).total));
    expect(totals).toEqual([2, 2, 5]);
  });

  test('refuses what is not a function, another parent, and a queue of another prefix', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await expect(batch.jobs(undefined as never)).rejects.toThrow(BatchOptionsError);
    await expect(batch.jobs(() => users.add('x', {}, { parent: { id: 'a', queue: 'b' } }))).rejects.toThrow(
      "must not have 'parent'",
    );
    const elsewhere = testbed.queue('elsewhere', { prefix: `${testbed.prefix}x` });
    await expect(batch.jobs(() => elsewhere.add('x', {}))).rejects.toThrow('share one prefix');
    expect(await batch.status()).toMatchObject({ total: 0 });
  });

  test('once fn has ended, what it has left running adds nothing anywhere, whether the batch is sealed or not', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const { opened, open } = gate();
    const forgotten: Promise<unknown>[] = [];
    const left: (() => Promise<unknown>)[] = [
      () => users.add('row', {}),
      () => users.addBulk(rows(2)),
      () => users.createBatch(),
      () => users.addBatch({}, rows(2)),
    ];
    const isAsSaid = { name: 'BatchError', batchId: batch.id, message: expect.stringContaining('fn has ended') };
    await batch.jobs(async () => {
      await users.add('row', {});
      forgotten.push(...left.map((add) => opened.then(add)));
    });
    const failing = batch.jobs(async () => {
      forgotten.push(opened.then(() => users.add('row', {})));
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    open();
    const reasons = (await Promise.allSettled(forgotten)).map((result) => 'reason' in result && result.reason);
    expect(reasons).toEqual(forgotten.map(() => expect.objectContaining(isAsSaid)));
    expect(await batch.status()).toMatchObject({ total: 1 });
    expect(await users.getWaitingCount()).toBe(1);
    expect(await users.getBatchCounts()).toMatchObject({ open: 1, running: 0 });
  });

  test('what fn has begun without waiting for it joins the batch', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const begun: Promise<unknown>[] = [];
    await batch.jobs(() => {
      begun.push(users.add('row', {}), users.addBulk(rows(2)), users.createBatch(), users.addBatch({}, rows(2)));
    });
    await Promise.all(begun);
    expect(await batch.status()).toMatchObject({ total: 5 });
  });

  test('processors of a Worker that fn has made say so when they add, and can add to their own batch', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await batch.jobs(async () => {
      testbed.worker('users', async (job: AnyJob) => {
        await (job.name === 'through the queue' ? users.add('more', {}) : undefined);
        await (job.name === 'through its batch' ? (await users.batchOf(job))?.add('more', {}) : undefined);
      });
    });
    await users.add('through the queue', {});
    await batch.add('through its batch', {});
    await eventually(async () => (await batch.status()).succeeded === 2);
    const [failed] = await eventually(async () => {
      const jobs = await users.getFailed();
      return jobs.length === 1 ? jobs : undefined;
    });
    expect(failed?.failedReason).toContain('Make Workers, timers and connections outside of jobs()');
    expect(await batch.status()).toMatchObject({ total: 2 });
  });

  test('more jobs than one chunk, at once', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const jobs = await batch.jobs(() => users.addBulk(rows(2500)));
    expect(new Set(jobs.map(({ id }) => id)).size).toBe(2500);
    expect(await batch.status()).toMatchObject({ total: 2500 });
  });
});

test('jobs outside of batches are as before', async ({ testbed }) => {
  const users = testbed.queue('users');
  const plain = testbed.plainQueue('users');
  const [wrapped, unwrapped] = [await users.add('a', { x: 1 }), await plain.add('a', { x: 1 })];
  const hash = async (id: string | undefined) => {
    const { timestamp, ...rest } = await testbed.redis.hgetall(`${testbed.prefix}:users:${id}`);
    return rest;
  };
  expect(await hash(wrapped.id)).toEqual(await hash(unwrapped.id));
  await users.upsertJobScheduler('nightly', { every: 3_600_000 }, { name: 'run' });
  expect(await users.getJobSchedulersCount()).toBe(1);
  expect(await users.batchOf(wrapped)).toBeUndefined();
});

describe('what throws leaves nothing', () => {
  const rows = (n: number) => Array.from({ length: n }, (_, i) => ({ name: 'row', data: { i } as unknown }));
  const atThreeThousand = (job: object) => rows(4000).map((row, i) => (i === 3000 ? { ...row, ...job } : row));

  test.for([
    ['a bad name', { name: '' }, 'The name of job 3000 must be a non-empty string'],
    ['data that is not JSON', { data: 1n }, "The data of job 3000 ('row') is not JSON"],
    ['an option that is no number', { opts: { attempts: Number.NaN } }, 'job 3000.attempts is NaN'],
    ['an id that BullMQ refuses', { opts: { jobId: '7' } }, 'must not be an integer'],
  ] as const)('an array with %s at position 3,000 is refused as a whole', async ([, job, message], { testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await expect(batch.addBulk(atThreeThousand(job))).rejects.toThrow(message);
    expect(await batch.status()).toMatchObject({ total: 0 });
    expect(await users.getWaitingCount()).toBe(0);
    await expect(users.addBatch({}, atThreeThousand(job))).rejects.toThrow(message);
    expect(await users.getBatchCounts()).toMatchObject({ open: 1, running: 0 });
  });

  test('a stream that fails half-way in addBatch(): no batch, no members, no callback', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    async function* source() {
      yield* rows(1000);
      throw new Error('the file is cut');
    }
    const on = { complete: { name: 'complete' } };
    await expect(users.addBatch({ on }, source())).rejects.toThrow('the file is cut');
    await expect(users.addBatch({ on }, atThreeThousand({ data: 1n }).values())).rejects.toThrow('is not JSON');
    expect(await users.getBatchCounts()).toEqual({ open: 0, running: 0, succeeded: 0, failed: 0 });
    expect(await users.getJobCountByTypes('waiting', 'delayed', 'prioritized')).toBe(0);
    testbed.batchWorker();
    testbed.worker('users', async (job) => void ran.push(job.name));
    const after = await users.addBatch({ on: { complete: { name: 'after' } } }, []);
    await after.waitUntilFinished(10_000);
    expect(ran).toEqual(['after']);
  });

  test("a member's id that could be taken for that of a callback is refused", async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch({ id: 'mail' });
    const jobId = 'mail~complete~7';
    const message = "jobId must not begin with 'mail~'";
    await expect(batch.add('row', {}, { jobId })).rejects.toThrow(message);
    await expect(batch.addBulk([{ name: 'row', data: {}, opts: { jobId } }])).rejects.toThrow(message);
    await expect(batch.addFlow({ name: 'row', queueName: 'users', opts: { jobId } })).rejects.toThrow(message);
    await expect(users.addBatch({ id: 'mail' }, [{ name: 'row', data: {}, opts: { jobId } }])).rejects.toThrow(message);
    expect(await batch.status()).toMatchObject({ total: 0 });
  });
});

test('members with much data are sent in several steps, of which none is large', async ({ testbed }) => {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  const held = await testbed.heldConnection();
  const actors = testbed.queue('users', { connection: held.connection });
  const own = (await actors.getBatch(batch.id)) as Batch<AnyQueue>;
  await held.idle();
  held.countFrom();
  const rows = Array.from({ length: 150 }, () => ({ name: 'row', data: 'x'.repeat(20_000) }));
  expect(await own.addBulk(rows)).toEqual({ added: 150, known: 0 });
  // 256 kB take 12 rows of 20 kB.
  expect(held.commands.length).toBe(13);
  expect(await batch.status()).toMatchObject({ total: 150, pending: 150 });
});
