import { Redis } from 'ioredis';
import { type BatchRepair, BatchWorker } from '../../src/index.js';
import { startPrivateRedis } from '../support/private-redis.js';
import { describe, eventually, expect, gate, test } from '../support/test.js';

describe('BatchWorker', () => {
  test('any number of them share the work: every callback is enqueued once', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker(
      'users',
      async (job) => {
        if (job.name !== 'row') ran.push(`${job.name} ${job.data.batch.id}`);
      },
      { concurrency: 20 },
    );
    for (let i = 0; i < 5; i++) {
      testbed.batchWorker();
    }
    const batches = await Promise.all(
      Array.from({ length: 40 }, () =>
        users.addBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } }, [
          { name: 'row', data: {} },
          { name: 'row', data: {} },
        ]),
      ),
    );
    await Promise.all(batches.map((batch) => batch.waitUntilFinished(20_000)));
    expect(ran.sort()).toEqual(batches.flatMap(({ id }) => [`complete ${id}`, `success ${id}`]).sort());
  });

  test('tells when a batch has finished, and how', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async (job) => {
      if (job.data.fails) throw new Error('no');
    });
    const finished: { batchId: string; succeeded: boolean }[] = [];
    testbed.batchWorker().on('finished', (batch) => finished.push(batch));
    const good = await users.addBatch({}, [{ name: 'row', data: {} }]);
    await good.waitUntilFinished(10_000);
    const bad = await users.addBatch({}, [{ name: 'row', data: { fails: true } }]);
    await bad.waitUntilFinished(10_000);
    await eventually(() => finished.length === 2);
    expect(finished).toEqual([
      { batchId: good.id, succeeded: true },
      { batchId: bad.id, succeeded: false },
    ]);
  });

  test('close() leaves unfinished batches to the next one', async ({ testbed }) => {
    const users = testbed.queue('users');
    const held = gate();
    testbed.worker('users', async (job) => {
      if (job.name === 'row') await held.opened;
    });
    const first = testbed.batchWorker();
    await first.waitUntilReady();
    const batch = await users.addBatch({ on: { complete: { name: 'done' } } }, [{ name: 'row', data: {} }]);
    await eventually(async () => (await testbed.plainQueue('batches').getWaitingChildrenCount()) === 1);
    await first.close();
    await first.close();
    held.open();
    await eventually(async () => (await batch.status()).pending === 0);
    expect((await batch.status()).state).toBe('finishing');
    testbed.batchWorker();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
  });

  test('an error of a step reaches the error event, and the step is tried again', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async (job) => void ran.push(job.name));
    const errors: Error[] = [];
    // The queue of the callback is unusable for a while: its wait list is not a list.
    const blocked = `${testbed.prefix}:mail:wait`;
    await testbed.redis.set(blocked, 'not a list');
    testbed.worker('mail', async (job) => void ran.push(job.name));
    testbed.batchWorker().on('error', (error) => errors.push(error));
    const batch = await users.addBatch({ on: { complete: { name: 'mailed', queue: 'mail' } } }, [
      { name: 'row', data: {} },
    ]);
    await eventually(() => errors.length > 0);
    expect(errors[0]?.message).toContain('WRONGTYPE');
    expect((await batch.status()).finishedAt).toBeUndefined();
    await testbed.redis.del(blocked);
    // The refused attempt may have stored the job before it failed half-way: BullMQ's script is not undone.
    const status = await eventually(async () => {
      const now = await batch.status();
      return now.finishedAt !== undefined ||
        (await testbed.redis.exists(`${testbed.prefix}:mail:${now.callbacks[0]?.jobId}`)) === 1
        ? now
        : undefined;
    });
    expect(['finishing', 'succeeded']).toContain(status.state);
  });

  test('while Redis refuses to write, the user hears one sentence now and then; afterwards the batches go on', async ({
    testbed,
  }) => {
    const full = await startPrivateRedis({ env: { ...process.env, REDIS_URL: '' } });
    const connection = { host: '127.0.0.1', port: Number(new URL(full.url).port) };
    const redis = new Redis(connection);
    testbed.use({
      async close() {
        redis.disconnect();
        await full.stop();
      },
    });
    const users = testbed.queue('users', { connection });
    const batches = await Promise.all(Array.from({ length: 10 }, () => users.addBatch({}, [])));
    await redis.config('SET', 'maxmemory', '1');
    const batchWorker = testbed.batchWorker({ connection, reconcileInterval: 10, sweepInterval: 10 });
    const errors: Error[] = [];
    batchWorker.on('error', (error) => errors.push(error));
    const refused = async () => Number(/errorstat_OOM:count=(\d+)/.exec(await redis.info('errorstats'))?.[1] ?? 0);
    await eventually(async () => (await refused()) > 100);
    expect(errors[0]?.message).toMatch(/^OOM command not allowed/);
    expect(errors.length).toBeLessThan(10);
    await redis.config('SET', 'maxmemory', '0');
    await eventually(async () => (await users.getBatchCounts()).succeeded === batches.length);
    await Promise.all([batchWorker.close(), users.close()]);
  });

  test('an error without a listener is printed and does not end the process', async ({ testbed }) => {
    const worker = testbed.batchWorker({ connection: { host: '127.0.0.1', port: 1, retryStrategy: () => null } });
    const printed: unknown[] = [];
    const { error } = console;
    console.error = (...args: unknown[]) => void printed.push(args);
    try {
      await eventually(() => printed.length > 0);
    } finally {
      console.error = error;
    }
    expect(String(printed[0])).toContain('bullmq-batches: BatchWorker');
    await worker.close();
  });

  test.for([
    [{ concurency: 3 }, "BatchWorker has no option 'concurency'. Did you mean 'concurrency'?"],
    [{ concurrency: 0 }, 'concurrency must be a positive integer, not 0'],
    [{ stalledInterval: '5s' }, "stalledInterval must be a positive integer, not '5s'"],
    [{ prefix: '' }, 'prefix must be a non-empty string'],
    [{ batchesQueue: 'a', connection: { isCluster: true } }, "Queue 'a' is on a Redis Cluster with the prefix 'bull'"],
    [
      { connection: undefined },
      "connection must be an object, not undefined. Example: { host: 'localhost', port: 6379 }.",
    ],
    [{ connection: { isCluster: true } }, "Queue 'batches' is on a Redis Cluster with the prefix 'bull'"],
  ] as const)('refuses %o', ([options, message], { testbed }) => {
    expect(() => new BatchWorker({ connection: testbed.connection, ...options } as never)).toThrow(message);
  });

  test('options that are undefined, as from a configuration, have their defaults', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => {
      ran.push(name);
      if (name === 'bad') throw new Error('bad');
    });
    const none = undefined as never;
    const errors: Error[] = [];
    const batchWorker = new BatchWorker({
      connection: testbed.connection,
      prefix: testbed.prefix,
      ...{ batchesQueue: none, callbacks: none, telemetry: none, concurrency: none, lockDuration: none },
      ...{ stalledInterval: none, reconcileInterval: none, sweepInterval: none, missingAfter: none },
    });
    testbed.use(batchWorker).on('error', (error) => errors.push(error));
    await batchWorker.waitUntilReady();
    const batch = await users.createBatch({ on: { death: { name: 'death' } } });
    await batch.add('bad', {});
    await eventually(() => ran.includes('death'));
    await batch.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed' });
    expect(errors).toEqual([]);
  });

  test('says how it is made when it is given the name of a queue first, as a Worker', () => {
    expect(() => new BatchWorker('users' as never)).toThrow(
      "The options of BatchWorker must be an object, not 'users'. Example: new BatchWorker({ connection }).",
    );
  });
});

describe('the reconciler', () => {
  const eager = { reconcileInterval: 20, missingAfter: 1 };

  test('wakes a sealed batch that is delayed as if it were open', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async () => {});
    const batch = await users.addBatch({}, [{ name: 'row', data: {} }]);
    // What a BatchWorker leaves that is killed after it has put an unsealed batch back, and before it looks again.
    const key = `${testbed.prefix}:batches`;
    await testbed.redis.zadd(`${key}:delayed`, (Date.now() + 86_400_000) * 4096, batch.id);
    const repaired: unknown[] = [];
    testbed.batchWorker(eager).on('repaired', (repair) => repaired.push(repair));
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
    expect(repaired).toContainEqual({ batchId: batch.id, missing: 0, settled: 0, woken: true });
  });

  test('wakes a sealed batch that waits for nothing, and counts what it did', async ({ testbed }) => {
    const users = testbed.queue('users');
    const first = testbed.batchWorker();
    const batch = await users.createBatch();
    await batch.add('row', {}, { delay: 3_600_000 });
    await batch.seal();
    await eventually(async () => (await testbed.plainQueue('batches').getWaitingChildrenCount()) === 1);
    await first.close();
    await testbed.redis.del(`${testbed.prefix}:batches:${batch.id}:dependencies`);
    const worker = testbed.batchWorker(eager);
    expect(worker.repairs).toEqual({ missing: 0, settled: 0, woken: 0 });
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', missing: 1 });
    expect(worker.repairs.woken).toBeGreaterThan(0);
  });

  test('enqueues a callback again whose job is gone, and calls nothing missing', async ({ testbed }) => {
    const users = testbed.queue('users');
    const worker = testbed.batchWorker(eager);
    const repaired: BatchRepair[] = [];
    worker.on('repaired', (repair) => repaired.push(repair));
    const on = { complete: { name: 'complete', opts: { delay: 3_600_000 } } };
    const batch = await users.addBatch({ on }, []);
    const { jobId } = await eventually(async () => {
      const [callback] = (await batch.status()).callbacks;
      return callback?.state === 'enqueued' ? callback : undefined;
    });
    await testbed.redis.del(`${testbed.prefix}:users:${jobId}`);
    await eventually(() => users.getJob(jobId));
    expect(repaired.every(({ missing }) => missing === 0)).toBe(true);
    await (await users.getJob(jobId))?.promote();
    testbed.worker('users', async () => {});
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 0 });
  });

  test('enqueues a callback again whose data is gone, and whose id a worker has taken', async ({ testbed }) => {
    const users = testbed.queue('users');
    const callbacks = testbed.plainQueue('callbacks');
    const ran: string[] = [];
    testbed.worker('users', async () => {});
    const first = testbed.batchWorker();
    const batch = await users.addBatch({ on: { complete: { name: 'complete', queue: callbacks } } }, [
      { name: 'row', data: {} },
    ]);
    const [job] = await eventually(async () => {
      const jobs = await callbacks.getWaiting();
      return jobs.length === 1 ? jobs : undefined;
    });
    await first.close();
    await testbed.redis.del(`${testbed.prefix}:callbacks:${job?.id}`);
    testbed.worker('callbacks', async ({ name, data }) => void ran.push(`${name} ${data.batch.succeeded}`));
    await eventually(async () => (await callbacks.getFailedCount()) === 1);
    testbed.batchWorker(eager);
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual(['complete 1']);
  });

  test('enqueues a callback again whose data is gone, to run once, although its id is waiting still', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const callbacks = testbed.plainQueue('callbacks');
    const ran: string[] = [];
    testbed.worker('users', async () => {});
    testbed.batchWorker(eager);
    const batch = await users.addBatch({ on: { complete: { name: 'complete', queue: callbacks } } }, [
      { name: 'row', data: {} },
    ]);
    const [job] = await eventually(async () => {
      const jobs = await callbacks.getWaiting();
      return jobs.length === 1 ? jobs : undefined;
    });
    const key = `${testbed.prefix}:callbacks:${job?.id}`;
    await testbed.redis.del(key);
    await eventually(async () => (await testbed.redis.exists(key)) === 1);
    expect(await testbed.redis.lrange(`${testbed.prefix}:callbacks:wait`, 0, -1)).toEqual([job?.id]);
    testbed.worker('callbacks', async ({ name, data }) => void ran.push(`${name} ${data.batch.succeeded}`));
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual(['complete 1']);
  });

  test('calls a member without a job missing, when the batch is sealed', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async (job) => void ran.push(job.name));
    const repaired: unknown[] = [];
    testbed.batchWorker(eager).on('repaired', (repair) => repaired.push(repair));
    const batch = await users.createBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } });
    await batch.add('row', {});
    const gone = await batch.add('gone', {}, { delay: 3_600_000 });
    // Evicted, or deleted by hand: nothing tells the batch.
    await testbed.redis.del(`${testbed.prefix}:users:${gone.id}`);
    await batch.seal();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({
      state: 'failed',
      total: 2,
      succeeded: 1,
      missing: 1,
    });
    expect(ran).toEqual(['row', 'complete']);
    expect(repaired).toContainEqual({ batchId: batch.id, missing: 1, settled: 0, woken: true });
  });

  test('leaves a member without a job alone while the batch is open, or was just added to', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const gone = await batch.add('gone', {});
    await testbed.redis.del(`${testbed.prefix}:users:${gone.id}`);
    const sealed = await users.createBatch();
    const late = await sealed.add('late', {});
    await testbed.redis.del(`${testbed.prefix}:users:${late.id}`);
    await sealed.seal();
    // A batch behind them in the round, with damage that is mended at once, shows that the reconciler has been there.
    const witness = await users.createBatch();
    await witness.add('witness', {}, { jobId: 'witness' });
    testbed.worker('users', async () => {});
    await eventually(async () => (await users.getJobState('witness')) === 'completed');
    await testbed.redis.sadd(`${testbed.prefix}:batches:${witness.id}:dependencies`, `${testbed.prefix}:users:witness`);
    await witness.seal();
    const repaired: string[] = [];
    const worker = testbed.batchWorker({ reconcileInterval: 20, missingAfter: 3_600_000 });
    worker.on('repaired', ({ batchId }) => repaired.push(batchId));
    await witness.waitUntilFinished(10_000);
    expect(repaired).toEqual([witness.id]);
    expect(await batch.status()).toMatchObject({ pending: 1, missing: 0, state: 'open' });
    expect(await sealed.status()).toMatchObject({ pending: 1, missing: 0, state: 'running' });
  });

  test.for(['completed', 'failed'])(
    'settles a member that was added once more after it had %s',
    async (outcome, { testbed }) => {
      const users = testbed.queue('users');
      testbed.worker('users', async () => {
        if (outcome === 'failed') throw new Error('no');
        return 7;
      });
      const batch = await users.createBatch();
      const job = await batch.add('row', {}, { jobId: 'row-1' });
      await eventually(async () => (await users.getJobState('row-1')) === outcome);
      // What a reconnecting client does to a command whose answer it missed: BullMQ puts the job back into the
      // dependencies.
      await testbed.redis.sadd(
        `${testbed.prefix}:batches:${batch.id}:dependencies`,
        `${testbed.prefix}:users:${job.id}`,
      );
      await batch.seal();
      testbed.batchWorker(eager);
      expect(await batch.waitUntilFinished(10_000)).toMatchObject({
        state: outcome === 'failed' ? 'failed' : 'succeeded',
        total: 1,
        failed: outcome === 'failed' ? 1 : 0,
        missing: 0,
      });
    },
  );

  test('calls a member missing whose id was used elsewhere before its job was added', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await batch.add('row', {}, { jobId: 'taken' });
    // What a producer leaves that is killed between registering and adding; then somebody else uses the id.
    await testbed.redis.del(`${testbed.prefix}:users:taken`);
    await testbed.redis.del(`${testbed.prefix}:users:wait`);
    await users.add('theirs', {}, { jobId: 'taken', delay: 3_600_000 });
    await expect(batch.add('row', {}, { jobId: 'taken' })).rejects.toThrow("a job with the id 'taken' exists");
    await batch.seal();
    testbed.batchWorker(eager);
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', total: 1, missing: 1 });
  });

  test('goes on with the others when one batch cannot be looked at', async ({ testbed }) => {
    const users = testbed.queue('users');
    const broken = await users.addBatch({}, [{ name: 'row', data: {} }]);
    testbed.worker('users', async () => {
      throw new Error('no');
    });
    const first = testbed.batchWorker();
    await broken.waitUntilFinished(10_000);
    const good = await users.createBatch();
    const member = await good.add('gone', {}, { delay: 3_600_000 });
    await testbed.redis.del(`${testbed.prefix}:users:${member.id}`);
    const failures = `${testbed.prefix}:batches:${broken.id}:failed`;
    await testbed.redis.del(failures);
    await testbed.redis.set(failures, 'not a hash');
    await first.close();
    await good.seal();
    const errors: Error[] = [];
    const worker = testbed.batchWorker({ ...eager, missingAfter: 500 });
    worker.on('error', (error) => errors.push(error));
    // The broken one has been met, in the part of the round that comes after the good one's, before the good one is
    // due.
    await eventually(() => errors.length > 0);
    expect(await good.waitUntilFinished(10_000)).toMatchObject({ missing: 1 });
  });

  test('goes through the members of a large batch in slices, and one reconciler leads', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await batch.addBulk(Array.from({ length: 3000 }, (_, i) => ({ name: 'row', data: i, opts: { jobId: `r${i}` } })));
    const gone = Array.from({ length: 300 }, (_, i) => `${testbed.prefix}:users:r${i * 10}`);
    await testbed.redis.del(...gone);
    await batch.seal();
    let missing = 0;
    const byWorker = [0, 0];
    byWorker.forEach((_, i) => {
      testbed.batchWorker(eager).on('repaired', (repair) => {
        missing += repair.missing;
        byWorker[i] = (byWorker[i] ?? 0) + repair.missing;
      });
    });
    await eventually(() => missing === 300);
    expect(await batch.status()).toMatchObject({ total: 3000, pending: 2700, missing: 300 });
    expect([...byWorker].sort((a, b) => a - b)).toEqual([0, 300]);
  });
});
