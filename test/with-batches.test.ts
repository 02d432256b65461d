import { Queue } from 'bullmq';
import { Cluster } from 'ioredis';
import {
  BatchConflictError,
  BatchError,
  BatchNotFoundError,
  BatchOptionsError,
  defineWorkflow,
  withBatches,
} from '../src/index.js';
import { describe, eventually, expect, test } from './support/test.js';

describe('withBatches', () => {
  test('returns the same queue; wrapping it again changes nothing', async ({ testbed }) => {
    const queue = testbed.plainQueue('users');
    const before = queue.add;
    const users = withBatches(queue);
    expect(users).toBe(queue);
    expect(users).toBeInstanceOf(Queue);
    const { add, createBatch } = users;
    expect(add).not.toBe(before);
    expect(withBatches(users)).toBe(users);
    expect(users.add).toBe(add);
    expect(users.createBatch).toBe(createBatch);
    expect(Object.keys(users), 'nothing new shows in a listing of the queue').not.toContain('createBatch');
  });

  test('leaves other queues of the same name alone', async ({ testbed }) => {
    testbed.queue('users');
    const other = testbed.plainQueue('users');
    expect(Object.hasOwn(other, 'add')).toBe(false);
    expect('createBatch' in other).toBe(false);
  });

  test("does not overwrite the stream length that the user's queue has set, when it borrows the queue", async ({
    testbed,
  }) => {
    const mail = testbed.plainQueue('mail', { streams: { events: { maxLen: 77 } } });
    await mail.waitUntilReady();
    const maxLen = () => testbed.redis.hget(`${testbed.prefix}:mail:meta`, 'opts.maxLenEvents');
    await eventually(async () => (await maxLen()) === '77');
    const users = testbed.queue('users');
    testbed.batchWorker();
    const batch = await users.createBatch({ on: { complete: { name: 'sent', queue: 'mail' } } });
    await batch.addBulk([{ name: 'send', data: {}, queue: 'mail' }]);
    await batch.seal();
    testbed.worker('mail', async () => {});
    await batch.waitUntilFinished(10_000);
    expect(await maxLen()).toBe('77');
  });

  test.for([
    [undefined, 'not undefined'],
    ['users', "not 'users'"],
    [{ name: 'users' }, 'not an object'],
  ] as const)('refuses %o', ([value, message]) => {
    expect(() => withBatches(value as never)).toThrow(BatchOptionsError);
    expect(() => withBatches(value as never)).toThrow(`withBatches() takes a BullMQ Queue, ${message}`);
  });

  test('refuses a queue that is not on Redis', async ({ testbed }) => {
    const queue = testbed.plainQueue('users');
    const postgres = Object.create(queue, { getBackend: { value: () => ({ qualifiedName: 'users' }) } });
    expect(() => withBatches(postgres)).toThrow("Queue 'users' does not use BullMQ's Redis backend");
  });

  test('refuses a Redis Cluster without a common hash tag, and takes one with it', async ({ testbed }) => {
    const cluster = new Cluster([testbed.connection], { lazyConnect: true });
    const queue = testbed.plainQueue('users');
    const on = (prefix: string) =>
      Object.create(queue, { opts: { value: { ...queue.opts, connection: cluster, prefix } } });
    expect(() => withBatches(on('shop'))).toThrow(
      "Give all queues of an application the same prefix with a hash tag, e.g. { prefix: '{shop}' }",
    );
    expect(() => withBatches(on('{shop}'))).not.toThrow();
    cluster.disconnect();
  });

  test('finds no batch under the name of a key of BullMQ', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await batch.add('row', {});
    for (const id of [
      'delayed',
      'meta',
      'wait',
      `${batch.id}:dependencies`,
      'reconciler:needs:failures',
      '7',
      'nobody',
    ]) {
      await expect(users.getBatch(id)).rejects.toThrow(BatchNotFoundError);
    }
  });

  test('finds batches through the queue that holds them, and puts nothing else into it', async ({ testbed }) => {
    const users = testbed.queue('users');
    const created = await users.createBatch({ description: 'Import' });
    await created.add('row', {});
    const batches = testbed.queue('batches');
    const batch = await batches.getBatch(created.id);
    expect(await batch.status()).toMatchObject({ description: 'Import', pending: 1 });
    expect(await batches.getBatchCounts()).toMatchObject({ open: 1 });
    const refusal = "The queue 'batches' holds the batches themselves";
    await expect(batches.createBatch()).rejects.toThrow(refusal);
    await expect(batches.addBatch({}, [{ name: 'row', data: {} }])).rejects.toThrow(refusal);
    await expect(batch.add('row', {})).rejects.toThrow(refusal);
    await expect(batch.addBulk([{ name: 'row', data: {} }])).rejects.toThrow(refusal);
    await expect(batch.createBatch()).rejects.toThrow(refusal);
    await expect(batch.on('complete', { name: 'report' })).rejects.toThrow(refusal);
    await expect(batch.jobs(() => batches.add('row' as never, {} as never))).rejects.toThrow(refusal);
    await expect(batches.add('row' as never, {} as never)).rejects.toThrow(refusal);
    await expect(batches.addBulk([{ name: 'row', data: {} }])).rejects.toThrow(refusal);
    expect((await batch.status()).total).toBe(1);
    expect(await batches.getJobCounts()).toMatchObject({ delayed: 1, waiting: 0 });
  });

  test('refuses default options that break batches', async ({ testbed }) => {
    expect(() => testbed.queue('users', { defaultJobOptions: { failParentOnFailure: true } as never })).toThrow(
      "must not have 'failParentOnFailure'",
    );
  });
});

describe('createBatch', () => {
  test('makes an id, or takes one; description and callbacks are stored', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.plainQueue('mail');
    const batch = await users.createBatch({
      description: 'Import of ACME',
      on: { complete: { name: 'done', queue: 'mail' }, success: [{ name: 'a' }, { name: 'b' }] },
    });
    expect(batch).toMatchObject({ created: true, description: 'Import of ACME', parentId: undefined });
    expect(batch.id).toMatch(/^\w{12}$/);
    const again = await users.getBatch(batch.id);
    expect(again).toMatchObject({ id: batch.id, created: false, description: 'Import of ACME' });
    expect(
      (await again.status()).callbacks.map(({ event, queue, name, state }) => [event, queue, name, state]),
    ).toEqual([
      ['complete', 'mail', 'done', 'pending'],
      ['success', 'users', 'a', 'pending'],
      ['success', 'users', 'b', 'pending'],
    ]);
    expect((await users.createBatch({ id: 'import-42' })).id).toBe('import-42');
  });

  test('of an id that exists returns that batch', async ({ testbed }) => {
    const users = testbed.queue('users');
    const options = { id: 'nightly', on: { complete: { name: 'done', data: { run: 1 } } } };
    const first = await users.createBatch(options);
    await first.add('row', {});
    const second = await users.createBatch(options);
    expect([first.created, second.created]).toEqual([true, false]);
    expect(await second.status()).toMatchObject({ total: 1 });
    await expect(users.createBatch({ id: 'nightly' })).rejects.toThrow(BatchConflictError);
    await expect(users.createBatch({ ...options, on: { complete: { name: 'other' } } })).rejects.toThrow(
      "Batch 'nightly' exists with the complete callbacks [users/done], and was now asked for with [users/other]",
    );
    const parent = await users.createBatch();
    await expect(users.createBatch({ ...options, parent })).rejects.toThrow(
      'exists with no parent, and was now asked for with the parent',
    );
    expect(await parent.status(), 'nothing was registered').toMatchObject({ total: 0 });
  });

  test('by twenty callers at once gives one batch, and one creator', async ({ testbed }) => {
    const users = testbed.queue('users');
    const others = testbed.queue('users');
    const parent = await users.createBatch();
    const batches = await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? users : others).createBatch({ id: 'same', parent })),
    );
    expect(batches.filter(({ created }) => created)).toHaveLength(1);
    await Promise.all(batches.map((batch, i) => batch.add('row', { i })));
    expect(await batches[0]?.status()).toMatchObject({ total: 20 });
    expect(await parent.status()).toMatchObject({ total: 1, pending: 1 });
  });

  test('of one id with and without a parent at the same time is one batch, of the parent only if it says so', async ({
    testbed,
  }) => {
    const [one, other] = [testbed.queue('users'), testbed.queue('users')];
    const parent = await one.createBatch();
    for (let i = 0; i < 40; i++) {
      const id = `raced-${i}`;
      const results = await Promise.allSettled([parent.createBatch({ id }), other.createBatch({ id })]);
      expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      const isChild = (await one.getBatch(id)).parentId === parent.id;
      const key = `${testbed.prefix}:batches:${id}`;
      expect(await testbed.redis.hget(key, 'parentKey')).toBe(
        isChild ? `${testbed.prefix}:batches:${parent.id}` : null,
      );
      expect(await testbed.redis.sismember(`${testbed.prefix}:batches:${parent.id}:dependencies`, key)).toBe(
        isChild ? 1 : 0,
      );
    }
    const { total, pending } = await parent.status();
    expect(total).toBe(pending);
  });

  test.for([
    [{ descripton: 'x' }, "A batch has no option 'descripton'. Did you mean 'description'?"],
    [{ id: '42' }, 'must not be an integer'],
    [{ description: '' }, 'description must be a non-empty string'],
    [{ on: { completed: { name: 'x' } } }, "'on' has no option 'completed'. Did you mean 'complete'?"],
    [{ on: { complete: { data: {} } } }, 'on.complete.name must be a non-empty string'],
    [
      { on: { complete: [{ name: 'a' }, { name: 'b', dat: {} }] } },
      "on.complete[1] has no option 'dat'. Did you mean 'data'?",
    ],
    [{ on: { complete: { name: 'a', data: { big: 1n } } } }, 'on.complete.data.big is a bigint'],
    [{ on: { complete: { name: 'a', data: [1] } } }, 'on.complete.data must be an object, not an array'],
    [{ on: { complete: { name: 'a', data: { batch: 1 } } } }, "must not have a property 'batch'"],
    [{ on: { complete: { name: 'a', opts: { jobId: 'x' } } } }, "on.complete.opts must not have 'jobId'"],
    [
      { on: { complete: { name: 'a', opts: { removeOnComplete: true } } } },
      "on.complete.opts must not have 'removeOnComplete'",
    ],
    [{ on: { complete: { name: 'a', opts: { repeat: { every: 1 } } } } }, "must not have 'repeat'"],
    [{ on: { complete: { name: 'a', queue: 'batches' } } }, "The queue 'batches' holds the batches themselves"],
    [{ on: { complete: { name: 'a', opts: { priority: 1.5 } } } }, 'on.complete.opts.priority must be an integer'],
    [{ on: { success: { name: 'a', opts: { priority: 2 ** 21 + 1 } } } }, 'from 0 to 2097152, not 2097153'],
    [{ on: { complete: { name: 'a', opts: { priority: '1' } } } }, "must be an integer from 0 to 2097152, not '1'"],
    [{ on: { complete: { name: 'a', opts: { delay: -1 } } } }, 'delay must be a number of milliseconds, not -1'],
    [{ on: { complete: { name: 'a', opts: { backoff: { type: 'fixed', jitter: 2 } } } } }, 'jitter must be a number'],
    [{ on: { complete: { name: 'a', opts: { sizeLimit: 10 } } } }, "on.complete.opts must not have 'sizeLimit'"],
    [{ jobOptions: { priority: -1 } }, 'jobOptions.priority must be an integer'],
    [null, 'The options of a batch must be an object, not null'],
    [{ jobOptions: { parent: { id: 'a', queue: 'b' } } }, "jobOptions must not have 'parent'"],
    [{ jobOptions: { jobId: 'a' } }, "jobOptions must not have 'jobId'"],
    [{ parent: 'import' }, "'parent' must be a Batch, not 'import'"],
    ['import', "The options of a batch must be an object, not 'import'. Example: { description: 'Newsletter' }."],
    [Promise.resolve({}), 'The options of a batch must be an object, not a Promise: await it first.'],
    [{ on: { complete: () => {} } }, 'on.complete must be a job or a name, not a function: other processes could not'],
    [{ on: { complete: null } }, "not null. Example: 'report', or { name: 'report', queue: 'mail', data: {} }."],
    [{ keep: 3600 }, 'keep must be an object, not 3600. Example: { age: 86400 }, in seconds.'],
    [{ deadline: 1_795_333_150_965 }, 'looks like a time: pass new Date(1795333150965).'],
    [{ metadata: new Error('no') }, 'metadata is an Error, which JSON cannot carry'],
  ] as const)('refuses %o, and writes nothing', async ([options, message], { testbed }) => {
    const users = testbed.queue('users');
    await expect(users.createBatch(options as never)).rejects.toThrow(message);
    await expect(users.createBatch(options as never)).rejects.toThrow(BatchError);
    expect(await users.getBatchCounts()).toEqual({ open: 0, running: 0, succeeded: 0, failed: 0 });
  });
});

describe('a callback whose queue is in another database', () => {
  test('is refused, and writes nothing: no worker of that queue would ever run it', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { connection } = testbed;
    const { host, port, db = 0 } = testbed.redis.options;
    const lost = testbed.plainQueue('lost', { connection: { host, port, db: db + 1 } as typeof connection });
    const near = testbed.plainQueue('near', { connection: { host, port, db } as typeof connection });
    const on = {
      complete: [
        { name: 'fine', queue: near },
        { name: 'report', queue: lost },
      ],
    };
    for (const adding of [users.createBatch({ on }), users.addBatch({ on }, [{ name: 'row', data: {} }])]) {
      await expect(adding).rejects.toThrow("The queue 'lost' of a callback is in another Redis than the batch");
    }
    expect(await users.getBatchCounts()).toEqual({ open: 0, running: 0, succeeded: 0, failed: 0 });
    const batch = await users.createBatch({ on: { complete: { name: 'fine', queue: near } } });
    await expect(batch.on('success', { name: 'report', queue: lost })).rejects.toThrow(BatchOptionsError);
    expect((await batch.status()).callbacks).toMatchObject([{ queue: 'near', name: 'fine' }]);
  });

  test('is refused in a stage of a workflow, before anything of the run is created', async ({ testbed }) => {
    const queue = testbed.queue('users');
    const { host, port, db = 0 } = testbed.redis.options;
    const connection = { host, port, db: db + 1 } as typeof testbed.connection;
    const lost = testbed.plainQueue('lost', { connection });
    const inner = defineWorkflow('inner', { only: { queue, name: 'a', on: { success: { name: 'b', queue: lost } } } });
    const workflow = defineWorkflow('outer', {
      first: { queue, name: 'a' },
      inner: { after: 'first', workflow: inner },
    });
    await expect(workflow.start()).rejects.toThrow("The queue 'lost' of a callback is in another Redis than the batch");
    expect(await queue.getBatchCounts()).toMatchObject({ open: 0, running: 0 });
  });
});

test('a callback whose queue has a connection that does not answer keeps no batch from being created', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const held = await testbed.heldConnection();
  const slow = testbed.plainQueue('slow', { connection: held.connection });
  await slow.waitUntilReady();
  await held.idle();
  held.countFrom();
  held.holdBefore(1);
  const report = { name: 'report', queue: slow };
  const creating = users.createBatch({ on: { complete: report, success: [report, report] } });
  expect(await held.heldOrEnded(creating)).toMatchObject({ position: 1 });
  expect((await (await creating).status()).callbacks).toHaveLength(3);
});

describe('looking batches up', () => {
  test('lists and counts them by state', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async (job) => {
      if (job.name === 'bad') throw new Error('no');
    });
    testbed.batchWorker();
    const open = await users.createBatch();
    const running = await users.createBatch();
    await running.createBatch();
    await running.seal();
    const good = await users.addBatch({}, [{ name: 'good', data: {} }]);
    const bad = await users.addBatch({}, [{ name: 'bad', data: {} }]);
    await Promise.all([good.waitUntilFinished(10_000), bad.waitUntilFinished(10_000)]);
    await eventually(async () => (await testbed.plainQueue('batches').getWaitingChildrenCount()) === 1);
    expect(await users.getBatchCounts()).toEqual({ open: 2, running: 1, succeeded: 1, failed: 1 });
    const ids = async (...args: Parameters<typeof users.getBatches>) =>
      (await users.getBatches(...args)).map(({ id }) => id);
    expect(await ids('open')).toContain(open.id);
    expect(await ids('running')).toEqual([running.id]);
    expect(await ids(['succeeded', 'failed'])).toEqual([good.id, bad.id]);
    expect(await ids()).toHaveLength(5);
    expect(await ids('open', 0, 0)).toHaveLength(1);
    await expect(ids('open', -1)).rejects.toThrow('start and end are ranks from 0');
    await expect(ids('done' as never)).rejects.toThrow("there is no state 'done'");
  });

  test('lists any number of them, page by page, and no job that is not a batch', async ({ testbed }) => {
    const users = testbed.queue('users');
    const made: string[] = [];
    for (let i = 0; i < 230; i++) made.push((await users.createBatch()).id);
    await testbed.plainQueue('batches').add('not ours', {}, { delay: 3_600_000 });
    const listed = async (start?: number, end?: number) =>
      (await users.getBatches('open', start, end)).map(({ id }) => id).reverse();
    expect(await listed()).toEqual(made);
    expect(await listed(0, 149)).toHaveLength(150);
    expect(await listed(100, 229)).toHaveLength(130);
    expect(await listed(500, 600)).toEqual([]);
  });

  test('batchOf finds the batch of members and callbacks, and of nothing else', async ({ testbed }) => {
    const users = testbed.queue('users');
    const found: Record<string, string | undefined> = {};
    testbed.worker('users', async (job) => {
      found[job.name] = (await users.batchOf(job))?.id;
    });
    testbed.batchWorker();
    await users.add('outside', {});
    const batch = await users.addBatch({ on: { complete: { name: 'callback' } } }, [{ name: 'member', data: {} }]);
    await batch.waitUntilFinished(10_000);
    await eventually(() => 'outside' in found);
    expect(found).toEqual({ outside: undefined, member: batch.id, callback: batch.id });
    await expect(users.batchOf('id' as never)).rejects.toThrow('batchOf(job) takes the BullMQ Job');
  });
});

describe('addBatch', () => {
  test('refuses bad options and bad jobs before there is a batch', async ({ testbed }) => {
    const users = testbed.queue('users');
    const good = { name: 'row', data: 1 };
    await expect(users.addBatch(undefined as never, [good])).rejects.toThrow('must be an object, not undefined');
    await expect(users.addBatch([good] as never, undefined as never)).rejects.toThrow(
      'addBatch(options, jobs) takes the options first: addBatch({}, jobs) has none.',
    );
    await expect(users.addBatch({}, [good, { name: '', data: 1 }])).rejects.toThrow('The name of job 1 must be');
    await expect(users.addBatch({}, [good, { ...good, opts: { delay: '1s' } as never }])).rejects.toThrow(
      "The options of job 1: delay must be a number of milliseconds, not '1s'",
    );
    expect(await users.getBatchCounts()).toMatchObject({ open: 0, running: 0 });
  });

  test('creates, adds and seals in one go', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.addBatch({ description: 'x' }, [{ name: 'row', data: 1 }]);
    expect(await batch.status()).toMatchObject({ description: 'x', total: 1, sealed: true });
  });

  test('with an id, run again on the same source, adds nothing twice', async ({ testbed }) => {
    const users = testbed.queue('users');
    const runs: number[] = [];
    testbed.worker(
      'users',
      async (job) => {
        runs.push(job.data);
        if (job.data === 1) throw new Error('no');
      },
      { removeOnComplete: { count: 0 }, removeOnFail: { count: 0 } },
    );
    testbed.batchWorker();
    const source = Array.from({ length: 5 }, (_, i) => ({ name: 'row', data: i }));
    const first = await users.addBatch({ id: 'import-42' }, source);
    await first.waitUntilFinished(10_000);
    const second = await users.addBatch({ id: 'import-42' }, source);
    expect(second.created).toBe(false);
    expect(await second.status()).toMatchObject({ state: 'failed', total: 5, succeeded: 4, failed: 1, missing: 0 });
    expect(runs.sort()).toEqual([0, 1, 2, 3, 4]);
  });

  test('an id that is used again after its batch was removed starts afresh', async ({ testbed }) => {
    const users = testbed.queue('users');
    const runs: number[] = [];
    testbed.worker('users', async (job) => void runs.push(job.data?.n ?? job.name));
    testbed.batchWorker();
    const nightly = () =>
      users.addBatch({ id: 'nightly', on: { complete: { name: 'done' } } }, [{ name: 'row', data: { n: 1 } }]);
    await (await nightly()).waitUntilFinished(10_000);
    await (await testbed.plainQueue('batches').getJob('nightly'))?.remove({ removeChildren: false });
    const again = await nightly();
    expect(again.created).toBe(true);
    expect(await again.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
    expect(runs).toEqual([1, 'done', 1, 'done']);
  });
});
