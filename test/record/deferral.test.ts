import { fileURLToPath } from 'node:url';
import { DelayedError, type Job, type JobsOptions, type Processor } from 'bullmq';
import { type AnyQueue, describe, eventually, expect, gate, type Testbed, test } from '../support/test.js';

/*
 * What BullMQ does with the field `defa` of a job, on which cancelling rests; see src/record/deferral.ts.
 */

const REASON = 'cancelled (aaaaaaaa): wrong file';
const SANDBOXED = fileURLToPath(new URL('../support/sandboxed.cjs', import.meta.url));

/** Gives a job a deferred failure, whatever it is doing. */
async function defer(testbed: Testbed, job: Job, opts: object = {}): Promise<void> {
  const key = `${testbed.prefix}:${job.queueName}:${job.id}`;
  const stored = await testbed.redis.hget(key, 'opts');
  const appended = JSON.stringify({ '': 0, ...opts }).replace('{"":0', '');
  await testbed.redis.hset(key, { defa: REASON, opts: `${stored?.slice(0, -1)}${appended}` });
}

const fails: Processor = async () => {
  throw new Error('own failure');
};

/** Gives a job a deferred failure while it runs, and then lets it end. */
async function deferWhileRunning(
  testbed: Testbed,
  end: Processor,
  options: { job?: JobsOptions; deferred?: object } = {},
) {
  const queue = testbed.plainQueue('users');
  const held = gate();
  let runs = 0;
  testbed.worker('users', async (job, token) => {
    runs += 1;
    await held.opened;
    return end(job, token);
  });
  const job = await queue.add('row', {}, options.job);
  await eventually(() => runs === 1);
  await defer(testbed, job, options.deferred);
  held.open();
  return { queue, job, runs: () => runs };
}

const standing = async (queue: AnyQueue, { id = '' }: Job) => {
  const job = await queue.getJob(id);
  return { state: await queue.getJobState(id), reason: job?.failedReason, value: job?.returnvalue };
};

describe('a job with a deferred failure', () => {
  test('that waits is failed without being run, whatever attempts it has left', async ({ testbed }) => {
    const queue = testbed.plainQueue('users');
    const ran: string[] = [];
    const job = await queue.add('row', {}, { attempts: 5, backoff: 10 });
    await defer(testbed, job);
    testbed.worker('users', async ({ name }) => ran.push(name));
    await eventually(async () => (await queue.getJobState(job.id ?? '')) === 'failed');
    expect(await standing(queue, job)).toMatchObject({ reason: REASON });
    expect(ran).toEqual([]);
  });

  test('is removed then, if its stored options say so after they said otherwise', async ({ testbed }) => {
    const queue = testbed.plainQueue('users');
    const job = await queue.add('row', {}, { removeOnFail: false, attempts: 2 });
    await defer(testbed, job, { removeOnFail: true });
    const failed: unknown[] = [];
    testbed
      .worker('users', async () => {}, { removeOnFail: { count: 10 } })
      .on('failed', (_, { message }) => {
        failed.push(message);
      });
    await eventually(async () => (await queue.getJobState(job.id ?? '')) === 'unknown');
    expect(await queue.getJobCountByTypes('waiting', 'active', 'failed', 'delayed')).toBe(0);
    await eventually(() => failed.length === 1);
    expect(failed).toEqual([REASON]);
  });

  test('is not run in a process of its own either', async ({ testbed }) => {
    const queue = testbed.plainQueue('users');
    const [cancelled, other] = await queue.addBulk([
      { name: 'row', data: {} },
      { name: 'other', data: {} },
    ]);
    await defer(testbed, cancelled as Job);
    testbed.worker('users', SANDBOXED as never);
    await eventually(async () => (await queue.getJobState(other?.id ?? '')) === 'completed');
    expect(await standing(queue, other as Job)).toMatchObject({ value: 'ran other' });
    expect(await standing(queue, cancelled as Job)).toMatchObject({ state: 'failed', reason: REASON });
  });

  test.for([
    ['at once', {}],
    ['later', { backoff: 50 }],
  ] as const)('that fails while it is running is not tried again, neither %s', async ([, opts], { testbed }) => {
    const { queue, job, runs } = await deferWhileRunning(testbed, fails, { job: { attempts: 5, ...opts } });
    await eventually(async () => (await queue.getJobState(job.id ?? '')) === 'failed');
    expect(await standing(queue, job)).toMatchObject({ reason: REASON });
    expect(runs()).toBe(1);
  });

  test('that has failed at its last attempt keeps its own reason', async ({ testbed }) => {
    const { queue, job } = await deferWhileRunning(testbed, fails, { deferred: { removeOnFail: true } });
    await eventually(async () => (await queue.getJobState(job.id ?? '')) === 'failed');
    expect(await standing(queue, job)).toMatchObject({ reason: 'own failure' });
    // Nothing of it is left for somebody who retries it by hand.
    expect(await testbed.redis.hexists(`${testbed.prefix}:users:${job.id}`, 'defa')).toBe(0);
  });

  test('that is running completes, if it does', async ({ testbed }) => {
    const { queue, job } = await deferWhileRunning(testbed, async () => 'done');
    await eventually(async () => (await queue.getJobState(job.id ?? '')) === 'completed');
    expect(await standing(queue, job)).toMatchObject({ value: 'done' });
  });

  test('that puts itself off while it is running is not run afterwards', async ({ testbed }) => {
    const { queue, job, runs } = await deferWhileRunning(testbed, async (job, token) => {
      await job.moveToDelayed(Date.now() + 50, token);
      throw new DelayedError();
    });
    await eventually(async () => (await queue.getJobState(job.id ?? '')) === 'failed');
    expect(await standing(queue, job)).toMatchObject({ reason: REASON });
    expect(runs()).toBe(1);
  });

  test('whose worker has died is not run by another one', async ({ testbed }) => {
    const queue = testbed.plainQueue('users');
    const job = await queue.add('row', {});
    // What a killed worker leaves: a job in `active` whose lock has run out.
    const dead = testbed.worker('users', null as never, { autorun: false });
    await dead.getNextJob('token');
    await testbed.redis.del(`${testbed.prefix}:users:${job.id}:lock`);
    await defer(testbed, job);
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => ran.push(name), { stalledInterval: 50, lockDuration: 1000 });
    await eventually(async () => (await queue.getJobState(job.id ?? '')) === 'failed');
    expect(await standing(queue, job)).toMatchObject({ reason: REASON });
    expect(ran).toEqual([]);
  });
});
