import { type Batch, BatchNotFoundError, type MemberOptions } from '../../src/index.js';
import {
  type AnyJob,
  type AnyQueue,
  describe,
  eventually,
  expect,
  gate,
  keysOf,
  type Testbed,
  test,
} from '../support/test.js';

/** The callbacks have a queue of their own: what is done to the members' queue is not done to them. */
const ON = { complete: { name: 'complete', queue: 'callbacks' }, success: { name: 'success', queue: 'callbacks' } };
const EAGER = { reconcileInterval: 20, missingAfter: 1 };
const HOUR = 3_600_000;

const waiting: MemberOptions = {};
const delayed: MemberOptions = { delay: HOUR };
const prioritized: MemberOptions = { priority: 1 };

/** Records what the callbacks of all batches were told. */
function listen(testbed: Testbed): unknown[] {
  const told: unknown[] = [];
  testbed.worker('callbacks', async ({ name, data: { batch } }) => {
    told.push({ name, total: batch.total, succeeded: batch.succeeded, failed: batch.failed, missing: batch.missing });
  });
  return told;
}

/**
 * A batch whose members in queue `users` are about to vanish; no worker takes them. One more, in queue `mails`,
 * succeeds first: so the last outstanding member is always one that vanishes.
 */
async function setUp(testbed: Testbed, members: readonly MemberOptions[]) {
  const users = testbed.queue('users');
  const told = listen(testbed);
  testbed.worker('mails', async () => {});
  const batchWorker = testbed.batchWorker();
  const batch = await users.createBatch({ on: ON });
  const jobs: AnyJob[] = [];
  for (const opts of members) {
    jobs.push(await batch.add('goes', {}, opts));
  }
  await batch.addBulk([{ name: 'stays', data: {}, queue: testbed.queue('mails') }]);
  await eventually(async () => (await batch.status()).succeeded === 1);
  return { users, jobs, batch, batchWorker, told };
}

/** A gate that the end of the test opens too: a worker whose job waits at it would never close. */
function heldUntilTheEnd(testbed: Testbed) {
  const held = gate();
  testbed.use({ close: async () => held.open() });
  return held;
}

/** Seals, and waits until BullMQ has the batch waiting for its members. */
async function sealAndRun(testbed: Testbed, batch: Pick<Batch, 'id' | 'seal'>) {
  await batch.seal();
  const batches = testbed.plainQueue('batches');
  await eventually(async () => (await batches.getJobState(batch.id)) === 'waiting-children');
}

/** The batch has finished, says what is missing, and has called back once. */
async function expectMissing(batch: Batch, told: readonly unknown[], missing: number) {
  const total = missing + 1;
  const status = await batch.waitUntilFinished(10_000);
  const counts = { total, succeeded: 1, failed: 0, missing };
  const reason = `${missing} of ${total} members ${missing === 1 ? 'is' : 'are'} missing`;
  expect(status).toMatchObject({ state: 'failed', pending: 0, ...counts, failedReason: reason });
  expect(status.callbacks.map(({ event, state }) => `${event} ${state}`)).toEqual([
    'complete succeeded',
    'success pending',
  ]);
  expect(told).toEqual([{ name: 'complete', ...counts }]);
}

interface Scene {
  readonly testbed: Testbed;
  readonly users: AnyQueue;
  readonly jobs: readonly AnyJob[];
  readonly batch: { readonly id: string };
}

interface Way {
  readonly way: string;
  readonly members: readonly MemberOptions[];
  vanish(scene: Scene): Promise<unknown>;
}

/** BullMQ itself takes these out of the batch: no repair is needed. */
const TOLD: readonly Way[] = [
  ...Object.entries({ waiting, delayed, prioritized }).flatMap(([state, opts]): Way[] => [
    {
      way: `job.remove() of ${state} members`,
      members: [opts, opts],
      vanish: ({ jobs }) => Promise.all(jobs.map((job) => job.remove())),
    },
    {
      way: `queue.remove() of ${state} members`,
      members: [opts, opts],
      vanish: async ({ users, jobs }) => {
        expect(await Promise.all(jobs.map(({ id }) => users.remove(id ?? '')))).toEqual([1, 1]);
      },
    },
    {
      way: `queue.clean() of ${state} members`,
      members: [opts, opts],
      vanish: async ({ users, jobs }) => {
        const cleaned = await users.clean(0, 100, state === 'waiting' ? 'wait' : (state as 'delayed' | 'prioritized'));
        expect(cleaned.sort()).toEqual(jobs.map(({ id }) => id).sort());
      },
    },
  ]),
  { way: 'queue.drain()', members: [waiting, prioritized], vanish: ({ users }) => users.drain() },
  { way: 'queue.drain(true)', members: [waiting, delayed, prioritized], vanish: ({ users }) => users.drain(true) },
  {
    way: 'queue.obliterate({ force: true })',
    members: [waiting, delayed, prioritized],
    vanish: ({ users }) => users.obliterate({ force: true }),
  },
  {
    way: "the trash of Bull Board on a member's row",
    members: [waiting],
    vanish: async ({ users, jobs: [job] }) => (await users.getJob(job?.id ?? ''))?.remove(),
  },
  {
    way: '"remove unprocessed children" of Bull Board on the batch\'s row',
    members: [waiting, delayed, prioritized],
    vanish: async ({ testbed, batch }) => {
      await (await testbed.plainQueue('batches').getJob(batch.id))?.removeUnprocessedChildren();
    },
  },
];

/** Here the member's job goes, and the batch's dependency on it stays: the reconciler has to notice. */
const UNTOLD: readonly Way[] = [
  {
    way: "the eviction of a member's hash, or its DEL by hand",
    members: [waiting, delayed, prioritized],
    vanish: ({ testbed, jobs }) => testbed.redis.del(...jobs.map(({ id }) => `${testbed.prefix}:users:${id}`)),
  },
  {
    way: 'a flushed queue',
    members: [waiting, delayed, prioritized],
    vanish: async ({ testbed }) => testbed.redis.del(...(await keysOf(testbed.redis, `${testbed.prefix}:users:`))),
  },
  {
    // Their ids are in no list any more, for instance because Redis has evicted the list.
    way: 'queue.removeOrphanedJobs()',
    members: [waiting, waiting],
    vanish: async ({ testbed, users }) => {
      await testbed.redis.del(`${testbed.prefix}:users:wait`);
      expect(await users.removeOrphanedJobs()).toBe(2);
    },
  },
];

const eachWay = (ways: readonly Way[]) =>
  (['open', 'sealed'] as const).flatMap((batch) => ways.map((way) => ({ ...way, while: batch })));

describe('missing, as BullMQ tells', () => {
  test.for(eachWay(TOLD))('after $way, while the batch is $while', async (row, { testbed }) => {
    const { batch, told, ...scene } = await setUp(testbed, row.members);
    if (row.while === 'sealed') {
      await sealAndRun(testbed, batch);
    }
    await row.vanish({ testbed, batch, ...scene });
    if (row.while === 'open') {
      expect(await batch.status()).toMatchObject({ state: 'open', pending: 0, missing: row.members.length });
      expect(told).toEqual([]);
      await batch.seal();
    }
    await expectMissing(batch, told, row.members.length);
  });

  test('after queue.drain(), which leaves the delayed members: they still run', async ({ testbed }) => {
    const { users, batch, jobs, told } = await setUp(testbed, [waiting, delayed, prioritized]);
    await sealAndRun(testbed, batch);
    await users.drain();
    expect(await batch.status()).toMatchObject({ state: 'running', total: 4, pending: 1, missing: 2 });
    await (await users.getJob(jobs[1]?.id ?? ''))?.promote();
    testbed.worker('users', async () => {});
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', succeeded: 2, missing: 2 });
    expect(told).toEqual([{ name: 'complete', total: 4, succeeded: 2, failed: 0, missing: 2 }]);
  });

  test('after queue.obliterate({ force: true }) of a member that is running', async ({ testbed }) => {
    const { users, batch, told } = await setUp(testbed, [waiting]);
    const held = heldUntilTheEnd(testbed);
    const errors: Error[] = [];
    const worker = testbed.worker('users', async () => held.opened);
    worker.on('error', (error) => errors.push(error));
    await sealAndRun(testbed, batch);
    await eventually(async () => (await users.getActiveCount()) === 1);
    await users.obliterate({ force: true });
    await expectMissing(batch, told, 1);
    held.open();
    // Its end comes to nothing.
    await eventually(() => errors.length > 0);
    expect(await batch.status()).toMatchObject({ state: 'failed', total: 2, succeeded: 1, missing: 1 });
  });
});

describe('missing, as the reconciler finds', () => {
  test.for(eachWay(UNTOLD))('after $way, while the batch is $while', async (row, { testbed }) => {
    const { batch, told, batchWorker, ...scene } = await setUp(testbed, row.members);
    if (row.while === 'sealed') {
      await sealAndRun(testbed, batch);
    }
    await row.vanish({ testbed, batch, ...scene });
    if (row.while === 'open') {
      await sealAndRun(testbed, batch);
    }
    expect(await batch.status()).toMatchObject({ state: 'running', pending: row.members.length, missing: 0 });
    await batchWorker.close();
    testbed.batchWorker(EAGER);
    await expectMissing(batch, told, row.members.length);
  });

  test('after the loss of a hash whose id a worker still takes', async ({ testbed }) => {
    const { batch, jobs, told, batchWorker } = await setUp(testbed, [waiting]);
    const key = `${testbed.prefix}:users:${jobs[0]?.id}`;
    await testbed.redis.del(key);
    testbed.worker('users', async () => {});
    // The id is taken from the list. Whatever is run, and left of it, is not the member.
    await eventually(async () => (await testbed.redis.llen(`${testbed.prefix}:users:wait`)) === 0);
    await sealAndRun(testbed, batch);
    await batchWorker.close();
    testbed.batchWorker(EAGER);
    await expectMissing(batch, told, 1);
  });
});

/*
 * BullMQ replaces a deduplicated job, and removes the job of a scheduler, without telling a parent. Neither can be
 * attached to a batch as it is added. What is left is a member that was registered by a producer that was cut off from
 * Redis before it added the job: somebody else uses the id, and the late addition gives that job to the batch.
 */
describe('a job that BullMQ would replace', () => {
  const deduplication = { id: 'acme', ttl: HOUR, extend: true, replace: true };
  const yearly = { pattern: '0 0 1 1 *' };

  const KINDS = {
    'a deduplicated job': {
      id: async () => 'row-1',
      add: (users: AnyQueue) => users.add('theirs', {}, { jobId: 'row-1', delay: HOUR, deduplication }),
      replace: (users: AnyQueue) => users.add('newer', {}, { jobId: 'row-2', delay: HOUR, deduplication }),
    },
    'the job of a scheduler': {
      id: async (users: AnyQueue) => {
        const { id } = (await users.upsertJobScheduler('yearly', yearly, { name: 'theirs' })) ?? {};
        await users.removeJobScheduler('yearly');
        return id ?? '';
      },
      add: (users: AnyQueue) => users.upsertJobScheduler('yearly', yearly, { name: 'theirs' }),
      replace: async (users: AnyQueue) => expect(await users.removeJobScheduler('yearly')).toBe(true),
    },
  };
  const kinds = Object.keys(KINDS) as (keyof typeof KINDS)[];

  test.for(kinds)('%s is refused as a member', async (kind, { testbed }) => {
    const users = testbed.plainQueue('users');
    const id = await KINDS[kind].id(users);
    await KINDS[kind].add(users);
    const batch = await testbed.queue('users').createBatch();
    await expect(batch.add('row', {}, { jobId: id })).rejects.toThrow(`a job with the id '${id}' exists`);
    expect(await batch.status()).toMatchObject({ total: 0, pending: 0, missing: 0 });
  });

  test('is refused by BullMQ when it is added to the batch by hand', async ({ testbed }) => {
    const users = testbed.plainQueue('users');
    const batch = await testbed.queue('users').createBatch();
    const parent = { id: batch.id, queue: `${testbed.prefix}:batches` };
    await expect(users.add('row', {}, { parent, deduplication })).rejects.toThrow('cannot be used together');
    // A scheduler is not refused, but its jobs become no dependencies of the parent that its template names.
    await users.upsertJobScheduler('yearly', yearly, { name: 'row', opts: { parent } });
    expect(await batch.status()).toMatchObject({ total: 0, pending: 0, missing: 0 });
  });

  test.for(kinds.flatMap((kind) => (['open', 'sealed'] as const).map((state) => [kind, state] as const)))(
    '%s that was attached by a late addition is missing after it, while the batch is %s',
    async ([kind, state], { testbed }) => {
      const { batch, users, told, batchWorker } = await setUp(testbed, []);
      const id = await KINDS[kind].id(users);
      await batch.add('row', {}, { jobId: id });
      await users.remove(id);
      const parent = { id: batch.id, queue: `${testbed.prefix}:batches` };
      // Registered, and its job not there yet.
      await testbed.redis.sadd(`${testbed.prefix}:batches:${batch.id}:dependencies`, `${testbed.prefix}:users:${id}`);
      await KINDS[kind].add(users);
      expect((await testbed.plainQueue('users').add('row', {}, { jobId: id, parent })).id).toBe(id);
      expect((await users.getJob(id))?.parentKey).toBe(`${testbed.prefix}:batches:${batch.id}`);
      if (state === 'sealed') {
        await sealAndRun(testbed, batch);
      }
      await KINDS[kind].replace(users);
      expect(await users.getJob(id)).toBeUndefined();
      if (state === 'open') {
        await sealAndRun(testbed, batch);
      }
      expect(await batch.status()).toMatchObject({ state: 'running', total: 2, pending: 1, missing: 0 });
      await batchWorker.close();
      testbed.batchWorker(EAGER);
      await expectMissing(batch, told, 1);
    },
  );
});

describe('not missing', () => {
  test.for(['completed', 'failed'] as const)(
    'is a member that had %s when it was cleaned',
    async (state, { testbed }) => {
      const users = testbed.queue('users');
      const told = listen(testbed);
      testbed.batchWorker(EAGER);
      testbed.worker('users', async ({ name }) => {
        if (name === 'bad') throw new Error('bad');
      });
      const batch = await users.createBatch({ on: ON });
      const { id } = await batch.add(state === 'failed' ? 'bad' : 'good', {});
      await eventually(async () => (await users.getJobState(id ?? '')) === state);
      expect(await users.clean(0, 100, state)).toEqual([id]);
      await batch.seal();
      const counts = {
        total: 1,
        succeeded: state === 'failed' ? 0 : 1,
        failed: state === 'failed' ? 1 : 0,
        missing: 0,
      };
      expect(await batch.waitUntilFinished(10_000)).toMatchObject({
        state: state === 'failed' ? 'failed' : 'succeeded',
        ...counts,
      });
      expect(told[0]).toEqual({ name: 'complete', ...counts });
      expect(told).toHaveLength(state === 'failed' ? 1 : 2);
    },
  );

  test('is a member that is running: BullMQ refuses to remove it', async ({ testbed }) => {
    const { users, jobs, batch, told } = await setUp(testbed, [waiting]);
    const held = heldUntilTheEnd(testbed);
    testbed.worker('users', async () => held.opened);
    await sealAndRun(testbed, batch);
    await eventually(async () => (await users.getActiveCount()) === 1);
    await expect(jobs[0]?.remove()).rejects.toThrow('locked');
    await (await testbed.plainQueue('batches').getJob(batch.id))?.removeUnprocessedChildren();
    held.open();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 2, missing: 0 });
    expect(told).toHaveLength(2);
  });
});

describe('a child batch', () => {
  const removals = [
    { call: 'job.remove()', options: undefined, takesMembers: true },
    { call: 'job.remove({ removeChildren: false })', options: { removeChildren: false }, takesMembers: false },
  ];

  test.for(
    removals.flatMap((removal) =>
      (['open', 'sealed'] as const).flatMap((parent) =>
        (['open', 'sealed'] as const).map((child) => ({ ...removal, parent, child })),
      ),
    ),
  )('whose batch job goes by $call is missing; it was $child, its parent $parent', async (row, { testbed }) => {
    const { users, batch: parent, told } = await setUp(testbed, []);
    const child = await parent.createBatch({ on: ON });
    const { id } = await child.add('row', {});
    for (const [batch, state] of [
      [child, row.child],
      [parent, row.parent],
    ] as const) {
      if (state === 'sealed') {
        await sealAndRun(testbed, batch);
      }
    }
    await (await testbed.plainQueue('batches').getJob(child.id))?.remove(row.options);
    await expect(child.status()).rejects.toThrow(BatchNotFoundError);
    if (row.parent === 'open') {
      expect(await parent.status()).toMatchObject({ state: 'open', pending: 0, missing: 1 });
      await parent.seal();
    }
    await expectMissing(parent, told, 1);
    // A member that is left behind is an ordinary job now, and counts nowhere.
    expect((await users.getJob(id ?? '')) === undefined).toBe(row.takesMembers);
    await testbed.worker('users', async () => {}).waitUntilReady();
    await eventually(async () => (await users.getJobCounts('wait', 'active')).wait === 0);
    await eventually(async () => (await users.getCompletedCount()) === (row.takesMembers ? 0 : 1));
    expect(await parent.status()).toMatchObject({ state: 'failed', total: 2, succeeded: 1, missing: 1 });
    const keys = await keysOf(testbed.redis, `${testbed.prefix}:batches:${child.id}`);
    expect(keys).toEqual([]);
  });

  test.for(['open', 'sealed'] as const)(
    'is taken by removeUnprocessedChildren() of its parent, which is %s, with its members',
    async (state, { testbed }) => {
      const { users, batch: parent, told } = await setUp(testbed, []);
      const child = await parent.createBatch({ on: ON });
      const { id } = await child.add('row', {});
      await sealAndRun(testbed, child);
      if (state === 'sealed') {
        await sealAndRun(testbed, parent);
      }
      await (await testbed.plainQueue('batches').getJob(parent.id))?.removeUnprocessedChildren();
      if (state === 'open') {
        await parent.seal();
      }
      await expectMissing(parent, told, 1);
      expect(await users.getJob(id ?? '')).toBeUndefined();
    },
  );

  test('with a missing member is a failed member of its parent', async ({ testbed }) => {
    const { batch: parent, told } = await setUp(testbed, []);
    const child = await parent.createBatch({ on: ON });
    const job = await child.add('row', {});
    await sealAndRun(testbed, child);
    await sealAndRun(testbed, parent);
    await job.remove();
    expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', total: 2, failed: 1, missing: 0 });
    expect(told).toEqual([
      { name: 'complete', total: 1, succeeded: 0, failed: 0, missing: 1 },
      { name: 'complete', total: 2, succeeded: 1, failed: 1, missing: 0 },
    ]);
  });
});
