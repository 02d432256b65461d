import { contextOf } from '../../src/batch/batch-context.js';
import { expiredBatches } from '../../src/record/expiry.js';
import { repairSlice } from '../../src/record/repair.js';
import { unfinishedBatches } from '../../src/record/unfinished.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';

/* What is stored with a batch, and that what is not stored because it is the default holds all the same. */

const A_MINUTE = 60_000;
const A_DAY = 24 * 60 * A_MINUTE;

const redisTime = async ({ redis }: Testbed) => Number((await redis.time())[0]) * 1000;

/** The fields of a job's hash, without what differs between versions of BullMQ, or with how far maintenance is. */
async function fieldsOf({ redis, prefix }: Testbed, key: string): Promise<string[]> {
  const fields = await redis.hkeys(`${prefix}:${key}`);
  return fields.filter((field) => !['pb', 'stc', 'b:finishedAt'].includes(field)).sort();
}

const optionsOf = async ({ redis, prefix }: Testbed, key: string) =>
  JSON.parse(String(await redis.hget(`${prefix}:${key}`, 'opts')));

const OF_A_JOB = [
  ...['name', 'data', 'opts', 'timestamp', 'delay', 'priority'],
  ...['processedOn', 'ats', 'atm', 'finishedOn', 'returnvalue'],
];

test('a batch that was added in one step keeps few and small fields when it has finished', async ({ testbed }) => {
  const { redis, prefix } = testbed;
  const users = testbed.queue('users');
  testbed.worker('users', async () => {});
  testbed.batchWorker();
  const rows = Array.from({ length: 10 }, () => ({ name: 'row', data: {}, opts: { removeOnComplete: true } }));
  const batch = await users.addBatch({ on: { complete: { name: 'done' } } }, rows);
  await batch.waitUntilFinished(10_000);
  // Each further field takes 50 to 80 bytes.
  const own = ['b:completed', 'b:definition', 'b:enqueued', 'b:nonce', 'b:sealedAt', 'b:total'];
  expect(await fieldsOf(testbed, `batches:${batch.id}`)).toEqual([...OF_A_JOB, 'progress', ...own].sort());
  const [definition = '', nonce] = await redis.hmget(`${prefix}:batches:${batch.id}`, 'b:definition', 'b:nonce');
  const callback = { queue: 'users', name: 'done' };
  expect(JSON.parse(String(definition))).toEqual({ id: batch.id, queue: 'users', on: { complete: [callback] }, nonce });
  expect(await optionsOf(testbed, `batches:${batch.id}`)).toEqual({
    attempts: 1_000_000_000,
    backoff: { type: 'fixed', delay: 1000 },
    stackTraceLimit: 3,
  });

  const [{ jobId = '' } = {}] = (await batch.status()).callbacks;
  expect(await fieldsOf(testbed, `users:${jobId}`)).toEqual([...OF_A_JOB, 'parent', 'parentKey'].sort());
  expect(await optionsOf(testbed, `users:${jobId}`)).toEqual({
    attempts: 0,
    removeOnComplete: false,
    removeOnFail: false,
    parent: { id: batch.id, queue: `${prefix}:batches` },
  });
  expect((await redis.hkeys(`${prefix}:batches:${batch.id}:processed`)).sort()).toEqual(
    [...rows.map((_, n) => `${prefix}:users:${nonce}-${n}`), `${prefix}:users:${jobId}`].sort(),
  );
});

const FIRST_PAGE = { cursor: '0', count: 11, round: 1 };

describe('the defaults, which are not stored', () => {
  test('a batch is kept for 7 days', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { redis } = await contextOf(users);
    const batchWorker = testbed.batchWorker();
    const batch = await users.addBatch({}, []);
    await batch.waitUntilFinished(10_000);
    await batchWorker.close();
    const key = `${testbed.prefix}:batches:${batch.id}`;
    const seen = async (ms: number) => {
      const finishedOn = await testbed.redis.hget(key, 'finishedOn');
      await testbed.redis.hset(key, 'b:finishedAt', `${finishedOn}:${(await redisTime(testbed)) - ms}`);
    };
    await seen(7 * A_DAY - A_MINUTE);
    expect((await expiredBatches(redis, FIRST_PAGE)).due).toEqual([]);
    await seen(7 * A_DAY + A_MINUTE);
    expect((await expiredBatches(redis, FIRST_PAGE)).due).toEqual([batch.id]);
  });

  test('an open batch is abandoned after 24 hours, and a job that is no batch never', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { redis } = await contextOf(users);
    const batch = await users.createBatch();
    await testbed.plainQueue('batches').add('copy', {}, { jobId: 'copy', delay: A_DAY });
    const abandoned = async (ms: number) => {
      for (const id of [batch.id, 'copy']) {
        await testbed.redis.hset(`${testbed.prefix}:batches:${id}`, 'b:registeredAt', (await redisTime(testbed)) - ms);
      }
      const { due } = await unfinishedBatches(redis, FIRST_PAGE);
      return due.filter(({ isClosed }) => isClosed).map(({ batchId }) => batchId);
    };
    expect(await abandoned(A_DAY - A_MINUTE)).toEqual([]);
    expect(await abandoned(A_DAY + A_MINUTE)).toEqual([batch.id]);
  });

  test('a BatchWorker that meets an open batch abandons it after 24 hours, and not before', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const key = `${testbed.prefix}:batches:${batch.id}`;
    await testbed.redis.hset(key, 'b:registeredAt', (await redisTime(testbed)) - A_DAY + A_MINUTE);
    testbed.batchWorker({ reconcileInterval: 3_600_000 });
    const batches = testbed.plainQueue('batches');
    await batches.getJob(batch.id).then((job) => job?.promote());
    await eventually(async () => (await testbed.redis.hget(key, 'ats')) === '1');
    await eventually(async () => (await batches.getJobState(batch.id)) === 'delayed');
    expect(await batch.status()).toMatchObject({ state: 'open', abandoned: false });
    await testbed.redis.hset(key, 'b:registeredAt', (await redisTime(testbed)) - A_DAY - A_MINUTE);
    await batches.getJob(batch.id).then((job) => job?.promote());
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', abandoned: true });
  });
});

test('of a batch that was added in one step, the seal is the sign of life of its producer', async ({ testbed }) => {
  const users = testbed.queue('users');
  const { redis } = await contextOf(users);
  const batch = await users.addBatch({}, [
    { name: 'row', data: 1 },
    { name: 'row', data: 2 },
  ]);
  const key = `${testbed.prefix}:batches:${batch.id}`;
  const { sealedAt } = await batch.status();
  expect((await batch.explain()).lastSignOfLifeAt).toBe(sealedAt);
  const [member = ''] = await testbed.redis.smembers(`${key}:dependencies`);
  await testbed.redis.del(member);
  const page = { key, collection: 'dependencies', cursor: '0', count: 10 } as const;
  expect((await repairSlice(redis, page, 10 * A_MINUTE)).missing).toBe(0);
  await testbed.redis.hset(key, 'b:sealedAt', Number(sealedAt) - 11 * A_MINUTE);
  expect((await repairSlice(redis, page, 10 * A_MINUTE)).missing).toBe(1);
});
