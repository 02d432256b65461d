import { contextOf } from '../src/batch/batch-context.js';
import { BatchError, BatchNotFoundError, BatchOptionsError, BatchWorker, withBatches } from '../src/index.js';
import { claimQueue } from '../src/record/claim-queue.js';
import { jobKeys } from './support/job-keys.js';
import { type AnyQueue, describe, eventually, expect, keysOf, type Testbed, test } from './support/test.js';

/** What an application gives its batches that has a queue `batches` of its own. */
const batchesQueue = 'job-batches';

const queueOf = (testbed: Testbed, name: string, options: Parameters<typeof withBatches>[1] = { batchesQueue }) => {
  testbed.owns(batchesQueue);
  return withBatches(testbed.plainQueue(name), options);
};

/** A BatchWorker whose errors are kept. */
function batchWorkerOf(testbed: Testbed, options: Parameters<Testbed['batchWorker']>[0] = {}) {
  const errors: Error[] = [];
  const batchWorker = testbed.batchWorker(options);
  batchWorker.on('error', (error) => errors.push(error));
  return { batchWorker, errors };
}

/** Everything that Redis has in a queue, but for what BullMQ's workers and ours keep to themselves. */
async function contentOf(testbed: Testbed, queue: string): Promise<Record<string, string>> {
  const keys = (await keysOf(testbed.redis, testbed.prefix)).filter((key) =>
    key.startsWith(`${testbed.prefix}:${queue}:`),
  );
  const ours = keys.filter((key) => !/:(reconciler:queue|stalled-check|meta)$/.test(key)).sort();
  const dumps = await Promise.all(
    ours.map(async (key) => [key, String((await testbed.redis.dumpBuffer(key))?.toString('hex'))]),
  );
  return Object.fromEntries(dumps);
}

const FOREIGN = new RegExp(
  [
    "^The queue 'batches' holds jobs that are no batches, e\\.g\\. 'order-7' \\(close\\):",
    'it belongs to your application\\.',
    "Give batches a queue of another name: withBatches\\(queue, \\{ batchesQueue: '…' \\}\\)",
    "and new BatchWorker\\(\\{ connection, batchesQueue: '…' \\}\\)",
  ].join(' '),
);

describe("an application's own queue `batches`", () => {
  test('is not touched while batches run in another one', async ({ testbed }) => {
    const own = queueOf(testbed, 'batches');
    const worker = testbed.worker('batches', async (job) => {
      if (job.name === 'bad') throw new Error('no');
    });
    await own.addBulk([
      { name: 'good', data: {} },
      { name: 'bad', data: {} },
    ]);
    await eventually(async () => (await own.getFailedCount()) + (await own.getCompletedCount()) === 2);
    await worker.close();
    await own.add('waiting', {}, { attempts: 1 });
    await own.add('delayed', {}, { delay: 3_600_000 });
    await own.add('prioritized', {}, { priority: 3 });
    const before = await contentOf(testbed, 'batches');
    expect(Object.keys(before).length).toBeGreaterThan(5);

    const users = queueOf(testbed, 'users');
    const ran: string[] = [];
    testbed.worker('users', async (job) => void ran.push(job.name));
    const { errors } = batchWorkerOf(testbed, { batchesQueue, reconcileInterval: 20 });
    const batch = await users.addBatch({ on: { success: { name: 'publish' } } }, [{ name: 'row', data: {} }]);
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual(['row', 'publish']);
    expect(errors).toEqual([]);
    expect(await contentOf(testbed, 'batches')).toEqual(before);
    expect(await users.getBatchCounts()).toEqual({ open: 0, running: 0, succeeded: 1, failed: 0 });
  });

  test('takes members and callbacks like any other queue', async ({ testbed }) => {
    const own = queueOf(testbed, 'batches');
    const ran: string[] = [];
    testbed.worker('batches', async (job) => void ran.push(job.name));
    testbed.batchWorker({ batchesQueue });
    const batch = await own.addBatch({ on: { complete: { name: 'closed' } } }, [{ name: 'close', data: {} }]);
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual(['close', 'closed']);
  });

  test.for([
    ['waiting', {}],
    ['delayed', { delay: 3_600_000 }],
    ['prioritized', { priority: 3 }],
    ['paused', {}],
    ['active', {}],
  ] as const)('keeps a BatchWorker from starting on its jobs when one is %s', async ([state, opts], { testbed }) => {
    const own = testbed.plainQueue('batches');
    const held = await testbed.heldConnection();
    if (state === 'paused') {
      await own.pause();
    }
    await own.add('close', { order: 7 }, { jobId: 'order-7', ...opts });
    if (state === 'active') {
      const worker = testbed.worker('batches', undefined as never, { connection: held.connection });
      expect(await worker.getNextJob('a token')).toMatchObject({ id: 'order-7' });
    }
    const before = await contentOf(testbed, 'batches');
    const { batchWorker, errors } = batchWorkerOf(testbed);
    await expect(batchWorker.waitUntilReady()).rejects.toThrow(FOREIGN);
    await expect(batchWorker.waitUntilReady()).rejects.toThrow(BatchOptionsError);
    expect(errors.map(({ message }) => message)).toEqual([expect.stringMatching(FOREIGN)]);
    expect(errors[0]).toBeInstanceOf(BatchOptionsError);
    await batchWorker.close();
    expect(await contentOf(testbed, 'batches')).toEqual(before);
    await eventually(async () => {
      const connected = await own.getWorkers();
      return connected.length === (state === 'active' ? 1 : 0);
    });
  });

  test('is named on standard error, and the process goes on, when nobody listens or waits', async ({ testbed }) => {
    await testbed.plainQueue('batches').add('close', {}, { jobId: 'order-7' });
    const printed: unknown[][] = [];
    const { error } = console;
    console.error = (...args: unknown[]) => void printed.push(args);
    try {
      const batchWorker = new BatchWorker({ connection: testbed.connection, prefix: testbed.prefix });
      await eventually(() => printed.length > 0);
      await batchWorker.close();
    } finally {
      console.error = error;
    }
    expect(printed).toEqual([
      ['bullmq-batches: BatchWorker:', expect.objectContaining({ message: expect.stringMatching(FOREIGN) })],
    ]);
  });

  test('loses no job that comes when a BatchWorker is running: it is put back, and batches go on', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async () => {});
    const { batchWorker, errors } = batchWorkerOf(testbed);
    await batchWorker.waitUntilReady();
    const own = testbed.plainQueue('batches');
    await own.add('close', { order: 7 }, { jobId: 'order-7', attempts: 1 });
    const isPutBack = async () => (await own.getJobState('order-7')) === 'delayed';
    await eventually(isPutBack);
    expect(errors.map(({ message }) => message)).toEqual([expect.stringMatching(FOREIGN)]);
    const batch = await users.addBatch({}, [{ name: 'row', data: {} }]);
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
    expect(await isPutBack()).toBe(true);
    await batchWorker.close();
    expect(await own.getJob('order-7')).toMatchObject({ attemptsMade: 0, data: { order: 7 } });
    expect((await own.getJob('order-7'))?.failedReason).toBeUndefined();
    await (await own.getJob('order-7'))?.promote();
    testbed.worker('batches', async ({ data }) => data.order);
    expect(await eventually(async () => (await own.getJob('order-7'))?.returnvalue)).toBe(7);
  });

  test('loses no flow whose children are outstanding', async ({ testbed }) => {
    const { batchWorker, errors } = batchWorkerOf(testbed);
    await batchWorker.waitUntilReady();
    const own = testbed.plainQueue('batches');
    const parent = await own.add('close', {}, { jobId: 'order-7', delay: 3_600_000 });
    const child = { parent: { id: 'order-7', queue: own.qualifiedName } };
    await testbed.plainQueue('orders').add('item', {}, child);
    await parent.promote();
    await eventually(() => errors.length > 0);
    await eventually(async () => (await own.getJobState('order-7')) === 'delayed');
  });

  test('is not what the queue is taken for when the data of a batch has vanished: its job fails, and says why', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const own = testbed.plainQueue('batches');
    const { id } = await users.createBatch();
    await (await own.getJob(id))?.promote();
    await testbed.redis.del(`${testbed.prefix}:batches:${id}`);
    const errors: Error[] = [];
    testbed.batchWorker().on('error', (error) => errors.push(error));
    await eventually(async () => (await own.getFailedCount()) === 1);
    const reason = (await own.getJob(id))?.failedReason;
    expect(reason).toMatch(`The data of batch '${id}' has vanished from Redis`);
    expect(errors.map(({ message }) => message)).toEqual([reason]);
  });

  test('is not what a copy of a batch makes it', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const own = testbed.plainQueue('batches');
    const copy = await own.add('copy', (await own.getJob(batch.id))?.data);
    const { batchWorker } = batchWorkerOf(testbed);
    await batchWorker.waitUntilReady();
    await eventually(async () => (await own.getJob(copy.id ?? ''))?.failedReason?.includes('is no batch'));
  });
});

describe('two names under one prefix', () => {
  const kept = (queue: string, example: string, who: string, given: string) =>
    new RegExp(
      `^Batches of the prefix 'test-[^']+' are kept in the queue '${queue}' \\(${example}\\), and ${who} was given ` +
        `'${given}'\\. Give withBatches\\(\\) and BatchWorker the same batchesQueue`,
    );

  test.for([
    ['batches', batchesQueue],
    [batchesQueue, 'batches'],
    ['one', 'other'],
  ] as const)(
    'are refused, and "%s" gives way to "%s" when it has no batches any more',
    async ([one, other], { testbed }) => {
      testbed.owns(one);
      testbed.owns(other);
      const first = queueOf(testbed, 'users', { batchesQueue: one });
      const second = queueOf(testbed, 'users', { batchesQueue: other });
      const batch = await first.createBatch({ id: 'import' });
      const refusal = kept(one, "e\\.g\\. 'import'", 'withBatches\\(\\)', other);
      await expect(second.createBatch()).rejects.toThrow(refusal);
      await expect(second.createBatch()).rejects.toThrow(BatchOptionsError);
      await expect(second.addBatch({}, [{ name: 'row', data: {} }])).rejects.toThrow(refusal);
      expect(await contentOf(testbed, other), 'nothing was written').toEqual({});
      const { batchWorker, errors } = batchWorkerOf(testbed, { batchesQueue: other });
      const refusalOfWorker = kept(one, "e\\.g\\. 'import'", 'this BatchWorker', other);
      await expect(batchWorker.waitUntilReady()).rejects.toThrow(refusalOfWorker);
      expect(errors).toMatchObject([{ message: expect.stringMatching(refusalOfWorker) }]);

      await batch.remove({ force: true });
      testbed.worker('users', async () => {});
      await batchWorkerOf(testbed, { batchesQueue: other }).batchWorker.waitUntilReady();
      const moved = await second.addBatch({ id: 'import' }, [{ name: 'row', data: {} }]);
      expect(await moved.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
      await expect(first.createBatch(), 'what was found out before is asked again').rejects.toThrow(
        kept(other, "e\\.g\\. 'import'", 'withBatches\\(\\)', one),
      );
    },
  );

  test.for([
    ['batches', batchesQueue],
    [batchesQueue, 'batches'],
  ] as const)(
    'are refused while a BatchWorker of "%s" runs, before there is a batch',
    async ([one, other], { testbed }) => {
      const { batchWorker } = batchWorkerOf(testbed, { batchesQueue: one });
      const lease = `${testbed.prefix}:${one}:reconciler:leader`;
      await eventually(async () => (await testbed.redis.exists(lease)) === 1);
      const users = queueOf(testbed, 'users', { batchesQueue: other });
      await expect(users.createBatch()).rejects.toThrow(
        kept(one, 'a BatchWorker is running for it', 'withBatches\\(\\)', other),
      );
      await batchWorker.close();
      expect((await users.createBatch()).created).toBe(true);
    },
  );

  test('are one when many begin at the same time', async ({ testbed }) => {
    const [one, other] = [queueOf(testbed, 'users'), testbed.queue('users')];
    const all = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? one : other).createBatch()),
    );
    const open = await Promise.all([one, other].map(async (queue) => (await queue.getBatchCounts()).open));
    expect(open.sort()).toEqual([0, 10]);
    expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
  });

  test('are refused by a look at each state in which a batch can be', async ({ testbed }) => {
    const users = testbed.queue('users');
    const other = queueOf(testbed, 'users');
    testbed.worker('users', async (job) => {
      if (job.name === 'bad') throw new Error('no');
    });
    const refused = () => expect(other.createBatch()).rejects.toThrow("are kept in the queue 'batches' (e.g.");
    const batchWorker = testbed.batchWorker();
    const good = await users.addBatch({}, [{ name: 'row', data: {} }]);
    const bad = await users.addBatch({}, [{ name: 'bad', data: {} }]);
    await Promise.all([good.waitUntilFinished(10_000), bad.waitUntilFinished(10_000)]);
    await batchWorker.close();
    await refused();
    await good.remove();
    await refused();
    await bad.remove();
    const running = await users.createBatch();
    const child = await running.createBatch();
    await refused();
    await child.remove({ force: true });
    await refused();
    await running.seal();
    await refused();
    await testbed.plainQueue('batches').pause();
    await refused();
    await running.remove({ force: true });
    expect((await other.createBatch()).created).toBe(true);
  });

  test('are told apart without a write when the name is the known one', async ({ testbed }) => {
    await (await queueOf(testbed, 'users').createBatch()).seal();
    const username = testbed.prefix;
    await testbed.redis.call('ACL', 'SETUSER', username, 'on', 'nopass', '~*', '&*', '+@all', '-set', '-del');
    try {
      const connection = { ...testbed.connection, username, password: 'any' };
      const users = testbed.plainQueue('users', { connection, skipMetasUpdate: true });
      withBatches(users, { batchesQueue });
      const { redis } = await contextOf(users as never);
      expect(await claimQueue(redis)).toBeUndefined();
    } finally {
      await testbed.redis.call('ACL', 'DELUSER', username);
    }
  });
});

describe('a BatchWorker that cannot find out whose queue it was given', () => {
  /** What answers with an error, until it is gone, when it is asked for the name of the queue of the batches. */
  const wrongKey = ({ prefix }: Testbed) => `${prefix}:batches:reconciler:queue`;

  test('tries again, and drives batches when it has found out', async ({ testbed }) => {
    await testbed.redis.lpush(wrongKey(testbed), 'no name');
    const { batchWorker, errors } = batchWorkerOf(testbed);
    await eventually(() => errors.length > 0);
    expect(errors[0]?.message).toContain('WRONGTYPE');
    await testbed.redis.del(wrongKey(testbed));
    await batchWorker.waitUntilReady();
    const batch = await testbed.queue('users').addBatch({}, []);
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
  });

  test('can be closed, and then takes no job', async ({ testbed }) => {
    const own = testbed.plainQueue('batches');
    const batch = await testbed.queue('users').addBatch({}, []);
    await testbed.redis.lpush(wrongKey(testbed), 'no name');
    const { batchWorker, errors } = batchWorkerOf(testbed);
    await eventually(() => errors.length > 0);
    await testbed.redis.del(wrongKey(testbed));
    await batchWorker.close();
    await batchWorker.close();
    expect((await batch.status()).finishedAt).toBeUndefined();
    expect(await own.getWorkers()).toEqual([]);
    expect(errors.filter(({ message }) => !message.includes('WRONGTYPE'))).toEqual([]);
  });
});

describe('the option batchesQueue', () => {
  test.for([
    [{ batchesQeue: 'a' }, "has no option 'batchesQeue'. Did you mean 'batchesQueue'?"],
    [{ batchesQueue: '' }, 'batchesQueue must be a non-empty string'],
    [{ batchesQueue: 7 }, 'batchesQueue must be a non-empty string, not 7'],
    [{ batchesQueue: 'a:b' }, "batchesQueue must not contain ':', BullMQ's separator: 'a:b'"],
  ] as const)('%o is refused by withBatches and BatchWorker', ([options, message], { testbed }) => {
    const { connection, prefix } = testbed;
    expect(() => withBatches(testbed.plainQueue('users'), options as never)).toThrow(`withBatches`);
    expect(() => withBatches(testbed.plainQueue('users'), options as never)).toThrow(message);
    expect(() => new BatchWorker({ connection, prefix, ...options } as never)).toThrow(message);
  });

  test('is that of a queue for good; wrapping it again without one changes nothing', ({ testbed }) => {
    const users = queueOf(testbed, 'users');
    expect(withBatches(users)).toBe(users);
    expect(withBatches(users, { batchesQueue })).toBe(users);
    expect(() => withBatches(users, { batchesQueue: 'batches' })).toThrow(
      "Queue 'users' was wrapped with the batchesQueue 'job-batches' before, and now with 'batches'",
    );
    expect(() => withBatches(testbed.queue('mail'), { batchesQueue })).toThrow(BatchOptionsError);
    expect(() => withBatches(users, 0 as never)).toThrow('The options of withBatches must be an object, not 0');
  });

  test('is the same for a batch, its members, its callbacks and its children', async ({ testbed }) => {
    const users = queueOf(testbed, 'users');
    const mail = testbed.queue('mail');
    const batch = await users.createBatch();
    const refusal =
      "queue 'mail' was wrapped with the batchesQueue 'batches', and the batch is kept in the queue 'job-batches'";
    await expect(batch.addBulk([{ name: 'send', data: {}, queue: mail }])).rejects.toThrow(refusal);
    await expect(batch.jobs(() => mail.add('send', {}))).rejects.toThrow(refusal);
    await expect(batch.on('complete', { name: 'sent', queue: mail })).rejects.toThrow(refusal);
    await expect(users.createBatch({ on: { complete: { name: 'sent', queue: mail } } })).rejects.toThrow(refusal);
    await expect(mail.createBatch({ parent: batch as never })).rejects.toThrow(refusal);
    await expect(batch.jobs(() => mail.createBatch())).rejects.toThrow(refusal);
    expect(await batch.status()).toMatchObject({ total: 0 });
  });

  test('names the queue to which nothing can be added, and which finds batches', async ({ testbed }) => {
    const users = queueOf(testbed, 'users');
    const { id } = await users.createBatch({ description: 'Import' });
    const batches = queueOf(testbed, batchesQueue);
    expect((await batches.getBatch(id)).description).toBe('Import');
    const refusal = "The queue 'job-batches' holds the batches themselves";
    await expect(batches.add('row', {})).rejects.toThrow(refusal);
    await expect(batches.createBatch()).rejects.toThrow(refusal);
    await expect(users.createBatch({ on: { complete: { name: 'a', queue: batchesQueue } } })).rejects.toThrow(refusal);
    await expect(testbed.queue('mail').getBatch(id)).rejects.toThrow(BatchNotFoundError);
  });

  test('is that of each queue, also when queues share a connection', async ({ testbed }) => {
    const shared = { connection: testbed.redis, skipMetasUpdate: true };
    const users = withBatches(testbed.plainQueue('users', shared), { batchesQueue });
    const mail = withBatches(testbed.plainQueue('mail', shared));
    testbed.owns(batchesQueue);
    const { id } = await users.createBatch();
    await expect(mail.getBatch(id)).rejects.toThrow(BatchNotFoundError);
    await expect(mail.createBatch()).rejects.toThrow("are kept in the queue 'job-batches'");
    expect(await mail.getBatchCounts()).toMatchObject({ open: 0 });
  });

  test('is what explain() tells to start a BatchWorker with', async ({ testbed }) => {
    const users = queueOf(testbed, 'users');
    const batch = await users.addBatch({}, [{ name: 'row', data: {} }]);
    const { reasons, queues } = await batch.explain();
    const { prefix } = testbed;
    expect(reasons[0]).toBe(
      `No BatchWorker is running: start one with new BatchWorker({ connection, prefix: '${prefix}', batchesQueue: ` +
        `'job-batches' }).`,
    );
    expect(reasons[1]).toContain(`start one with new Worker('users', processor, { connection, prefix: '${prefix}' }).`);
    expect(queues.map(({ name }) => name)).toEqual(['job-batches', 'users']);
  });
});

test('batches in a queue of another name live as they do in `batches`', async ({ testbed }) => {
  const users = queueOf(testbed, 'users');
  const mail = testbed.plainQueue('mail') as AnyQueue;
  let isBroken = true;
  const ran: string[] = [];
  testbed.worker('users', async (job) => {
    ran.push(job.name);
    if (job.name === 'bad' && isBroken) throw new Error('no e-mail');
    if (job.name === 'users-done') {
      await (await (await users.batchOf(job))?.parent())?.add('close', {}, { jobId: 'close' });
    }
    if (job.name === 'grow') {
      await (await users.batchOf(job))?.add('grown', {}, { jobId: 'grown' });
    }
    return job.name;
  });
  testbed.worker('mail', async (job) => void ran.push(job.name));
  const first = testbed.batchWorker({ batchesQueue });

  const year = await users.createBatch({
    description: 'Year',
    on: {
      complete: { name: 'told', queue: mail },
      success: { name: 'published' },
      death: { name: 'warned', queue: 'mail' },
    },
  });
  const child = await year.createBatch({ on: { complete: { name: 'users-done' } } });
  await child.addBulk([
    { name: 'row', data: {} },
    { name: 'grow', data: {} },
    { name: 'bad', data: {} },
    { name: 'mailed', data: {}, queue: mail },
  ]);
  await child.addFlow({ name: 'root', queueName: 'users', children: [{ name: 'leaf', queueName: 'mail' }] });
  await child.seal();
  await year.jobs(() => users.add('inside', {}));
  await year.seal();
  expect(await year.waitUntilFinished(20_000)).toMatchObject({ state: 'failed', total: 3, succeeded: 2, failed: 1 });
  expect(await child.status()).toMatchObject({ state: 'failed', total: 6, succeeded: 5, failed: 1, missing: 0 });
  const once = [
    'bad',
    'close',
    'grow',
    'grown',
    'inside',
    'leaf',
    'mailed',
    'root',
    'row',
    'told',
    'users-done',
    'warned',
  ];
  expect([...ran].sort()).toEqual(once);
  expect((await year.tree()).jobs).toMatchObject({ total: 8, failed: 1 });

  isBroken = false;
  expect(await year.retry()).toEqual({ retried: 1 });
  await eventually(async () => (await year.status()).state === 'succeeded');
  expect(ran.slice(once.length)).toEqual(['bad', 'published']);

  const cancelled = await users.createBatch();
  await cancelled.addBulk([1, 2].map((n) => ({ name: 'later', data: { n }, opts: { delay: 3_600_000 } })));
  await cancelled.cancel('wrong file');
  expect(await cancelled.waitUntilFinished(10_000)).toMatchObject({ state: 'cancelled', cancelled: 2 });
  await cancelled.remove();
  await expect(cancelled.status()).rejects.toThrow(BatchError);

  const expiring = await users.addBatch({ keep: { age: 0 } }, []);
  await eventually(async () => (await users.getBatchCounts()).succeeded > 0);
  await first.close();
  testbed.batchWorker({ batchesQueue, reconcileInterval: 20 });
  await eventually(async () => !(await keysOf(testbed.redis, testbed.prefix)).some((key) => key.includes(expiring.id)));
  await year.remove({ members: true });
  const left = await jobKeys(testbed, batchesQueue);
  expect(left.filter((key) => !key.includes(':reconciler:'))).toEqual([]);
  expect(await contentOf(testbed, 'batches'), 'nothing was ever put into the default queue').toEqual({});
});
