import { type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { contextOf } from '../../src/batch/batch-context.js';
import { removeInTurn } from '../../src/batch/remove.js';
import {
  BatchError,
  BatchMemberError,
  BatchNotFoundError,
  BatchWorker,
  defineWorkflow,
  withBatches,
} from '../../src/index.js';
import { startPrivateRedis } from '../support/private-redis.js';
import { eventually, expect, test } from '../support/test.js';

/** A Redis of our own that can be brought out of memory, with finished batches in it. */
async function fullRedis(use: (closable: { close(): Promise<unknown> }) => void) {
  const { REDIS_URL, ...env } = process.env;
  const server = await startPrivateRedis({ env });
  const connection = { host: '127.0.0.1', port: Number(new URL(server.url).port) };
  const redis = new Redis(connection);
  const users = withBatches(new Queue('users', { connection }));
  const processor = async ({ name }: Job) => {
    if (name === 'bad') throw new UnrecoverableError('no');
  };
  const worker = new Worker('users', processor, { connection, concurrency: 50 });
  const batchWorker = new BatchWorker({ connection, reconcileInterval: 3_600_000 });
  worker.on('error', () => {});
  batchWorker.on('error', () => {});
  use({
    async close() {
      await Promise.all([worker.close(), batchWorker.close(), users.close()]);
      await redis.quit();
      await server.stop();
    },
  });
  return {
    ...{ users, redis, connection },
    /** From now on Redis refuses whatever may grow. */
    async fill() {
      await Promise.all([worker.close(), batchWorker.close()]);
      const [, used] = /used_memory:(\d+)/.exec(await redis.info('memory')) ?? [];
      await redis.config('SET', 'maxmemory', Number(used) - 100_000);
      await expect(users.add('one more', {})).rejects.toThrow('OOM');
    },
  };
}

const members = Array.from({ length: 1500 }, () => ({ name: 'member', data: { text: 'x'.repeat(1000) } }));

test('when Redis is out of memory, remove({ members: true }) works, and jobs can be added again', async ({
  testbed,
}) => {
  const { users, fill } = await fullRedis(testbed.use);
  const batch = await users.addBatch({ on: { complete: { name: 'complete' } } }, members);
  await batch.waitUntilFinished(20_000);
  await fill();
  await batch.remove({ members: true });
  await users.add('one more', {});
  expect(await users.getCompletedCount()).toBe(0);
});

test('when Redis is out of memory, remove({ force: true }) works, and jobs can be added again', async ({ testbed }) => {
  const { users, fill } = await fullRedis(testbed.use);
  const batch = await users.createBatch();
  await batch.addBulk(members.map((job) => ({ ...job, opts: { delay: 3_600_000 } })));
  const child = await batch.createBatch();
  await child.addBulk(members.map((job) => ({ ...job, opts: { priority: 3, delay: 3_600_000 } })));
  await fill();
  await batch.remove({ force: true });
  await users.add('one more', {});
  expect(await users.getDelayedCount()).toBe(0);
});

test('when Redis is out of memory, batches expire', async ({ testbed }) => {
  const { users, redis, fill } = await fullRedis(testbed.use);
  const data = { text: 'x'.repeat(10_000) };
  const batches = [];
  for (let i = 0; i < 30; i++) {
    batches.push(await users.addBatch({ keep: { age: 0 }, on: { complete: { name: 'complete', data } } }, []));
  }
  for (const batch of batches) await batch.waitUntilFinished(10_000);
  await fill();
  const context = await contextOf(users);
  for (const { id } of batches) expect(['done', 'not found']).toContain(await removeInTurn(context, id, 'expire'));
  await eventually(async () => (await redis.zcard('bull:batches:completed')) === 0);
  await users.add('one more', {});
});

test('when Redis is out of memory, addBatch() is refused as a whole', async ({ testbed }) => {
  const { users, redis, fill } = await fullRedis(testbed.use);
  await users.addBatch({ id: 'first' }, members.slice(0, 10));
  await fill();
  await expect(users.addBatch({ id: 'full' }, members.slice(0, 100))).rejects.toThrow('OOM');
  await expect(users.getBatch('full')).rejects.toThrow(BatchNotFoundError);
  await redis.config('SET', 'maxmemory', 0);
  const batch = await users.addBatch({ id: 'full' }, members.slice(0, 100));
  expect(await batch.status()).toMatchObject({ state: 'running', total: 100 });
});

test('when Redis is out of memory, every verb that stores something says so and what to do, and nothing is lost', async ({
  testbed,
}) => {
  const { users, redis, fill } = await fullRedis(testbed.use);
  const batch = await users.createBatch();
  await batch.add('row', {});
  const failed = await users.addBatch({}, [{ name: 'bad', data: {} }]);
  await failed.waitUntilFinished(10_000);
  await fill();
  const workflow = defineWorkflow('w', { a: { queue: users, name: 'a' } });
  const verbs: Readonly<Record<string, () => Promise<unknown>>> = {
    createBatch: () => users.createBatch(),
    addBatch: () => users.addBatch({}, [{ name: 'row', data: {} }]),
    child: () => batch.createBatch(),
    add: () => batch.add('row', {}),
    addBulk: () => batch.addBulk([{ name: 'row', data: {} }]),
    addFlow: () => batch.addFlow({ name: 'root', queueName: 'users' }),
    seal: () => batch.seal(),
    retry: () => failed.retry(),
    start: () => workflow.start(),
  };
  const wayOut = /Redis is out of memory .*\(OOM command not allowed .*\)\. Free memory, or raise its maxmemory, and/;
  for (const [verb, call] of Object.entries(verbs)) {
    const error = await call().catch((thrown: unknown) => thrown);
    expect(error, verb).toBeInstanceOf(BatchError);
    expect(error, verb).toMatchObject({ message: expect.stringMatching(wayOut), cause: expect.any(Error) });
    expect(error instanceof BatchMemberError, verb).toBe(!['seal', 'retry'].includes(verb));
  }
  expect(await batch.status()).toMatchObject({ state: 'open', total: 1 });
  await redis.config('SET', 'maxmemory', 0);
  await batch.seal();
  expect(await failed.retry()).toMatchObject({ retried: 1 });
});

test('when Redis is out of memory, removeMember() works, and on() registers a callback that is enqueued later, once', async ({
  testbed,
}) => {
  const { users, redis, connection, fill } = await fullRedis(testbed.use);
  const batch = await users.createBatch();
  await batch.addBulk(['a', 'b'].map((jobId) => ({ name: 'row', data: {}, opts: { jobId, delay: 3_600_000 } })));
  const finished = await users.addBatch({}, []);
  await finished.waitUntilFinished(10_000);
  await fill();
  expect(await batch.removeMember('a')).toBe(true);
  expect(await batch.status()).toMatchObject({ total: 1 });
  await finished.on('complete', { name: 'report', queue: 'mail' });
  const mail = testbed.use(new Queue('mail', { connection }));
  expect(await mail.getWaitingCount()).toBe(0);
  await redis.config('SET', 'maxmemory', 0);
  testbed.use(new BatchWorker({ connection }));
  await eventually(async () => (await finished.status()).callbacks[0]?.state === 'enqueued');
  expect((await mail.getWaiting()).map(({ name }) => name)).toEqual(['report']);
});
