import { contextOf } from '../../src/batch/batch-context.js';
import type { CallbackBatch } from '../../src/index.js';
import { callbacksDone, needMaintenance } from '../../src/record/amend.js';
import { takeLease } from '../../src/record/lease.js';
import { batchesNeeding } from '../../src/record/needs.js';
import { type AnyJob, describe, eventually, expect, gate, type Testbed, test } from '../support/test.js';

/**
 * Members named `bad…` fail at once, `held…` wait for the gate; callbacks run at once, those named `stuck…` at the
 * gate.
 */
function setUp(testbed: Testbed, concurrency = 20) {
  const users = testbed.queue('users');
  const held = gate();
  const told: { name: string; batch: CallbackBatch }[] = [];
  const ran: string[] = [];
  testbed.worker(
    'users',
    async (job: AnyJob) => {
      if (job.data?.batch) told.push({ name: job.name, batch: job.data.batch });
      if (job.name.startsWith('held') || job.name.startsWith('stuck')) await held.opened;
      if (job.name.startsWith('bad')) throw new Error('bad');
      ran.push(job.name);
    },
    { concurrency },
  );
  return { users, held, told, ran, names: () => told.map(({ name }) => name) };
}

const job = (name: string, opts = {}) => ({ name, data: {}, opts });

describe('death', () => {
  test('is enqueued while others still run, once, in the batch and in every batch above', async ({ testbed }) => {
    const { users, held, told, names } = setUp(testbed);
    testbed.batchWorker();
    const top = await users.createBatch({ on: { death: { name: 'top' }, complete: { name: 'top complete' } } });
    const middle = await top.createBatch();
    const leaf = await middle.createBatch({ on: { death: [{ name: 'leaf 0' }, { name: 'leaf 1', data: { x: 1 } }] } });
    await leaf.addBulk([job('held'), job('bad'), job('bad'), job('good')]);
    await eventually(() => told.length === 3);
    expect(names().sort()).toEqual(['leaf 0', 'leaf 1', 'top']);
    expect(await leaf.status()).toMatchObject({ state: 'open', pending: 1, failed: 2 });
    expect(told.find(({ name }) => name === 'leaf 0')?.batch).toMatchObject({ event: 'death', total: 4 });
    for (const batch of [leaf, middle, top]) await batch.seal();
    held.open();
    expect(await top.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', failed: 1 });
    expect(names().sort()).toEqual(['leaf 0', 'leaf 1', 'top', 'top complete']);
  });

  test('comes before complete in a batch that finishes between two sweeps', async ({ testbed }) => {
    const { users, names } = setUp(testbed);
    testbed.batchWorker({ sweepInterval: 3_600_000 });
    const top = await users.createBatch({ on: { death: { name: 'top death' }, complete: { name: 'top complete' } } });
    const batch = await top.createBatch({ on: { death: { name: 'death' }, complete: { name: 'complete' } } });
    await batch.addBulk([job('bad'), job('good')]);
    await batch.seal();
    await batch.waitUntilFinished(15_000);
    await top.seal();
    await top.waitUntilFinished(15_000);
    expect(names().indexOf('top death')).toBeLessThan(names().indexOf('top complete'));
    expect(names().sort()).toEqual(['complete', 'death', 'top complete', 'top death']);
  });

  test('is enqueued once when many members fail at the same moment', async ({ testbed }) => {
    const { users, names } = setUp(testbed, 200);
    testbed.batchWorker();
    testbed.batchWorker();
    const top = await users.createBatch({ on: { death: { name: 'top' } } });
    const batch = await top.createBatch({ on: { death: { name: 'death' } } });
    await batch.addBulk(Array.from({ length: 4000 }, () => job('bad')));
    await batch.seal();
    await top.seal();
    expect(await top.waitUntilFinished(20_000)).toMatchObject({ state: 'failed' });
    expect(names().sort()).toEqual(['death', 'top']);
  });

  test('is not a failed attempt, nor a callback that failed, nor a missing member', async ({ testbed }) => {
    const { users, names } = setUp(testbed);
    testbed.batchWorker({ reconcileInterval: 20, missingAfter: 1 });
    const death = { name: 'death' };
    const again = await users.createBatch({ on: { death } });
    await again.add('bad', {}, { attempts: 2, backoff: 3_600_000 });
    await eventually(async () => (await users.getDelayedCount()) === 1);
    const callback = await users.addBatch({ on: { death, complete: { name: 'bad complete' } } }, [job('good')]);
    const missing = await users.createBatch({ on: { death } });
    const gone = await missing.add('gone', {}, { delay: 3_600_000 });
    await users.remove(gone.id ?? '');
    await missing.seal();
    expect(await callback.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', failed: 0 });
    expect(await missing.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', missing: 1 });
    expect(names()).toEqual(['bad complete']);
    await again.cancel();
  });

  test('a death callback that is still running does not hold complete back', async ({ testbed }) => {
    const { users, held, names } = setUp(testbed);
    testbed.batchWorker();
    const last = gate();
    testbed.worker('last', async () => last.opened);
    const on = { death: { name: 'stuck death' }, complete: { name: 'complete' } };
    const batch = await users.addBatch({ on }, [job('bad'), { ...job('last'), queue: 'last' }]);
    await eventually(() => names().length === 1);
    expect(names()).toEqual(['stuck death']);
    last.open();
    await eventually(() => names().length === 2);
    expect(names()).toEqual(['stuck death', 'complete']);
    expect(await batch.status()).toMatchObject({ state: 'finishing' });
    held.open();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', failed: 1 });
  });

  test('does not wait behind what has time: first runs of many, and members being removed', async ({ testbed }) => {
    const { users, names } = setUp(testbed);
    const later = job('later', { delay: 3_600_000 });
    for (let i = 0; i < 300; i++) {
      await users.addBatch({ on: { attempted: { name: 'attempted' } } }, [later]);
    }
    const large = await users.createBatch({ onFailure: 'cancel' });
    await large.addBulk(Array.from({ length: 20_000 }, () => later));
    await large.add('bad', {});
    const batch = await users.createBatch({ on: { death: { name: 'death' } } });
    await batch.add('bad', {});
    await eventually(async () => (await batch.status()).failed === 1 && (await large.status()).failed === 1);
    testbed.batchWorker();
    await eventually(() => names().length === 1);
    expect(names()).toEqual(['death']);
    expect((await large.status()).pending).toBeGreaterThan(0);
    await batch.seal();
  });

  test('costs a batch nothing that does not ask for it: it is not on the list', async ({ testbed }) => {
    const { users } = setUp(testbed);
    const list = `${testbed.prefix}:batches:reconciler:needs:failures`;
    const plain = await users.createBatch({ on: { complete: { name: 'complete' } } });
    await plain.createBatch();
    expect(await testbed.redis.exists(list)).toBe(0);
    const dying = await users.createBatch({ on: { death: { name: 'death' } } });
    const child = await dying.createBatch();
    expect((await testbed.redis.zrange(list, '0', '-1')).sort()).toEqual([dying.id, child.id].sort());
    await child.add('bad', {});
    testbed.batchWorker();
    await eventually(async () => (await testbed.redis.exists(list)) === 0);
    for (const batch of [plain, child, dying]) await batch.seal();
  });
});

describe('what a batch needs', () => {
  async function needing(testbed: Testbed) {
    const users = testbed.queue('users');
    const { redis } = await contextOf(users);
    const { id } = await users.createBatch({ on: { death: { name: 'death' } } });
    const key = `${testbed.prefix}:batches:${id}`;
    const life = { id, nonce: String(await testbed.redis.hget(key, 'b:nonce')) };
    await takeLease(redis, 'me', 60_000);
    await needMaintenance(redis, id, ['callbacks']);
    return {
      ...{ id, life, redis },
      dueNow: async () => (await batchesNeeding(redis, 'callbacks', { cursor: '0', count: 10, round: 1 })).due,
      needs: () => testbed.redis.hget(key, 'b:needs'),
    };
  }

  test('is not forgotten when it needs it again while it is attended to', async ({ testbed }) => {
    const { id, life, redis, dueNow, needs } = await needing(testbed);
    expect(await dueNow()).toEqual([id]);
    await needMaintenance(redis, id, ['callbacks']);
    await callbacksDone(redis, life, { who: 'me', isRunning: false });
    expect(await dueNow()).toEqual([id]);
    // A leader that has lost the lead, or means an earlier batch with this id, has no say in it.
    await callbacksDone(redis, life, { who: 'another', isRunning: false });
    await callbacksDone(redis, { ...life, nonce: 'earlier' }, { who: 'me', isRunning: false });
    expect(await needs()).toBe('death callbacks?');
    await callbacksDone(redis, life, { who: 'me', isRunning: false });
    expect(await dueNow()).toEqual([]);
    expect(await testbed.redis.exists(`${testbed.prefix}:batches:reconciler:needs:callbacks`)).toBe(0);
    expect(await needs()).toBe('death');
  });

  test('is seen to again when the leader that attended to it died, also while the batch is open', async ({
    testbed,
  }) => {
    const { id, life, redis, dueNow } = await needing(testbed);
    expect(await dueNow()).toEqual([id]);
    expect(await dueNow()).toEqual([id]);
    // Its callbacks run: what is left is to see complete, which an open batch cannot come to.
    await callbacksDone(redis, life, { who: 'me', isRunning: true });
    expect(await dueNow()).toEqual([]);
    await testbed.redis.hset(`${testbed.prefix}:batches:${id}`, 'b:sealedAt', 1);
    expect(await dueNow()).toEqual([id]);
  });
});

describe('onFailure', () => {
  test("'cancel': the first permanent failure cancels the rest", async ({ testbed }) => {
    const { users, held, names } = setUp(testbed);
    testbed.batchWorker();
    const batch = await users.addBatch(
      { onFailure: 'cancel', on: { complete: { name: 'complete' }, success: { name: 'success' } } },
      [job('bad'), job('held'), ...Array.from({ length: 20 }, () => job('later', { delay: 3_600_000 }))],
    );
    await eventually(async () => (await batch.status()).cancelled === 20);
    expect(await batch.isCancelled()).toBe(true);
    held.open();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({
      state: 'cancelled',
      succeeded: 1,
      failed: 1,
      cancelled: 20,
      cancelReason: 'onFailure: 1 of 22 members failed',
    });
    expect(names()).toEqual(['complete']);
  });

  test.for([
    [{ cancelAfter: 3 }, 3],
    [{ cancelAfter: '20%' }, 2],
  ] as const)('%o of 10 members: cancels at %i failures, not before', async ([onFailure, limit], { testbed }) => {
    const { users, held } = setUp(testbed);
    testbed.batchWorker();
    const batch = await users.createBatch({ onFailure });
    await batch.addBulk(Array.from({ length: limit - 1 }, () => job('bad')));
    const last = await batch.add('bad', {}, { delay: 3_600_000 });
    await batch.addBulk(
      Array.from({ length: 10 - limit }, (_, i) => job('later', { delay: 3_600_000, jobId: `l${i}` })),
    );
    await batch.seal();
    // Another batch that is cancelled by now shows that the sweep has come by.
    const witness = await users.addBatch({ onFailure: 'cancel' }, [job('bad'), job('later', { delay: 3_600_000 })]);
    await eventually(async () => (await batch.status()).failed === limit - 1);
    expect(await witness.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled' });
    expect(await batch.isCancelled()).toBe(false);
    await last.promote();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({
      state: 'cancelled',
      failed: limit,
      cancelled: 10 - limit,
    });
    held.open();
  });

  test('{ succeedIf }: enough successes are a success, here and in the parent', async ({ testbed }) => {
    const { users, names } = setUp(testbed);
    testbed.batchWorker();
    const on = { complete: { name: 'complete' }, success: { name: 'success' } };
    const top = await users.createBatch();
    const batch = await top.createBatch({ onFailure: { succeedIf: '75%' }, on });
    await batch.addBulk([job('good'), job('good'), job('good'), job('bad')]);
    await batch.seal();
    await top.seal();
    expect(await top.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded', succeeded: 1 });
    expect(await batch.status()).toMatchObject({ state: 'succeeded', failed: 1, recovered: false });
    expect(names()).toEqual(['complete', 'success']);
    const strict = await users.addBatch({ onFailure: { succeedIf: '76%' } }, [
      job('good'),
      job('good'),
      job('good'),
      job('bad'),
    ]);
    expect(await strict.waitUntilFinished(15_000)).toMatchObject({ state: 'failed' });
  });

  test("'allow': despite failures the batch and its parent succeed, unless a member is missing or cancelled", async ({
    testbed,
  }) => {
    const { users, names } = setUp(testbed);
    testbed.batchWorker({ missingAfter: 100, reconcileInterval: 100 });
    const on = { complete: { name: 'complete' }, success: { name: 'success' }, death: { name: 'death' } };
    const top = await users.createBatch();
    const batch = await top.createBatch({ onFailure: 'allow', on });
    await batch.addBulk([job('bad'), job('good'), job('bad')]);
    await batch.seal();
    await top.seal();
    expect(await top.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded', succeeded: 1 });
    expect(await batch.status()).toMatchObject({ state: 'succeeded', succeeded: 1, failed: 2, recovered: false });
    expect((await batch.failuresPage()).failures).toHaveLength(2);
    expect(names().sort()).toEqual(['complete', 'death', 'success']);

    const hopeless = await users.addBatch({ onFailure: 'allow' }, [job('bad')]);
    expect(await hopeless.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded', failed: 1 });

    const short = await users.createBatch({ onFailure: 'allow' });
    const lost = await short.add('late', {}, { delay: 3_600_000 });
    await users.remove(lost.id ?? '');
    await short.seal();
    expect(await short.waitUntilFinished(15_000)).toMatchObject({ state: 'failed', missing: 1 });
  });

  test.for([
    ['stop', "onFailure must be 'continue', 'allow', 'cancel' or { cancelAfter?, succeedIf? }, not 'stop'"],
    [{}, "onFailure needs 'cancelAfter' or 'succeedIf'"],
    [{ cancelafter: 1 }, "Did you mean 'cancelAfter'?"],
    [{ cancelAfter: 0 }, 'must be a positive integer or a percentage'],
    [{ cancelAfter: '5' }, "must be a percentage from above 0% to 100%, like '5%', not '5'"],
    [{ succeedIf: '0%' }, 'onFailure.succeedIf must be a percentage'],
    [{ succeedIf: 0.9 }, 'onFailure.succeedIf must be a percentage'],
  ] as const)('refuses %o', async ([onFailure, message], { testbed }) => {
    const users = testbed.queue('users');
    await expect(users.createBatch({ onFailure: onFailure as never })).rejects.toThrow(message);
    expect(await users.getBatchCounts()).toMatchObject({ open: 0 });
  });
});

describe('attempted', () => {
  test('is enqueued once every member has run, while retries are outstanding', async ({ testbed }) => {
    const { users, held, told, names } = setUp(testbed);
    testbed.batchWorker();
    const on = { attempted: { name: 'attempted' }, complete: { name: 'complete' } };
    const batch = await users.createBatch({ on });
    await batch.addBulk(Array.from({ length: 700 }, () => job('bad', { attempts: 2, backoff: 3_600_000 })));
    const later = await batch.add('good', {}, { delay: 3_600_000 });
    await batch.seal();
    await eventually(async () => (await users.getDelayedCount()) === 701);
    const witness = await users.addBatch({ on: { attempted: { name: 'witness' } } }, [
      job('bad', { attempts: 2, backoff: 3_600_000 }),
    ]);
    await eventually(() => names().includes('witness'));
    expect(names()).toEqual(['witness']);
    await later.promote();
    await eventually(() => names().includes('attempted'));
    expect(told.at(-1)?.batch).toMatchObject({ event: 'attempted', total: 701, pending: 700, succeeded: 1 });
    for (const one of [witness, batch]) await one.cancel();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', cancelled: 700 });
    expect(names()).toEqual(['witness', 'attempted', 'complete']);
    held.open();
  });

  test('comes with complete in a batch that finishes first, and waits for child batches', async ({ testbed }) => {
    const { users, held, names } = setUp(testbed);
    testbed.batchWorker();
    const on = { attempted: { name: 'attempted' }, complete: { name: 'complete' } };
    const batch = await users.createBatch({ on });
    const child = await batch.createBatch();
    await child.add('held', {});
    await batch.add('good', {});
    for (const one of [child, batch]) await one.seal();
    await eventually(async () => (await batch.status()).succeeded === 1);
    // As after a step of a BatchWorker that has failed: the batch job counts its attempts too.
    await testbed.redis.hset(`${testbed.prefix}:batches:${child.id}`, 'atm', 1);
    const later = job('bad', { attempts: 2, backoff: 3_600_000 });
    for (const witness of ['first', 'second']) {
      // When the second one is called, the round that has called the first one has ended.
      await users.addBatch({ on: { attempted: { name: witness } } }, [later]);
      await eventually(() => names().includes(witness));
    }
    expect(names()).toEqual(['first', 'second']);
    held.open();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded' });
    expect(names().sort()).toEqual(['attempted', 'complete', 'first', 'second']);
  });
});

describe('batch.on()', () => {
  test('before the event is one more callback; createBatch with the same id still agrees', async ({ testbed }) => {
    const { users, names } = setUp(testbed);
    testbed.batchWorker();
    const options = { id: 'import-1', on: { complete: { name: 'first' } } };
    const batch = await users.createBatch(options);
    await batch.on('complete', { name: 'second', data: { x: 1 } });
    await batch.on('success', { name: 'third' });
    expect((await users.createBatch(options)).created).toBe(false);
    await batch.add('good', {});
    await batch.seal();
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded' });
    expect(names().sort()).toEqual(['first', 'second', 'third']);
    expect(names().at(-1)).toBe('third');
    const results = [];
    for await (const { id } of batch.results()) results.push(id);
    expect(results).toHaveLength(1);
  });

  test('after the event enqueues it at once; for an event that has not happened it waits', async ({ testbed }) => {
    const { users, told, names } = setUp(testbed);
    testbed.batchWorker({ sweepInterval: 3_600_000 });
    const good = await users.addBatch({}, [job('good')]);
    await good.waitUntilFinished(15_000);
    await good.on('success', { name: 'late success' });
    await good.on('complete', { name: 'late complete' });
    await good.on('death', { name: 'late death' });
    await eventually(() => told.length === 2);
    expect(names().sort()).toEqual(['late complete', 'late success']);
    const bad = await users.addBatch({}, [job('bad'), job('good')]);
    await bad.waitUntilFinished(15_000);
    await bad.on('death', { name: 'death of bad' });
    await bad.on('success', { name: 'success of bad' });
    await eventually(() => told.length === 3);
    expect(told.at(-1)).toMatchObject({ name: 'death of bad', batch: { total: 2, failed: 1, event: 'death' } });
    await eventually(async () => (await bad.status()).callbacks[0]?.state === 'succeeded');
    expect((await bad.status()).callbacks.map(({ event, state }) => [event, state])).toEqual([
      ['death', 'succeeded'],
      ['success', 'pending'],
    ]);
  });

  test("'death' on a batch whose children were there before hears of their failures", async ({ testbed }) => {
    const { users, told, held } = setUp(testbed);
    const top = await users.createBatch();
    const middle = await top.createBatch();
    const leaf = await middle.createBatch();
    await top.on('death', { name: 'death' });
    testbed.batchWorker();
    await leaf.addBulk([job('held'), job('bad')]);
    await eventually(() => told.length === 1);
    expect(told).toMatchObject([{ name: 'death', batch: { id: top.id } }]);
    for (const batch of [leaf, middle, top]) await batch.seal();
    held.open();
    expect(await top.waitUntilFinished(15_000)).toMatchObject({ state: 'failed' });
    expect(told).toHaveLength(1);
  });

  test("'success' waits for complete, also when the members have succeeded already", async ({ testbed }) => {
    const { users, names } = setUp(testbed);
    for (const complete of ['complete', 'bad complete']) {
      const batch = await users.addBatch({ on: { complete: { name: complete } } }, [job('good')]);
      await eventually(async () => (await batch.status()).pending === 0);
      await batch.on('success', { name: `success after ${complete}` });
    }
    expect(names()).toEqual([]);
    testbed.batchWorker();
    await eventually(() => names().length === 3);
    await eventually(async () => (await users.getBatches('running')).length === 0);
    expect(names().sort()).toEqual(['bad complete', 'complete', 'success after complete']);
  });

  test('on a finished batch whose callback runs for long does not open it, or its parent, again', async ({
    testbed,
  }) => {
    const { users, held, told } = setUp(testbed);
    const worker = testbed.batchWorker({ reconcileInterval: 20 });
    const parent = await users.createBatch({ onFailure: { succeedIf: '50%' } });
    const child = await parent.createBatch();
    await child.add('bad', {});
    await parent.add('good', {});
    for (const batch of [child, parent]) await batch.seal();
    expect(await parent.waitUntilFinished(15_000)).toMatchObject({ state: 'succeeded', failed: 1 });
    await child.on('complete', { name: 'stuck' });
    await eventually(() => told.length === 1);
    // The reconciler has been round: a batch that it has to mend is mended.
    const witness = await users.addBatch({}, [job('bad witness')]);
    await witness.waitUntilFinished(15_000);
    const [failed] = await users.getFailed(0, 0);
    await testbed.redis.hdel(`${testbed.prefix}:batches:${witness.id}:failed`, `${testbed.prefix}:users:${failed?.id}`);
    await testbed.redis.sadd(
      `${testbed.prefix}:batches:${witness.id}:dependencies`,
      `${testbed.prefix}:users:${failed?.id}`,
    );
    await eventually(() => worker.repairs.woken > 0);
    expect(await child.status()).toMatchObject({ state: 'failed' });
    expect(await parent.status()).toMatchObject({ state: 'succeeded', pending: 0 });
    held.open();
  });

  test('of many callers at once loses none', async ({ testbed }) => {
    const { users, names } = setUp(testbed);
    testbed.batchWorker();
    const batch = await users.createBatch();
    const handles = await Promise.all(Array.from({ length: 5 }, () => users.getBatch(batch.id)));
    await Promise.all(handles.map((handle, i) => handle.on('complete', { name: `c${i}` })));
    await batch.seal();
    await batch.waitUntilFinished(15_000);
    expect(names().sort()).toEqual(['c0', 'c1', 'c2', 'c3', 'c4']);
  });

  test('refuses what createBatch would refuse', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await expect(batch.on('completed' as never, { name: 'x' })).rejects.toThrow("A batch has no event 'completed'");
    await expect(batch.on({ complete: 'x' } as never, { name: 'x' })).rejects.toThrow(
      'on(event, callback): the event must be a non-empty string, not an object.',
    );
    await expect(batch.on('complete', { name: '' })).rejects.toThrow("on('complete').name must be a non-empty string");
    await expect(batch.on('complete', { name: 'x', opts: { priority: 1.5 } })).rejects.toThrow('priority must be');
    expect((await batch.status()).callbacks).toEqual([]);
    await testbed.plainQueue('batches').remove(batch.id);
    await expect(batch.on('complete', { name: 'x' })).rejects.toThrow('There is no batch');
  });
});
