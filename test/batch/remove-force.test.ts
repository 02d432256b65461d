import type { FlowJob } from 'bullmq';
import { contextOf } from '../../src/batch/batch-context.js';
import { removeDropped } from '../../src/batch/cancel.js';
import { Remover } from '../../src/batch/remover.js';
import { BatchNotFoundError } from '../../src/index.js';
import { beginRemoval } from '../../src/record/removal.js';
import { heldBatchWorker } from '../support/interleave.js';
import { jobKeys } from '../support/job-keys.js';
import { type AnyJob, describe, eventually, expect, gate, type Testbed, test } from '../support/test.js';

const AN_HOUR = 3_600_000;
const later = (name: string, opts = {}) => ({ name, data: {}, opts: { delay: AN_HOUR, ...opts } });

/** A worker whose jobs named `held…` wait for the gate, and whose jobs named `bad…` fail then. */
function setUp(testbed: Testbed, options = {}) {
  const users = testbed.queue('users');
  const held = gate();
  testbed.use({ close: async () => held.open() });
  const ran: string[] = [];
  const work = () =>
    testbed.worker(
      'users',
      async ({ name }: AnyJob) => {
        ran.push(name);
        if (/held/.test(name)) await held.opened;
        if (/^bad/.test(name)) throw new Error('no');
      },
      { concurrency: 5, ...options },
    );
  return { users, held, ran, work };
}

/** The keys of jobs and batches, without what the queues keep for themselves. */
async function keysLeft(testbed: Testbed): Promise<string[]> {
  return (await jobKeys(testbed, '', ['paused', 'stalled', 'reconciler:.*'])).sort();
}

const flow = (children: FlowJob[]): FlowJob => ({
  name: 'root',
  queueName: 'users',
  opts: { jobId: 'root' },
  children: [{ name: 'middle', queueName: 'users', opts: { jobId: 'middle' }, children }],
});

const leaf = (name: string, opts = {}) => ({ name, queueName: 'users', opts: { jobId: name, ...opts } });

describe('remove({ force: true }) of a batch with a flow', () => {
  test.for([false, true])(
    'leaves nothing of it but the job that runs, and its ids can be used again (cancelled before: %s)',
    async (isCancelled, { testbed }) => {
      const { users, held, ran, work } = setUp(testbed);
      work();
      const batch = await users.createBatch();
      await batch.addFlow(flow([leaf('held'), leaf('later', { delay: AN_HOUR }), leaf('done')]));
      await eventually(async () => (await users.getCompletedCount()) === 1 && ran.includes('held'));
      if (isCancelled) await batch.cancel();
      await batch.remove({ force: true });
      expect(await keysLeft(testbed)).toEqual(
        ['done', 'held', 'held:lock'].map((name) => `${testbed.prefix}:users:${name}`),
      );
      held.open();
      await eventually(async () => (await users.getCompletedCount()) === 2);
      await users.remove('held');
      await users.remove('done');
      ran.length = 0;
      testbed.batchWorker();
      const again = await users.createBatch();
      await again.addFlow(flow([leaf('held'), leaf('done')]));
      await again.seal();
      expect(await again.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1 });
      expect(ran.sort()).toEqual(['done', 'held', 'middle', 'root']);
    },
  );

  test('takes what still waits below a root that has failed; with members also the root', async ({ testbed }) => {
    const { users, work } = setUp(testbed);
    work();
    for (const members of [false, true]) {
      const batch = await users.createBatch();
      const fails = { failParentOnFailure: true };
      const below = [leaf('bad', fails), leaf('later', { delay: AN_HOUR }), leaf('other', { delay: AN_HOUR })];
      const { children = [], ...root } = flow(below);
      await batch.addFlow({
        ...root,
        children: children.map((child) => ({ ...child, opts: { ...child.opts, ...fails } })),
      });
      await eventually(async () => (await users.getFailedCount()) === 3);
      await batch.remove({ force: true, members });
      const left = members ? [] : ['bad', 'middle', 'middle:unsuccessful', 'root', 'root:unsuccessful'];
      expect(await keysLeft(testbed)).toEqual(left.map((name) => `${testbed.prefix}:users:${name}`));
      for (const id of ['root', 'middle', 'bad']) await users.remove(id);
    }
  });

  test('removes thousands of jobs below one root, and searches no list for those above them', async ({ testbed }) => {
    const { users } = setUp(testbed);
    await users.addBulk(Array.from({ length: 600 }, () => ({ name: 'stranger', data: {} })));
    const held = await testbed.heldConnection();
    const batch = await testbed.queue('users', { connection: held.connection }).createBatch();
    await batch.addFlow(flow([leaf('first', { delay: AN_HOUR })]));
    const parent = { id: 'middle', queue: `${testbed.prefix}:users` };
    const leaves = Array.from({ length: 2500 }, (_, n) => later(`leaf ${n}`, { parent }));
    await testbed.plainQueue('users').addBulk(leaves);
    await held.idle();
    held.countFrom();
    await batch.remove({ force: true });
    expect(held.commands.filter((name) => name === 'takeApart').length).toBeGreaterThan(3);
    expect(held.commands).not.toContain('removeDropped');
    expect((await keysLeft(testbed)).length).toBe(600);
    expect(await users.getJobCountByTypes('delayed', 'waiting-children')).toBe(0);
  });
});

describe('remove({ force: true }) while members run', () => {
  test.for(['held', 'bad held'])(
    'lets them end outside of any batch: a later one with the same id is not told (%s)',
    async (name, { testbed }) => {
      const { users, held, work } = setUp(testbed);
      work();
      const first = await users.createBatch({ id: 'nightly' });
      const job = await first.add(name, {});
      await eventually(() => job.isActive());
      await first.remove({ force: true });
      testbed.batchWorker();
      const second = await users.createBatch({ id: 'nightly' });
      // As somebody does who knows no batches: the second batch now waits for a job with the same name.
      await testbed.redis.sadd(`${testbed.prefix}:batches:nightly:dependencies`, `${testbed.prefix}:users:${job.id}`);
      held.open();
      await eventually(async () => (await job.getState()) === (name === 'held' ? 'completed' : 'failed'));
      expect(await testbed.redis.hmget(`${testbed.prefix}:users:${job.id}`, 'parentKey', 'parent')).toEqual([
        null,
        null,
      ]);
      expect(await second.status()).toMatchObject({ succeeded: 0, failed: 0, pending: 1 });
    },
  );

  test('does not let them be tried again', async ({ testbed }) => {
    const { users, held, ran, work } = setUp(testbed);
    work();
    const batch = await users.createBatch();
    const job = await batch.add('bad held', {}, { attempts: 3 });
    await eventually(() => job.isActive());
    await batch.remove({ force: true });
    held.open();
    await eventually(async () => (await keysLeft(testbed)).length === 0);
    expect(ran).toEqual(['bad held']);
  });

  test('removes a callback that runs for good: it does not run once more when its worker stalls', async ({
    testbed,
  }) => {
    const { users, held, ran, work } = setUp(testbed, {
      lockDuration: 500,
      stalledInterval: 50,
      skipLockRenewal: true,
    });
    work();
    testbed.batchWorker();
    const batch = await users.addBatch({ on: { complete: { name: 'held complete' } } }, [{ name: 'member', data: {} }]);
    await eventually(() => ran.includes('held complete'));
    await batch.remove({ force: true, members: true });
    expect(await keysLeft(testbed)).toEqual([]);
    expect(await testbed.redis.lrange(`${testbed.prefix}:users:active`, 0, -1)).toEqual([]);
    // Two looks for jobs whose worker has stalled: the first one marks, the second moves them.
    for (let looks = 0; looks < 3; looks++) {
      await testbed.redis.del(`${testbed.prefix}:users:stalled-check`);
      await eventually(async () => (await testbed.redis.exists(`${testbed.prefix}:users:stalled-check`)) === 1);
    }
    held.open();
    const probe = await users.add('probe', {});
    await eventually(() => probe.isCompleted());
    expect(ran).toEqual(['member', 'held complete', 'probe']);
  });
});

describe('remove({ force: true }) of what waits in a long list', () => {
  test.for([false, true])(
    'takes members, jobs of flows and callbacks, and leaves those of others in their order (paused: %s)',
    async (isPaused, { testbed }) => {
      const { users, work } = setUp(testbed);
      if (isPaused) await users.pause();
      const strangers = (n: number) =>
        users.addBulk(Array.from({ length: n }, (_, i) => ({ name: `stranger ${i}`, data: {} })));
      const before = await strangers(400);
      const batch = await users.createBatch({ on: { complete: { name: 'complete' } } });
      await batch.addFlow(flow([leaf('a'), leaf('b')]));
      await batch.addBulk(Array.from({ length: 700 }, () => ({ name: 'member', data: {} })));
      const between = await strangers(300);
      await batch.addBulk(Array.from({ length: 100 }, () => ({ name: 'member', data: {} })));
      const child = await batch.createBatch({ on: { complete: { name: 'complete' } } });
      await child.seal();
      testbed.batchWorker();
      await eventually(async () => (await child.status()).callbacks[0]?.state === 'enqueued');
      const after = await strangers(200);
      await batch.remove({ force: true });
      const lists = await Promise.all(
        ['wait', 'paused'].map((list) => testbed.redis.lrange(`${testbed.prefix}:users:${list}`, 0, -1)),
      );
      const waiting = lists.flat().reverse();
      expect(waiting).toEqual([...before, ...between, ...after].map(({ id }) => id));
      expect((await keysLeft(testbed)).length).toBe(900);
      await users.resume();
      work();
      await eventually(async () => (await users.getCompletedCount()) === 900);
    },
  );

  test('takes what is below a job in it, but leaves what a running member waits for', async ({ testbed }) => {
    const { users, ran, work } = setUp(testbed);
    const worker = work();
    const batch = await users.createBatch();
    const running = await batch.add('held', {});
    await eventually(() => running.isActive());
    await batch.addFlow({ name: 'root', queueName: 'users', opts: { jobId: 'root' }, children: [leaf('done')] });
    await worker.pause(true);
    await users.addBulk(Array.from({ length: 600 }, () => ({ name: 'stranger', data: {} })));
    const parent = { id: running.id ?? '', queue: `${testbed.prefix}:users` };
    const below = await testbed.plainQueue('users').add('below', {}, { parent });
    await batch.add('member', {});
    await batch.remove({ force: true, members: true });
    const left = (await keysLeft(testbed)).filter((key) => /:(root|done)/.test(key));
    expect(left).toEqual([]);
    expect(await below.isWaiting()).toBe(true);
    expect(ran).toContain('held');
  });

  test('leaves members far inside of it to the workers, which do not run them', async ({ testbed }) => {
    const { users, ran, work } = setUp(testbed);
    const wait = `${testbed.prefix}:users:wait`;
    const strangers = Array.from({ length: 110_000 }, (_, n) => `stranger-${n}`);
    await testbed.redis.lpush(wait, ...strangers);
    const batch = await users.createBatch();
    await batch.addBulk([1, 2, 3].map((n) => ({ name: 'member', data: n })));
    await testbed.redis.lpush(wait, ...strangers);
    await batch.remove({ force: true });
    expect(await testbed.redis.llen(wait)).toBe(220_003);
    const left = await testbed.redis.lrange(wait, 110_000, 110_002);
    expect((await keysLeft(testbed)).sort()).toEqual(left.map((id) => `${testbed.prefix}:users:${id}`).sort());
    // What is around them would take the worker a while.
    await testbed.redis.ltrim(wait, 110_000, 110_002);
    work();
    await eventually(async () => (await keysLeft(testbed)).length === 0);
    expect(ran).toEqual([]);
  });

  test('goes on in the next turn where the last one has stopped, and leaves the list to another service', async ({
    testbed,
  }) => {
    const { users } = setUp(testbed);
    const context = await contextOf(users);
    const batch = await users.createBatch({ id: 'nightly' });
    await batch.addBulk(Array.from({ length: 1500 }, () => ({ name: 'member', data: {} })));
    await users.addBulk(Array.from({ length: 3000 }, () => ({ name: 'stranger', data: {} })));
    const { nonce } = JSON.parse((await testbed.redis.hget(`${testbed.prefix}:batches:nightly`, 'data')) ?? '');
    const extent = { members: false, force: true };
    await beginRemoval(context.redis, batch.id, { how: 'remove', nonce, extent, holder: 'killed' });
    await testbed.redis.hset(`${testbed.prefix}:batches:nightly`, 'b:removal', 'killed 0 force');
    let turns = 1;
    while ((await new Remover(context, 2).remove(batch.id, { how: 'continue' })) !== 'done') turns += 1;
    expect(turns).toBeGreaterThan(3);
    await removeDropped(context);
    expect(await users.getJobCountByTypes('waiting')).toBe(3000);
    expect((await keysLeft(testbed)).length).toBe(3000);
  });
});

test.for(['-other', ':other'])(
  'a stranger from the prefix …%s among what a batch waits for is left alone by its removal',
  async (ending, { testbed }) => {
    const { users } = setUp(testbed);
    testbed.owns('other');
    const others = testbed.plainQueue('strangers', { prefix: `${testbed.prefix}${ending}` });
    for (const isSettled of [false, true]) {
      const batch = await users.createBatch();
      const parent = { id: batch.id, queue: `${testbed.prefix}:batches` };
      const stranger = await others.add('stranger', {}, { parent });
      await batch.addBulk([later('member')]);
      const key = `${testbed.prefix}:batches:${batch.id}`;
      const strangerKey = `${testbed.prefix}${ending}:strangers:${stranger.id}`;
      if (isSettled) {
        await testbed.redis.srem(`${key}:dependencies`, strangerKey);
        await testbed.redis.hset(`${key}:failed`, strangerKey, 'no');
      }
      await batch.remove({ force: true, members: true });
      expect((await keysLeft(testbed)).filter((left) => !left.includes('other:'))).toEqual([]);
      expect(await stranger.isWaiting()).toBe(true);
      await stranger.remove();
    }
  },
);

test('a job that has another parent by now, or none, is no member any more, and stays', async ({ testbed }) => {
  const { users, work } = setUp(testbed);
  work();
  testbed.batchWorker();
  const batch = await users.addBatch({}, [
    { name: 'member', data: {}, opts: { jobId: 'u1' } },
    { name: 'member', data: {}, opts: { jobId: 'u2' } },
  ]);
  await batch.waitUntilFinished(10_000);
  await users.remove('u1');
  await users.remove('u2');
  const mine = await users.add('mine', {}, { jobId: 'u1', delay: AN_HOUR });
  const other = await users.createBatch();
  const others = await other.add('member of another', {}, { jobId: 'u2', delay: AN_HOUR });
  await batch.remove({ members: true });
  expect(await mine.isDelayed()).toBe(true);
  expect(await others.isDelayed()).toBe(true);
  expect(await other.status()).toMatchObject({ total: 1, pending: 1 });
});

test('what is attached by hand while a removal waits for a BatchWorker goes with the batch', async ({ testbed }) => {
  const { users } = setUp(testbed);
  const batch = await users.createBatch();
  const lock = `${testbed.prefix}:batches:${batch.id}:lock`;
  await testbed.redis.set(lock, 'of a BatchWorker');
  const removing = batch.remove({ force: true });
  await eventually(() => testbed.redis.hexists(`${testbed.prefix}:batches:${batch.id}`, 'b:removal'));
  const parent = { id: batch.id, queue: `${testbed.prefix}:batches` };
  await testbed.plainQueue('users').add('late', {}, { parent, delay: AN_HOUR });
  await testbed.redis.del(lock);
  await removing;
  expect(await keysLeft(testbed)).toEqual([]);
});

test('isCancelled() says so to what runs below a batch while that is removed', async ({ testbed }) => {
  const { users } = setUp(testbed);
  const batch = await users.createBatch();
  const child = await batch.createBatch();
  const lock = `${testbed.prefix}:batches:${child.id}:lock`;
  await testbed.redis.set(lock, 'of a BatchWorker');
  const removing = batch.remove({ force: true });
  await eventually(() => testbed.redis.hexists(`${testbed.prefix}:batches:${child.id}`, 'b:removal'));
  expect(await batch.isCancelled()).toBe(true);
  expect(await child.isCancelled()).toBe(true);
  await testbed.redis.del(lock);
  await removing;
  await expect(child.isCancelled()).rejects.toThrow(BatchNotFoundError);
});

test('a BatchWorker whose batch is removed meanwhile lets go of it without an error', async ({ testbed }) => {
  const held = await testbed.heldConnection();
  const worker = await heldBatchWorker(testbed, held);
  const errors: Error[] = [];
  worker.on('error', (error) => errors.push(error));
  const batch = await testbed.queue('users').createBatch();
  await held.idle();
  held.countFrom();
  held.holdBefore(3);
  const sealing = batch.seal().then(() => batch.waitUntilFinished(10_000).catch(() => {}));
  await held.heldOrEnded(sealing);
  const removing = batch.remove({ force: true });
  await eventually(() => testbed.redis.hexists(`${testbed.prefix}:batches:${batch.id}`, 'b:removal'));
  held.release();
  await removing;
  await held.idle();
  expect(errors).toEqual([]);
  expect(await keysLeft(testbed)).toEqual([]);
});
