import { removePending } from '../../src/batch/cancel.js';
import { homeOf } from '../../src/batch/home.js';
import { BatchError, BatchFinishedError, BatchNotFoundError, type CallbackBatch } from '../../src/index.js';
import { markCancelled, tellParentOfCancel } from '../../src/redis/cancel.js';
import { markRemoved } from '../../src/redis/purge.js';
import { type AnyJob, type Bench, describe, eventually, expect, gate, keysOf, test } from '../support/test.js';

const ON = { complete: { name: 'complete' }, success: { name: 'success' } };
const rows = (n: number, opts = {}) => Array.from({ length: n }, (_, i) => ({ name: 'row', data: i, opts }));

/** A worker that holds every member until the gate opens; callbacks run at once. */
function holding(bench: Bench, concurrency = 2) {
  const held = gate();
  const running: AnyJob[] = [];
  const ran: { name: string; batch?: CallbackBatch }[] = [];
  bench.worker(
    'users',
    async (job) => {
      if (job.data?.batch === undefined) {
        running.push(job);
        await held.opened;
        if (job.name === 'bad') throw new Error('bad');
      }
      ran.push({ name: job.name, batch: job.data?.batch });
    },
    { concurrency },
  );
  return { held, running, ran, names: () => ran.map(({ name }) => name) };
}

describe('cancel', () => {
  test('removes what has not started, lets what runs end, and complete tells it; success does not fire', async ({
    bench,
  }) => {
    const users = bench.queue('users');
    const { held, running, ran, names } = holding(bench);
    bench.batchWorker();
    const batch = await users.createBatch({ on: ON });
    await batch.addBulk([...rows(20), ...rows(5, { delay: 3_600_000 }), ...rows(5, { priority: 3 })]);
    await batch.seal();
    await eventually(() => running.length === 2);
    expect(await batch.isCancelled()).toBe(false);
    await batch.cancel('wrong file');
    expect(await batch.isCancelled()).toBe(true);
    await eventually(async () => (await batch.status()).cancelled === 28);
    expect(await batch.status()).toMatchObject({ state: 'running', pending: 2, cancelReason: 'wrong file' });
    await expect(batch.add('late', {})).rejects.toThrow(BatchFinishedError);
    await expect(batch.add('late', {})).rejects.toThrow('was cancelled: nothing can be added');
    held.open();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({
      state: 'cancelled',
      total: 30,
      pending: 0,
      succeeded: 2,
      failed: 0,
      cancelled: 28,
      missing: 0,
      progress: 100,
      failedReason: 'cancelled: wrong file',
    });
    expect(names()).toEqual(['row', 'row', 'complete']);
    expect(ran.at(-1)?.batch).toMatchObject({ cancelled: 28, succeeded: 2, cancelReason: 'wrong file' });
    expect(await users.getJobCountByTypes('waiting', 'delayed', 'prioritized')).toBe(0);
    const left = (await keysOf(bench.redis, bench.prefix)).filter((key) => /:users:m\w+-\w+$/.test(key));
    expect(left).toHaveLength(2);
  });

  test('of an open batch needs no seal; a producer that goes on adding is refused', async ({ bench }) => {
    const users = bench.queue('users');
    const { names } = holding(bench);
    bench.batchWorker();
    const batch = await users.createBatch({ on: ON });
    await batch.addBulk(rows(5, { delay: 3_600_000 }));
    await batch.cancel();
    await expect(batch.addBulk(rows(5))).rejects.toThrow(BatchFinishedError);
    await batch.seal();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({
      state: 'cancelled',
      total: 5,
      cancelled: 5,
      failedReason: 'cancelled',
    });
    expect(names()).toEqual(['complete']);
  });

  test('goes down into child batches, which call back too, and is no death in the parent', async ({ bench }) => {
    const users = bench.queue('users');
    const { names } = holding(bench);
    bench.batchWorker();
    const parent = await users.createBatch({ on: { ...ON, death: { name: 'death' } } });
    const child = await parent.createBatch({ on: { complete: { name: 'child complete' } } });
    const grandchild = await child.createBatch({ on: { complete: { name: 'grandchild complete' } } });
    const other = await parent.createBatch();
    await grandchild.addBulk(rows(3, { delay: 3_600_000 }));
    await other.add('fine', {}, { delay: 3_600_000 });
    for (const batch of [grandchild, child, other, parent]) await batch.seal();
    await child.cancel('no longer needed');
    expect(await grandchild.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', cancelled: 3 });
    expect(await child.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', failed: 1 });
    expect(await parent.status()).toMatchObject({ state: 'running', pending: 1, failed: 1 });
    expect(await parent.isCancelled()).toBe(false);
    expect(await other.isCancelled()).toBe(false);
    await parent.cancel();
    expect(await other.isCancelled()).toBe(true);
    expect(await parent.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', failed: 2, cancelled: 0 });
    expect(names()).toEqual(['grandchild complete', 'child complete', 'complete']);
    const reasons: string[] = [];
    for await (const { id, reason } of parent.failures()) if (id === child.id) reasons.push(reason);
    expect(reasons).toEqual(['cancelled: no longer needed; 1 of 1 member failed']);
  });

  test('a running member is not tried again', async ({ bench }) => {
    const users = bench.queue('users');
    const { held, running } = holding(bench);
    bench.batchWorker();
    const batch = await users.addBatch({}, [
      { name: 'bad', data: {}, opts: { attempts: 5, backoff: 3_600_000 } },
      { name: 'row', data: {} },
    ]);
    await eventually(() => running.length === 2);
    await batch.cancel();
    held.open();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', succeeded: 1, cancelled: 1 });
  });

  test('a running member may not add, and can ask whether to stop', async ({ bench }) => {
    const users = bench.queue('users');
    const held = gate();
    const seen: unknown[] = [];
    bench.worker('users', async (job) => {
      const own = await users.batchOf(job);
      seen.push(await own?.isCancelled());
      await held.opened;
      seen.push(await own?.isCancelled());
      await own?.add('more', {}).catch((error) => seen.push(error.name));
    });
    bench.batchWorker();
    const top = await users.createBatch();
    const batch = await top.createBatch();
    await batch.add('row', {});
    await eventually(() => seen.length === 1);
    await top.cancel();
    held.open();
    for (const one of [batch, top]) await one.seal();
    expect(await top.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled' });
    expect(seen).toEqual([false, true, 'BatchFinishedError']);
  });

  test('leaves jobs of others alone, in whatever order the list holds them', async ({ bench }) => {
    const users = bench.queue('users');
    bench.batchWorker();
    const batch = await users.createBatch();
    const others: string[] = [];
    for (let i = 0; i < 6; i++) {
      await users.addBulk(Array.from({ length: 150 }, (_, n) => ({ name: 'other', data: [i, n] })));
      await batch.addBulk(rows(i % 2 === 0 ? 100 : 400));
    }
    for (const { id, name } of await users.getWaiting()) if (name === 'other') others.push(id ?? '');
    expect(others).toHaveLength(900);
    await batch.cancel();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', cancelled: 1500 });
    expect((await users.getWaiting()).map(({ id }) => id)).toEqual(others);
  });

  test('of members in a paused queue, and in several queues', async ({ bench }) => {
    const users = bench.queue('users');
    const mail = bench.plainQueue('mail');
    bench.batchWorker();
    const batch = await users.createBatch();
    await batch.addBulk([...rows(10), ...rows(10).map((row) => ({ ...row, queue: mail }))]);
    await mail.pause();
    await users.add('other', {});
    await batch.cancel();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', cancelled: 20 });
    expect([await users.count(), await mail.count()]).toEqual([1, 0]);
  });

  test('of a batch with nothing left to cancel says so; cancelling twice is harmless', async ({ bench }) => {
    const users = bench.queue('users');
    bench.worker('users', async () => {});
    bench.batchWorker();
    const done = await users.addBatch({}, rows(1));
    await done.waitUntilFinished(15_000);
    await expect(done.cancel()).rejects.toThrow('has nothing left to cancel');
    await expect(done.cancel()).rejects.toThrow(BatchError);
    expect(await done.status()).toMatchObject({ state: 'succeeded' });
    const batch = await users.createBatch();
    await batch.addBulk(rows(3, { delay: 3_600_000 }));
    await batch.cancel('first');
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled' });
    await batch.cancel('second');
    expect(await batch.status()).toMatchObject({ cancelReason: 'first', cancelled: 3 });
    await expect(batch.retry()).rejects.toThrow('was cancelled, and stays so');
    await expect(batch.cancel('')).rejects.toThrow('the reason must be a non-empty string');
    await batch.remove();
    await expect(batch.cancel()).rejects.toThrow(BatchNotFoundError);
    await expect(batch.isCancelled()).rejects.toThrow(BatchNotFoundError);
  });

  test('a member that fails while the batch is being cancelled stays failed', async ({ bench }) => {
    const users = bench.queue('users');
    const { held, running } = holding(bench);
    bench.batchWorker();
    const batch = await users.addBatch({ on: { death: { name: 'death' } } }, [
      { name: 'bad', data: {} },
      { name: 'row', data: {} },
      ...rows(5),
    ]);
    await eventually(() => running.length === 2);
    await batch.cancel();
    held.open();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({
      state: 'cancelled',
      succeeded: 1,
      failed: 1,
      cancelled: 5,
      failedReason: 'cancelled; 1 of 7 members failed',
    });
  });

  test('that is cut short is finished by any BatchWorker', async ({ bench }) => {
    const users = bench.queue('users');
    const batch = await users.createBatch();
    await batch.addBulk([...rows(600), ...rows(600, { delay: 3_600_000 })]);
    await batch.seal();
    // What a process leaves that is killed right after the mark.
    const key = `${bench.prefix}:batches:${batch.id}`;
    await bench.redis.hset(key, 'b:cancelledAt', 1, 'b:needs', 'cancel');
    await bench.redis.zadd(`${bench.prefix}:batches:reconciler:needs:cancels`, 0, batch.id);
    bench.batchWorker();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', cancelled: 1200 });
    await eventually(async () => (await bench.redis.exists(`${bench.prefix}:batches:reconciler:needs:cancels`)) === 0);
  });
});

describe('cancel and what else happens at the same time', () => {
  test('a canceller that was frozen does not touch a later batch with the same id', async ({ bench }) => {
    const users = bench.queue('users');
    const home = await homeOf(users);
    const first = await users.createBatch({ id: 'nightly' });
    await first.addBulk(rows(3));
    await first.cancel();
    await first.remove({ force: true });
    const second = await users.createBatch({ id: 'nightly' });
    await second.addBulk([...rows(3), ...rows(3, { delay: 3_600_000 })]);
    await removePending(home, 'nightly', { reason: undefined });
    expect(await second.status()).toMatchObject({ state: 'open', pending: 6, cancelled: 0 });
    await second.cancel();
  });

  test('a batch that fails only because a child was cancelled is no death further up', async ({ bench }) => {
    const users = bench.queue('users');
    const { names } = holding(bench);
    bench.batchWorker();
    const on = (name: string) => ({ death: { name: `${name} death` }, complete: { name: `${name} complete` } });
    const top = await users.createBatch({ on: on('top') });
    const middle = await top.createBatch({ on: on('middle') });
    const leaf = await middle.createBatch({ on: on('leaf') });
    await leaf.addBulk(rows(2, { delay: 3_600_000 }));
    for (const batch of [leaf, middle, top]) await batch.seal();
    await leaf.cancel();
    expect(await top.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', failed: 1 });
    expect(names()).toEqual(['leaf complete', 'middle complete', 'top complete']);
  });

  test('a cancelled child that is removed by force before it ended hides no later death', async ({ bench }) => {
    const users = bench.queue('users');
    const { redis } = await homeOf(users);
    const parent = await users.createBatch({ on: { death: { name: 'death' } } });
    const child = await parent.createBatch();
    await child.addBulk(rows(1));
    await child.cancel();
    // What a BatchWorker leaves that is killed before the child's batch job has failed.
    await tellParentOfCancel(redis, child.id, parent.id);
    await child.remove({ force: true });
    const { held, names } = holding(bench);
    held.open();
    bench.batchWorker();
    await parent.add('bad', {});
    await parent.seal();
    expect(await parent.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', failed: 1, missing: 1 });
    expect(names()).toEqual(['death']);
  });

  test('retry() of a batch that is being cancelled is refused', async ({ bench }) => {
    const users = bench.queue('users');
    const batch = await users.createBatch();
    await batch.cancel();
    await expect(batch.retry()).rejects.toThrow('was cancelled, and stays so');
  });
});

describe('remove({ force: true })', () => {
  test('cancels and removes an unfinished batch with its children; a parent counts it as missing', async ({
    bench,
  }) => {
    const users = bench.queue('users');
    const { held, running, names } = holding(bench);
    const top = await users.createBatch();
    const batch = await top.createBatch({ on: ON });
    const child = await batch.createBatch({ on: ON });
    await child.addBulk(rows(10));
    await batch.addBulk(rows(10));
    await batch.seal();
    await top.seal();
    await eventually(() => running.length === 2);
    await expect(batch.remove()).rejects.toThrow('pass { force: true }');
    await batch.remove({ force: true });
    await expect(batch.status()).rejects.toThrow(BatchNotFoundError);
    await expect(child.status()).rejects.toThrow(BatchNotFoundError);
    bench.batchWorker();
    held.open();
    expect(await top.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', total: 1, missing: 1 });
    await eventually(() => names().length === 2);
    expect(names()).toEqual(['row', 'row']);
    const left = (await keysOf(bench.redis, bench.prefix)).filter(
      (key) => key.includes(batch.id) || key.includes(child.id),
    );
    expect(left).toEqual([]);
    await expect(batch.remove({ force: 'yes' as never })).rejects.toThrow("force must be true or false, not 'yes'");
  });

  test('removes what a cancel that was cut short has left, here and in child batches', async ({ bench }) => {
    const users = bench.queue('users');
    const { redis } = await homeOf(users);
    const batch = await users.createBatch();
    const child = await batch.createBatch();
    await batch.addBulk(rows(300));
    await child.addBulk(rows(300));
    for (const { id } of [batch, child]) await markCancelled(redis, id, { reason: undefined });
    await batch.remove({ force: true });
    expect(await users.count()).toBe(0);
  });

  test('that is cut short is finished by the reconciler, and its parent counts it as missing', async ({ bench }) => {
    const users = bench.queue('users');
    const { redis } = await homeOf(users);
    const parent = await users.createBatch();
    const child = await parent.createBatch({ id: 'child' });
    await child.addBulk(rows(3));
    await parent.seal();
    await child.cancel();
    await markRemoved(redis, child.id, { force: true });
    bench.batchWorker({ reconcileInterval: 20 });
    expect(await parent.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', total: 1, missing: 1 });
    await expect(child.status()).rejects.toThrow(BatchNotFoundError);
    await eventually(async () => (await keysOf(bench.redis, `${bench.prefix}:batches:child`)).length === 0);
  });
});
