import { UnrecoverableError } from 'bullmq';
import { type Batch, BatchNotFoundError } from '../../src/index.js';
import { type AnyJob, describe, eventually, expect, test } from '../support/test.js';

const jobs = (length: number, data: unknown = 'good') => Array.from({ length }, () => ({ name: 'job', data }));

describe('tree()', () => {
  test('adds up the jobs of all levels; child batches and callbacks do not count', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.owns('later');
    testbed.batchWorker();
    testbed.worker('users', async (job: AnyJob) => {
      if (job.data === 'bad') throw new UnrecoverableError('no');
    });
    const root = await users.createBatch({ description: 'Organization' });
    await root.addBulk(jobs(1));
    const first = await root.createBatch({ description: 'Users', on: { complete: { name: 'told' } } });
    await first.addBulk([...jobs(3), ...jobs(1, 'bad')]);
    const leaf = await first.createBatch({ description: 'Photos', on: { success: { name: 'told' } } });
    await leaf.addBulk(jobs(5));
    const second = await root.createBatch({ description: 'Orders' });
    await second.addBulk([...jobs(2), ...jobs(4).map((job) => ({ ...job, queue: 'later' }))]);
    const [gone] = await testbed.plainQueue('later').getWaiting();
    await gone?.remove();
    for (const batch of [leaf, first, second, root]) {
      await batch.seal();
    }
    await first.waitUntilFinished(10_000);
    await eventually(async () => (await second.status()).succeeded === 2 && (await root.status()).succeeded === 1);
    const tree = await root.tree();
    expect(tree).toMatchObject({
      id: root.id,
      description: 'Organization',
      state: 'running',
      sealed: true,
      progress: (await root.status()).progress,
      parentId: undefined,
      jobs: { total: 16, pending: 3, succeeded: 11, failed: 1, missing: 1, progress: 81 },
      children: [
        {
          id: first.id,
          description: 'Users',
          state: 'failed',
          parentId: root.id,
          failedReason: '1 of 5 members failed: no',
          jobs: { total: 9, pending: 0, succeeded: 8, failed: 1, missing: 0, progress: 100 },
          children: [
            {
              id: leaf.id,
              description: 'Photos',
              state: 'succeeded',
              jobs: { total: 5, pending: 0, succeeded: 5, failed: 0, missing: 0, progress: 100 },
              children: [],
            },
          ],
        },
        {
          id: second.id,
          description: 'Orders',
          state: 'running',
          jobs: { total: 6, pending: 3, succeeded: 2, failed: 0, missing: 1, progress: 50 },
          children: [],
        },
      ],
    });
    expect(await first.tree()).toEqual(tree.children[0]);
  });

  test('finds the children among many members, settled or not, and more of them than are read at once', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    testbed.owns('later');
    testbed.batchWorker();
    testbed.worker('users', async () => {}, { concurrency: 50 });
    const root = await users.createBatch();
    await root.addBulk([...jobs(600), ...jobs(600).map((job) => ({ ...job, queue: 'later' }))]);
    const children: Batch[] = [];
    for (let n = 0; n < 24; n++) {
      const child = await root.createBatch({ description: `child ${n}` });
      await child.add('job', 'good');
      children.push(child);
    }
    const settled = children.filter((_, n) => n % 2 === 0);
    await Promise.all(settled.map((child) => child.seal()));
    await Promise.all(settled.map((child) => child.waitUntilFinished(20_000)));
    await eventually(async () => (await root.status()).succeeded === 600 + settled.length);
    await eventually(async () =>
      (await Promise.all(children.map((child) => child.status()))).every(({ succeeded }) => succeeded === 1),
    );
    const tree = await root.tree();
    expect(tree.jobs).toEqual({
      total: 1224,
      pending: 600,
      succeeded: 624,
      cancelled: 0,
      failed: 0,
      missing: 0,
      progress: 50,
    });
    expect(tree.children.map(({ id }) => id).sort()).toEqual(children.map(({ id }) => id).sort());
    expect(tree.children.map(({ createdAt }) => createdAt)).toEqual(
      tree.children.map(({ createdAt }) => createdAt).sort((a, b) => a - b),
    );
    expect(tree.children.filter(({ state }) => state === 'succeeded')).toHaveLength(12);
  });

  test('fits on the stack however deep it is', async ({ testbed }) => {
    const users = testbed.queue('users');
    const root = await users.createBatch();
    let deepest = root;
    for (let level = 1; level <= 30; level++) {
      deepest = await deepest.createBatch({ description: `level ${level}` });
      await deepest.add('job', level);
    }
    let tree = await root.tree();
    expect(tree.jobs).toMatchObject({ total: 30, pending: 30 });
    for (let level = 1; level <= 30; level++) {
      tree = tree.children[0] ?? tree;
      expect(tree).toMatchObject({ description: `level ${level}`, jobs: { total: 31 - level } });
    }
  });

  test('does not look at the jobs of a large batch to find its child batches', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const users = testbed.queue('users', { connection: held.connection });
    const root = await users.createBatch();
    await root.addBulk(jobs(3000));
    const children = [await root.createBatch(), await root.createBatch()];
    await held.idle();
    held.countFrom();
    const tree = await root.tree();
    expect(tree.children.map(({ id }) => id).sort()).toEqual(children.map(({ id }) => id).sort());
    expect(tree.jobs).toMatchObject({ total: 3000, pending: 3000 });
    expect(held.commands).toHaveLength(6);
  });

  test('leaves out a child that was removed', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    testbed.worker('users', async () => {});
    const root = await users.createBatch();
    const [kept, removed] = [await root.createBatch(), await root.createBatch()];
    for (const child of [kept, removed]) {
      await child.addBulk(jobs(2));
      await child.seal();
      await child.waitUntilFinished(10_000);
    }
    await removed.remove();
    const tree = await root.tree();
    expect(tree.children.map(({ id }) => id)).toEqual([kept.id]);
    expect(tree.jobs).toEqual({
      total: 2,
      pending: 0,
      succeeded: 2,
      cancelled: 0,
      failed: 0,
      missing: 0,
      progress: 99,
    });
  });

  test('of a batch that is gone is an error', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    const root = await users.addBatch({}, []);
    await root.waitUntilFinished(10_000);
    await root.remove();
    await expect(root.tree()).rejects.toThrow(BatchNotFoundError);
  });
});
