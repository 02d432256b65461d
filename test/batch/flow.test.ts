import type { FlowJob } from 'bullmq';
import { Redis } from 'ioredis';
import { contextOf } from '../../src/batch/batch-context.js';
import {
  BatchFinishedError,
  BatchMemberError,
  BatchNotFoundError,
  BatchOptionsError,
  BatchSealedError,
  type BatchWorkerOptions,
  type Flow,
} from '../../src/index.js';
import { batchKeys, jobKey } from '../../src/record/keys.js';
import { repairSlice } from '../../src/record/repair.js';
import { type AnyJob, describe, eventually, expect, gate, keysOf, type Testbed, test } from '../support/test.js';

/** Workers on three queues; jobs named `bad…` fail until they are mended. */
function setUp(testbed: Testbed) {
  const users = testbed.queue('users');
  const [mail, files] = [testbed.plainQueue('mail'), testbed.plainQueue('files')];
  const ran: string[] = [];
  const mended = new Set<string>();
  const work = (options: Partial<BatchWorkerOptions> = {}) => {
    for (const name of ['users', 'mail', 'files']) {
      testbed.worker(name, async (job) => {
        ran.push(job.name);
        if (job.name.startsWith('bad') && !mended.has(job.name)) throw new Error('no');
        return job.name;
      });
    }
    testbed.batchWorker(options);
  };
  return { users, mail, files, ran, mended, work };
}

const leaf = (name: string, opts: object = {}) => ({ name, queueName: 'files', opts });

/** A root in one queue, a job below it in another, and the given ones below that in a third. */
const tree = (...leaves: Flow[]): Flow => ({
  name: 'root',
  queueName: 'users',
  data: { at: 'the top' },
  children: [{ name: 'middle', queueName: 'mail', children: leaves }],
});

async function failures(batch: { failures(): AsyncIterable<{ id: string; reason: string }> }) {
  const found: { id: string; reason: string }[] = [];
  for await (const { id, reason } of batch.failures()) found.push({ id, reason });
  return found;
}

describe('batch.addFlow()', () => {
  test('adds a tree over several queues as one member, which settles when its root does', async ({ testbed }) => {
    const { users, ran, work } = setUp(testbed);
    const batch = await users.createBatch({ on: { success: { name: 'done', queue: 'files' } } });
    const node = await batch.addFlow(tree(leaf('a'), leaf('b')));
    expect(node.job).toMatchObject({ name: 'root', data: { at: 'the top' }, queueName: 'users' });
    expect(node.children?.[0]).toMatchObject({ job: { name: 'middle', queueName: 'mail' } });
    expect(node.children?.[0]?.children?.map(({ job }) => job.name)).toEqual(['a', 'b']);
    expect(await batch.status()).toMatchObject({ total: 1, pending: 1, missing: 0 });
    expect(await users.getJobState(node.job.id ?? '')).toBe('waiting-children');
    work();
    await batch.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
    expect(ran.slice(0, 2).sort()).toEqual(['a', 'b']);
    expect(ran.slice(2)).toEqual(['middle', 'root', 'done']);
  });

  test('a root without children is a job like any other; jobOptions of the batch are for the root alone', async ({
    testbed,
  }) => {
    const { users, mail } = setUp(testbed);
    const batch = await users.createBatch({ jobOptions: { attempts: 3, priority: 5 } });
    const { job, children } = await batch.addFlow({ name: 'alone', queueName: 'users', opts: { attempts: 7 } });
    expect(children).toBeUndefined();
    expect((await users.getJob(job.id ?? ''))?.opts).toMatchObject({ attempts: 7, priority: 5 });
    const node = await batch.addFlow(tree(leaf('a')));
    expect((await mail.getJob(node.children?.[0]?.job.id ?? ''))?.opts.priority ?? 0).toBe(0);
    expect(await batch.status()).toMatchObject({ total: 2, pending: 2 });
  });

  test('the default job options of wrapped queues apply to their jobs, and give way to their own', async ({
    testbed,
  }) => {
    const users = testbed.queue('users', { defaultJobOptions: { attempts: 2, lifo: true } });
    const mail = testbed.queue('mail', { defaultJobOptions: { attempts: 4, removeOnComplete: 10 } });
    const files = testbed.plainQueue('files', { defaultJobOptions: { attempts: 6 } });
    const batch = await users.createBatch({ jobOptions: { attempts: 3 } });
    const { job, children } = await batch.addFlow(tree(leaf('a')));
    const middle = children?.[0];
    const options = await Promise.all([
      users.getJob(job.id ?? ''),
      mail.getJob(middle?.job.id ?? ''),
      files.getJob(middle?.children?.[0]?.job.id ?? ''),
    ]);
    expect(options[0]?.opts).toMatchObject({ attempts: 3, lifo: true });
    expect(options[1]?.opts).toMatchObject({ attempts: 4, removeOnComplete: 10 });
    expect(options[2]?.opts.attempts ?? 0).toBe(0);
    const { job: own } = await batch.addFlow({ name: 'b', queueName: 'mail', opts: { attempts: 9 } });
    expect(own.opts.attempts).toBe(9);
  });

  test("takes BullMQ's own FlowJob, and leaves what it was given as it was", async ({ testbed }) => {
    const { users } = setUp(testbed);
    const batch = await users.createBatch();
    const flow: FlowJob = { name: 'root', queueName: 'users', children: [{ name: 'a', queueName: 'files' }] };
    const before = structuredClone(flow);
    await batch.addFlow(flow);
    expect(flow).toEqual(before);
  });

  test('a flow inside of a child batch holds up its parent', async ({ testbed }) => {
    const { users, ran, work } = setUp(testbed);
    const top = await users.createBatch({ on: { success: { name: 'top done' } } });
    const child = await top.createBatch({ on: { success: { name: 'child done' } } });
    await child.addFlow(tree(leaf('a')));
    await child.seal();
    await top.seal();
    work();
    expect(await top.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual(['a', 'middle', 'root', 'child done', 'top done']);
  });

  test('a running member adds a flow to its sealed batch, others cannot', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { opened, open } = gate();
    testbed.worker('files', async () => {});
    testbed.worker('users', async (job: AnyJob) => {
      if (job.name === 'first') {
        await opened;
        await (await users.batchOf(job))?.addFlow({ name: 'root', queueName: 'users', children: [leaf('a')] });
      }
    });
    testbed.batchWorker();
    const batch = await users.addBatch({}, [{ name: 'first', data: {} }]);
    await expect(batch.addFlow(tree(leaf('a')))).rejects.toThrow(BatchSealedError);
    open();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 2, succeeded: 2 });
    await expect(batch.addFlow(tree(leaf('a')))).rejects.toThrow(BatchFinishedError);
    await batch.remove();
    await expect(batch.addFlow(tree(leaf('a', { jobId: 'a' })))).rejects.toThrow(BatchNotFoundError);
  });
});

describe('a job of a flow that fails', () => {
  test('fails the root, and so a member, however deep it is, with the error of the lowest', async ({ testbed }) => {
    const { users, ran, work } = setUp(testbed);
    const batch = await users.createBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } });
    const { job } = await batch.addFlow(tree(leaf('bad'), leaf('good')));
    await batch.seal();
    work();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({
      state: 'failed',
      total: 1,
      failed: 1,
      missing: 0,
      failedReason: '1 of 1 member failed: no',
    });
    expect(await failures(batch)).toEqual([{ id: job.id, reason: 'no' }]);
    expect((await batch.failuresPage()).failures).toEqual([expect.objectContaining({ reason: 'no' })]);
    expect(ran).toContain('complete');
    expect(ran).not.toContain('middle');
    expect(ran).not.toContain('root');
    expect(ran).not.toContain('success');
  });

  test.for(['ignoreDependencyOnFailure', 'removeDependencyOnFailure'])(
    'is passed over with %s',
    async (option, { testbed }) => {
      const { users, work } = setUp(testbed);
      const batch = await users.createBatch();
      await batch.addFlow(tree(leaf('bad', { [option]: true })));
      await batch.seal();
      work();
      expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
    },
  );

  test('runs again with batch.retry(), and those above it after it, not before', async ({ testbed }) => {
    const { users, files, ran, mended, work } = setUp(testbed);
    const batch = await users.createBatch({ on: { success: { name: 'success' } } });
    await batch.addFlow(tree(leaf('bad'), leaf('good')));
    await batch.seal();
    work();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', failed: 1 });
    // The job must not fail again before those above it wait for it: they would not be retried then.
    await files.pause();
    expect(await batch.retry()).toEqual({ retried: 3 });
    await files.resume();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', total: 1, failed: 1 });
    mended.add('bad');
    await batch.retry();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', succeeded: 1, failed: 0 });
    expect(ran.filter((name) => name !== 'good')).toEqual(['bad', 'bad', 'bad', 'middle', 'root', 'success']);
  });

  test('that is retried by hand lets a later batch.retry() heal the rest', async ({ testbed }) => {
    const { users, files, mended, work } = setUp(testbed);
    const batch = await users.createBatch();
    const { children } = await batch.addFlow(tree(leaf('bad')));
    await batch.seal();
    work();
    await batch.waitUntilFinished(10_000);
    mended.add('bad');
    const job = await files.getJob(children?.[0]?.children?.[0]?.job.id ?? '');
    await job?.retry();
    await eventually(() => job?.isCompleted());
    await batch.retry();
    await eventually(async () => {
      await batch.retry();
      return (await batch.status()).state === 'succeeded';
    });
  });
});

describe('a flow whose jobs vanish or are cancelled', () => {
  test('runs without those that are gone', async ({ testbed }) => {
    const { users, ran, work } = setUp(testbed);
    const batch = await users.createBatch();
    const { children } = await batch.addFlow(tree(leaf('gone'), leaf('good')));
    await testbed.redis.del(`${testbed.prefix}:files:${children?.[0]?.children?.[0]?.job.id}`);
    await testbed.redis.lrem(`${testbed.prefix}:files:wait`, 1, children?.[0]?.children?.[0]?.job.id ?? '');
    await batch.seal();
    work({ reconcileInterval: 20 });
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual(['good', 'middle', 'root']);
  });

  test('is cancelled whole, as one member', async ({ testbed }) => {
    const { users, ran, work } = setUp(testbed);
    const batch = await users.createBatch();
    await batch.addFlow(tree(leaf('a'), leaf('b', { delay: 3_600_000 })));
    await batch.add('other', {}, { delay: 3_600_000 });
    await batch.seal();
    await batch.cancel();
    work();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'cancelled', total: 2, cancelled: 2 });
    expect(ran).toEqual([]);
    const jobs = (await keysOf(testbed.redis, testbed.prefix)).filter((key) => /:(users|mail|files):m/.test(key));
    expect(jobs.filter((key) => !/:(meta|marker)$/.test(key))).toEqual([]);
  });

  test('is cancelled while jobs below it run: neither it nor the others run afterwards', async ({ testbed }) => {
    const { users } = setUp(testbed);
    const held = gate();
    const ran: string[] = [];
    const batch = await users.createBatch();
    await batch.addFlow(tree(leaf('first'), leaf('second'), leaf('third')));
    await batch.seal();
    testbed.batchWorker();
    for (const name of ['users', 'mail', 'files']) {
      testbed.worker(name, async (job) => {
        ran.push(job.name);
        await held.opened;
      });
    }
    await eventually(() => ran.length === 1);
    await batch.cancel();
    held.open();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'cancelled', succeeded: 0, cancelled: 1 });
    expect(ran).toHaveLength(1);
    const jobs = (await keysOf(testbed.redis, testbed.prefix)).filter((key) => /:(users|mail):m[^:]*-/.test(key));
    expect(jobs).toEqual([]);
  });

  test('whose root has failed is cancelled below it, too', async ({ testbed }) => {
    const { users, files } = setUp(testbed);
    const ran: string[] = [];
    for (const name of ['users', 'mail']) testbed.worker(name, async (job) => void ran.push(job.name));
    const bad = testbed.worker('files', async (job) => {
      ran.push(job.name);
      throw new Error('no');
    });
    testbed.batchWorker();
    const batch = await users.createBatch();
    await batch.addFlow(tree(leaf('bad'), leaf('sibling', { delay: 3_600_000 })));
    await batch.add('other', {}, { delay: 3_600_000 });
    await batch.seal();
    await eventually(async () => (await batch.status()).failed === 1);
    await bad.close();
    await batch.cancel();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'cancelled', failed: 1, cancelled: 1 });
    await eventually(async () => (await files.getDelayedCount()) === 0);
    expect(ran).toEqual(['bad']);
  });

  test('whose retried job fails again does not run its root', async ({ testbed }) => {
    const { users, ran, work } = setUp(testbed);
    const batch = await users.createBatch();
    await batch.addFlow({
      name: 'root',
      queueName: 'users',
      children: Array.from({ length: 10 }, (_, i) => leaf(`bad ${i}`)),
    });
    await batch.seal();
    work();
    await batch.waitUntilFinished(10_000);
    await eventually(async () => ran.length === 10);
    await batch.retry();
    await eventually(async () => (await batch.status()).state === 'failed' && ran.length >= 20);
    expect(ran).not.toContain('root');
  });
});

describe('a root that is known', () => {
  test('is left alone with all below it, also when it has settled and is gone', async ({ testbed }) => {
    const { users, ran, work } = setUp(testbed);
    const batch = await users.createBatch();
    const flow: Flow = {
      ...tree(leaf('a', { jobId: 'a' })),
      opts: { jobId: 'root', removeOnComplete: true },
    };
    await batch.addFlow(flow);
    const before = (await keysOf(testbed.redis, testbed.prefix)).length;
    const { job, children } = await batch.addFlow(flow);
    expect({ id: job.id, children }).toEqual({ id: 'root', children: undefined });
    expect((await keysOf(testbed.redis, testbed.prefix)).length).toBe(before);
    work();
    await eventually(async () => (await batch.status()).succeeded === 1);
    expect((await batch.addFlow(flow)).children).toBeUndefined();
    await batch.seal();
    expect((await batch.addFlow(flow)).job.id).toBe('root');
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual(['a', 'middle', 'root']);
  });

  test('but was lost by Redis is added again, and counted once', async ({ testbed }) => {
    const { users, work } = setUp(testbed);
    const batch = await users.createBatch();
    await batch.add('root', {}, { jobId: 'root', delay: 3_600_000 });
    await testbed.redis.del(jobKey(testbed.prefix, 'users', 'root'), `${testbed.prefix}:users:delayed`);
    const node = await batch.addFlow({ ...tree(leaf('a')), opts: { jobId: 'root' } });
    expect(node.children).toHaveLength(1);
    await batch.seal();
    work();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
  });

  test('and waits for the jobs below it is not mistaken for a missing or a finished one', async ({ testbed }) => {
    const { users, work } = setUp(testbed);
    const batch = await users.createBatch();
    await batch.addFlow(tree(leaf('a')));
    await batch.seal();
    const { redis } = await contextOf(users);
    const key = jobKey(testbed.prefix, 'batches', batch.id);
    const page = { batchId: batch.id, key, collection: 'dependencies', cursor: '0', count: 100 } as const;
    const repair = await repairSlice(redis, page, 0);
    expect(repair).toMatchObject({ flows: [expect.any(String)], missing: 0, settled: 0 });
    work();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', missing: 0 });
  });
});

describe('addFlow refuses, and writes nothing:', () => {
  const ok = { name: 'a', queueName: 'files' };
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  const loop: { name: string; queueName: string; children: unknown[] } = { ...ok, children: [] };
  loop.children.push({ ...ok, children: [loop] });
  const root = { name: 'root', queueName: 'users' };
  const below = (child: unknown) => ({ ...root, children: [ok, child] });
  const cases: [what: string, flow: unknown, message: string][] = [
    ['no flow', undefined, 'flow must be an object, not undefined'],
    ['a list of flows', [root], 'flow must be an object, not an array'],
    ['no name', { queueName: 'users' }, 'The name of flow must be a non-empty string'],
    ['no queue', { name: 'root' }, 'flow.queueName must be a non-empty string'],
    ['an unknown key', { ...root, childern: [] }, "has no option 'childern'. Did you mean 'children'?"],
    ['children that are no array', { ...root, children: ok }, 'flow.children must be an array, not an object'],
    ['a child that is no object', below('a'), "flow.children[1] must be an object, not 'a'"],
    ['a gap in the children', { ...root, children: new Array(1) }, 'flow.children[0] must be an object, not undefined'],
    ['an unknown key below', below({ ...ok, queue: 'files' }), "has no option 'queue'"],
    [
      'the queue of the batches',
      below({ ...ok, queueName: 'batches' }),
      "The queue 'batches' holds the batches themselves",
    ],
    ['a colon in a queue', below({ ...ok, queueName: 'a:b' }), "flow.children[1].queueName must not contain ':'"],
    ['another prefix', below({ ...ok, prefix: 'other' }), "flow.children[1] has the prefix 'other'"],
    ['data that is not JSON', below({ ...ok, data: 1n }), 'The data of flow.children[1] is not JSON'],
    ['circular data', { ...root, data: circular }, 'The data of flow is not JSON'],
    ['a function as data', { ...root, data: () => {} }, 'The data of flow is not JSON: it is a function'],
    ['reserved options', { ...root, opts: { repeat: { every: 1 } } }, "must not have 'repeat'"],
    ['a parent', { ...root, opts: { parent: { id: 'a', queue: 'b' } } }, "must not have 'parent'"],
    ['reserved options below', below({ ...ok, opts: { deduplication: { id: 'a' } } }), "must not have 'deduplication'"],
    ['a parent below', below({ ...ok, opts: { parent: { id: 'a', queue: 'b' } } }), 'the job above it in the flow'],
    ['a bad jobId below', below({ ...ok, opts: { jobId: '12' } }), 'must not be an integer'],
    [
      'a jobId twice',
      { ...below({ ...ok, opts: { jobId: 'x' } }), ...{ queueName: 'files', opts: { jobId: 'x' } } },
      "has the jobId 'x'",
    ],
    ['a child to wait for in vain', below({ ...ok, opts: { failParentOnFailure: false } }), 'would wait for ever'],
    [
      'two outcomes of one failure',
      below({ ...ok, opts: { failParentOnFailure: true, ignoreDependencyOnFailure: true } }),
      'only one of them can decide',
    ],
    ['a flow inside of itself', loop, 'flow.children[0].children[0] is a job above itself'],
    ['too many jobs', { ...root, children: new Array(300).fill(ok) }, 'A flow has at most 300 jobs'],
  ];

  test.for(cases)('%s', async ([, flow, message], { testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const before = (await keysOf(testbed.redis, testbed.prefix)).sort();
    const adding = batch.addFlow(flow as Flow);
    await expect(adding).rejects.toThrow(BatchOptionsError);
    await expect(adding).rejects.toThrow(message);
    expect((await keysOf(testbed.redis, testbed.prefix)).sort()).toEqual(before);
    expect(await batch.status()).toMatchObject({ total: 0, pending: 0 });
  });

  test('a root whose id a foreign job has', async ({ testbed }) => {
    const { users, files } = setUp(testbed);
    await users.add('theirs', {}, { jobId: 'taken' });
    const batch = await users.createBatch();
    const adding = batch.addFlow({ ...tree(leaf('a')), opts: { jobId: 'taken' } });
    await expect(adding).rejects.toThrow("a job with the id 'taken' exists in queue 'users'");
    await expect(adding).rejects.toMatchObject({ name: 'BatchMemberError', jobIds: ['taken'] });
    expect(await files.getWaitingCount()).toBe(0);
    expect(await batch.status()).toMatchObject({ total: 0, pending: 0 });
  });

  test.for(['of its own', 'under another parent', 'completed', 'failed'])(
    'a job below whose id is that of a job %s',
    async (kind, { testbed }) => {
      const { users, files, work } = setUp(testbed);
      if (kind === 'under another parent') {
        await (await users.createBatch()).addFlow(tree(leaf('theirs', { jobId: 'taken' })));
      } else {
        await files.add(kind === 'failed' ? 'bad' : 'theirs', {}, { jobId: 'taken' });
      }
      work();
      if (kind === 'completed' || kind === 'failed') {
        await eventually(async () => (await files.getJobState('taken')) === kind);
      }
      const batch = await users.createBatch();
      const adding = batch.addFlow(tree(leaf('a', { jobId: 'mine' }), leaf('b', { jobId: 'taken' })));
      await expect(adding).rejects.toThrow(BatchMemberError);
      await expect(adding).rejects.toThrow("a job with the id 'taken' exists in queue 'files'");
      await expect(adding).rejects.toMatchObject({ batchId: batch.id, jobIds: ['taken'] });
      expect(await files.getJob('mine')).toBeUndefined();
      expect(await batch.status()).toMatchObject({ total: 0, pending: 0, missing: 0 });
      await batch.seal();
      expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 0 });
    },
  );

  test('what BullMQ itself refuses', async ({ testbed }) => {
    const { users, files } = setUp(testbed);
    const batch = await users.createBatch();
    const tooBig = { ...leaf('big', { sizeLimit: 10 }), data: 'x'.repeat(100) };
    const adding = batch.addFlow({ ...tree(leaf('a'), tooBig), opts: { jobId: 'root' } });
    await expect(adding).rejects.toThrow('exceeds the limit 10 bytes');
    await expect(adding).rejects.toMatchObject({ name: 'BatchMemberError', jobIds: ['root'] });
    expect(await files.getWaitingCount()).toBe(0);
    expect(await batch.status()).toMatchObject({ total: 0, pending: 0, missing: 0 });
  });
});

/** Runs `act` when BullMQ turns the job into JSON: after everything has been looked at, before anything is stored. */
const justBeforeStoring = (act: () => void) => {
  let looks = 0;
  return {
    toJSON() {
      if (++looks === 2) act();
      return { looks };
    },
  };
};

describe('when the world changes between the look and the add', () => {
  test('a job below whose id somebody else has just used: nothing of the flow is added', async ({ testbed }) => {
    const shared = new Redis({ ...testbed.connection, maxRetriesPerRequest: null });
    testbed.use({ close: () => shared.quit() });
    const users = testbed.queue('users', { connection: shared });
    const files = testbed.plainQueue('files');
    testbed.owns('mail');
    const [batch, other] = [await users.createBatch(), await users.createBatch()];
    const act = () =>
      void shared.hset(jobKey(testbed.prefix, 'files', 'taken'), {
        name: 'theirs',
        parentKey: batchKeys({ prefix: testbed.prefix, batchesQueue: 'batches' }, other.id).job,
      });
    const flow = { ...tree(leaf('a'), leaf('b', { jobId: 'taken' })), data: justBeforeStoring(act) };
    const adding = batch.addFlow({ ...flow, opts: { jobId: 'root' } });
    await expect(adding).rejects.toThrow("a job with the id 'taken' exists in queue 'files'");
    await expect(adding).rejects.toMatchObject({ name: 'BatchMemberError', jobIds: ['taken'] });
    expect(await users.getJob('root')).toBeUndefined();
    expect(await files.getWaitingCount()).toBe(0);
    expect(await testbed.redis.hget(jobKey(testbed.prefix, 'files', 'taken'), 'name')).toBe('theirs');
    expect(await batch.status()).toMatchObject({ total: 0, pending: 0, missing: 0 });
    testbed.batchWorker();
    await batch.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 0 });
  });

  test('a batch that is removed meanwhile: an error that says so, and no job is left', async ({ testbed }) => {
    const shared = new Redis({ ...testbed.connection, maxRetriesPerRequest: null });
    testbed.use({ close: () => shared.quit() });
    const users = testbed.queue('users', { connection: shared });
    const files = testbed.plainQueue('files');
    testbed.owns('mail');
    const batch = await users.createBatch();
    const keys = Object.values(batchKeys({ prefix: testbed.prefix, batchesQueue: 'batches' }, batch.id));
    const flow = { ...tree(leaf('a')), data: justBeforeStoring(() => void shared.del(...keys)) };
    const adding = batch.addFlow({ ...flow, opts: { jobId: 'root' } });
    await expect(adding).rejects.toBeInstanceOf(BatchNotFoundError);
    expect(await users.getJob('root')).toBeUndefined();
    expect(await files.getWaitingCount()).toBe(0);
    expect(await testbed.redis.exists(...keys)).toBe(0);
  });
});

test("the connection stays its owner's, and the queues' settings theirs", async ({ testbed }) => {
  const users = testbed.queue('users', { streams: { events: { maxLen: 77 } } });
  const files = testbed.plainQueue('files', { streams: { events: { maxLen: 88 } } });
  await Promise.all([users.waitUntilReady(), files.waitUntilReady()]);
  const meta = (queue: string) => testbed.redis.hgetall(`${testbed.prefix}:${queue}:meta`);
  await eventually(async () => Object.keys(await meta('files')).length > 0);
  const before = [await meta('users'), await meta('files')];
  const batch = await users.createBatch();
  await batch.addFlow({ name: 'root', queueName: 'users', children: [leaf('a')] });
  expect([await meta('users'), await meta('files')]).toEqual(before);
  expect(before[1]).toMatchObject({ 'opts.maxLenEvents': '88' });
});

test('batchOf(job) of a job inside of a flow finds its batch, and carries its right to add', async ({ testbed }) => {
  const users = testbed.queue('users');
  const files = testbed.queue('files');
  const found: unknown[] = [];
  const held = gate();
  testbed.worker('users', async () => {});
  testbed.worker('files', async (job) => {
    const batch = await files.batchOf(job);
    if (job.name === 'deep') {
      await batch?.add('added by deep', {});
      await held.opened;
    }
    found.push([job.name, batch?.id, await batch?.isCancelled()]);
  });
  testbed.batchWorker();
  const batch = await users.createBatch();
  const deep = { name: 'deep', queueName: 'files' };
  const middle = { name: 'middle', queueName: 'files', children: [deep] };
  await batch.addFlow({ name: 'root', queueName: 'users', children: [middle] });
  await batch.seal();
  await eventually(async () => (await batch.status()).total === 2);
  held.open();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 2, succeeded: 2 });
  expect(found).toEqual(
    expect.arrayContaining([
      ['deep', batch.id, false],
      ['middle', batch.id, false],
    ]),
  );
  const outside = await users.add('outside', {});
  expect(await users.batchOf(outside)).toBeUndefined();
});

test('retry() of a flow whose failed leaf was removed says so, and what to do', async ({ testbed }) => {
  const { users, files, work, mended } = setUp(testbed);
  const batch = await users.createBatch();
  await batch.addFlow(tree(leaf('bad leaf', { jobId: 'leaf' })));
  await batch.seal();
  work();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed' });
  await (await files.getJob('leaf'))?.remove();
  mended.add('bad leaf');
  await expect(batch.retry()).rejects.toThrow(`because of '${testbed.prefix}:files:leaf' below it in its flow`);
  await expect(batch.retry()).rejects.toThrow('Add the flow again, to a new batch.');
  await eventually(async () => (await batch.status()).state === 'failed');
});

test('retry() makes no job of what is left of a flow whose root was evicted', async ({ testbed }) => {
  const { users, work, mended } = setUp(testbed);
  const batch = await users.createBatch();
  const children = [leaf('bad leaf'), leaf('later', { delay: 3_600_000 })];
  const { job } = await batch.addFlow({ name: 'root', queueName: 'users', children });
  await batch.seal();
  work();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed' });
  const root = jobKey(testbed.prefix, 'users', job.id ?? '');
  await testbed.redis.del(root);
  mended.add('bad leaf');
  expect(await batch.retry()).toEqual({ retried: 0 });
  expect(await testbed.redis.exists(root)).toBe(0);
  expect(await users.getJobCountByTypes('waiting-children')).toBe(0);
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', failed: 1 });
});

test('retry() of a flow heals it when jobs below its root were retried with queue.retryJobs()', async ({ testbed }) => {
  const { users, files, ran, work, mended } = setUp(testbed);
  const batch = await users.createBatch();
  await batch.addFlow(tree(leaf('bad leaf')));
  await batch.seal();
  work();
  await batch.waitUntilFinished(10_000);
  ran.length = 0;
  mended.add('bad leaf');
  await files.retryJobs({ state: 'failed' });
  await eventually(async () => (await files.getCompletedCount()) === 1);
  await batch.retry();
  await eventually(async () => (await batch.status()).state === 'succeeded');
  expect(ran).toEqual(['bad leaf', 'middle', 'root']);
});
