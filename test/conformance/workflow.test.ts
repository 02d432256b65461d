import { setTimeout as pause } from 'node:timers/promises';
import { BatchOptionsError, defineWorkflow, type Stages, withBatches } from '../../src/index.js';
import { jobKeys } from '../support/job-keys.js';
import { eventually, expect, test } from '../support/test.js';
import { gateOf, play } from './script.js';

/*
 * What batches promise, for workflows: a stage is released, and a run finishes, as carefully as a callback fires.
 */

test('W1 never early: a stage starts when all members and callbacks of the one before have ended', async ({
  testbed,
}) => {
  const [member, callback] = [gateOf(testbed), gateOf(testbed)];
  const { users, ran } = play(testbed, { slow: () => member.opened, 'slow callback': () => callback.opened });
  const workflow = defineWorkflow('w', {
    a: { queue: users, jobs: [{ name: 'fast' }, { name: 'slow' }], on: { complete: { name: 'slow callback' } } },
    b: { after: 'a', when: 'complete', queue: users, name: 'b' },
  });
  const run = await workflow.start();
  await eventually(async () => (await run.status()).stages[0]?.pending === 1);
  expect((await run.status()).stages[1]?.state).toBe('waiting');
  member.open();
  await eventually(() => ran.includes('slow callback'));
  expect((await run.status()).stages[1]?.state).toBe('waiting');
  callback.open();
  expect((await run.waitUntilFinished(10_000)).state).toBe('succeeded');
  expect(ran).toEqual(['fast', 'slow', 'slow callback', 'b']);
});

test('W2 never lost: a run goes on when the only BatchWorker is closed at any time, and another one comes', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const ran: string[] = [];
  testbed.worker('users', async ({ name }) => ran.push(name));
  const workflow = defineWorkflow('w', {
    a: { queue: users, name: 'a' },
    b: { after: 'a', queue: users, name: 'b' },
    c: { after: 'b', queue: users, name: 'c' },
  });
  const run = await workflow.start();
  for (const name of ['a', 'b', 'c']) {
    const batchWorker = testbed.batchWorker();
    await eventually(() => ran.includes(name));
    await batchWorker.close();
  }
  testbed.batchWorker();
  expect((await run.waitUntilFinished(10_000)).state).toBe('succeeded');
  expect(ran).toEqual(['a', 'b', 'c']);
});

test('W3 never twice: several BatchWorkers release each stage once', async ({ testbed }) => {
  const { users, ran } = play(testbed);
  const others = [testbed.batchWorker(), testbed.batchWorker()];
  expect(others.length).toBe(2);
  const names = Array.from({ length: 10 }, (_, i) => `p${i}`);
  const stages: Stages = {
    ...Object.fromEntries(names.map((name) => [name, { name }])),
    end: { after: names, name: 'end' },
  };
  const workflow = defineWorkflow('w', stages, { queue: users });
  const runs = await Promise.all(Array.from({ length: 10 }, () => workflow.start()));
  await Promise.all(runs.map((run) => run.waitUntilFinished(15_000)));
  expect(ran.filter((name) => name === 'end').length).toBe(10);
  expect(ran.length).toBe(110);
});

test('W4 never silent: a run with a missing member does not succeed, bad jobs are refused at the start', async ({
  testbed,
}) => {
  const { users } = play(
    testbed,
    { slow: () => pause(50) },
    { missingAfter: 100, reconcileInterval: 50, jobsAtOnce: 1 },
  );
  const workflow = defineWorkflow('w', {
    a: { queue: users, jobs: [{ name: 'slow' }, { name: 'lost' }] },
    b: { after: 'a', queue: users, name: 'b' },
  });
  await users.pause();
  const run = await workflow.start();
  const lost = await eventually(async () => (await users.getWaiting()).find(({ name }) => name === 'lost'));
  await testbed.redis.lrem(`${testbed.prefix}:users:wait`, 0, lost.id ?? '');
  await testbed.redis.lrem(`${testbed.prefix}:users:paused`, 0, lost.id ?? '');
  await testbed.redis.del(`${testbed.prefix}:users:${lost.id}`);
  await users.resume();
  const { state, stages } = await run.waitUntilFinished(15_000);
  expect([state, stages[0]?.missing, stages[1]?.state]).toEqual(['failed', 1, 'skipped']);
  const bad = defineWorkflow('bad', { a: { queue: users, jobs: [{ name: 'a', data: { n: 1n } }] } });
  await expect(bad.start({}, { id: 'bad' })).rejects.toThrow(BatchOptionsError);
});

test('W5 never blocking: a large stage is stored, and its members are added, in slices', async ({ testbed }) => {
  const held = await testbed.heldConnection();
  const users = testbed.queue('users', { connection: held.connection, skipMetasUpdate: true });
  let ran = 0;
  testbed.worker('users', async () => ran++, { concurrency: 100 });
  testbed.batchWorker({ connection: held.connection });
  const workflow = defineWorkflow('w', {
    a: { queue: users, name: 'a' },
    many: { after: 'a', queue: users, jobs: Array.from({ length: 1500 }, () => ({ name: 'many' })) },
  });
  await (await workflow.start()).waitUntilFinished(25_000);
  expect(ran).toBe(1501);
  const calls = (script: string, until?: number) =>
    held.commands.slice(0, until).filter((name) => name === script).length;
  // 200 at a time; the first slice of the plan comes with the stage.
  expect([calls('amend', held.commands.indexOf('seal')), calls('addMembers')]).toEqual([7, 8]);
});

test('W6 constant cost: what is stored of a stage does not grow with its members', async ({ testbed }) => {
  const { users } = play(testbed, {}, { jobsAtOnce: 100 });
  const sizes: number[] = [];
  for (const length of [250, 600]) {
    const workflow = defineWorkflow('w', {
      a: { queue: users, jobs: Array.from({ length }, () => ({ name: 'a' })) },
      b: { forEach: 'a', queue: users, name: 'b' },
    });
    const run = await workflow.start({}, { id: `run-${1000 + length}` });
    await run.waitUntilFinished(15_000);
    const hash = await testbed.redis.hgetall(`${testbed.prefix}:batches:${run.id}.a`);
    sizes.push(JSON.stringify({ ...hash, returnvalue: '' }).length);
  }
  expect(Math.abs((sizes[1] ?? 0) - (sizes[0] ?? 0))).toBeLessThan(50);
});

test('W7 nothing left behind: an expired run takes its stages, and theirs, with it', async ({ testbed }) => {
  const { users } = play(testbed, {}, { reconcileInterval: 50 });
  const inner = defineWorkflow('inner', { x: { queue: users, name: 'x' } });
  const workflow = defineWorkflow('w', {
    a: { queue: users, name: 'a' },
    never: { after: 'a', when: 'failure', queue: users, jobs: Array.from({ length: 30 }, () => ({ name: 'never' })) },
    inner: { after: 'a', workflow: inner },
  });
  const run = await workflow.start({}, { keep: { age: 0 } });
  expect(run.created).toBe(true);
  await eventually(async () => (await users.getCompletedCount()) === 2);
  await eventually(async () => (await jobKeys(testbed, 'batches')).filter((key) => key.includes(run.id)).length === 0);
});

test('W8 hands off: jobs outside of a run, and the queues themselves, are as they were', async ({ testbed }) => {
  const { users, ran } = play(testbed);
  const plain = testbed.plainQueue('users', { skipMetasUpdate: true });
  const wrapped = withBatches(plain);
  const workflow = defineWorkflow('w', {
    a: { queue: wrapped, name: 'a' },
    b: { after: 'a', queue: users, name: 'b' },
  });
  const run = await workflow.start();
  const job = await plain.add('outside', { n: 1 }, { jobId: 'outside' });
  await run.waitUntilFinished(10_000);
  await eventually(() => ran.includes('outside'));
  expect(job.parent).toBeUndefined();
  await expect(workflow.of(job)).rejects.toThrow(/is no part of a run/);
  expect(await users.getJobCounts('waiting', 'delayed', 'failed')).toMatchObject({ waiting: 0, delayed: 0, failed: 0 });
});
