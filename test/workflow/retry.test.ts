import { defineWorkflow, type Stages } from '../../src/index.js';
import { gateOf } from '../conformance/script.js';
import { heldBatchWorker } from '../support/interleave.js';
import { describe, eventually, expect, test } from '../support/test.js';
import { fail, healing, statesOf, tell } from './story.js';

describe('run.retry()', () => {
  test('runs what failed again, then the skipped stages that can start now: the run succeeds', async ({ testbed }) => {
    const sick = healing();
    const { queue, ran } = tell(testbed, { sick: sick.handler });
    testbed.batchWorker();
    const workflow = defineWorkflow('retried', {
      sick: { queue, name: 'sick' },
      next: { after: 'sick', queue, name: 'next' },
      many: { after: 'next', queue, jobs: Array.from({ length: 30 }, () => ({ name: 'many' })) },
      each: { forEach: 'sick', after: 'many', queue, name: 'each' },
      report: { after: ['sick', 'next'], when: 'complete', queue, name: 'report' },
      rescue: { after: 'next', when: 'failure', queue, name: 'rescue' },
    });
    const run = await workflow.start(undefined, { on: { success: { name: 'success' } } });
    expect(statesOf(await run.waitUntilFinished(10_000))).toEqual({
      sick: 'failed',
      next: 'skipped',
      many: 'skipped',
      each: 'skipped',
      report: 'succeeded',
      rescue: 'skipped',
    });
    sick.heal();
    expect(await run.retry()).toEqual({ retried: 1 });
    const status = await eventually(async () => {
      const now = await run.status();
      return now.state === 'succeeded' ? now : undefined;
    });
    expect(status).toMatchObject({ recovered: true, succeeded: 6, failed: 0 });
    expect(statesOf(status)).toEqual({
      sick: 'succeeded',
      next: 'succeeded',
      many: 'succeeded',
      each: 'succeeded',
      report: 'succeeded',
      rescue: 'skipped',
    });
    expect(ran.filter((name) => name !== 'many')).toEqual(['sick', 'report', 'sick', 'next', 'each', 'success']);
    expect(ran.filter((name) => name === 'many').length).toBe(30);
  });

  test('goes on inside of a workflow that was skipped as a stage', async ({ testbed }) => {
    const sick = healing();
    const { queue, ran } = tell(testbed, { sick: sick.handler });
    testbed.batchWorker();
    const inner = defineWorkflow('inner', {
      x: { queue, name: 'x' },
      y: { after: 'x', when: 'complete', queue, name: 'y' },
    });
    const workflow = defineWorkflow('outer', {
      sick: { queue, name: 'sick' },
      inner: { after: 'sick', workflow: inner },
      last: { after: 'inner', queue, name: 'last' },
    });
    const run = await workflow.start();
    expect(statesOf(await run.waitUntilFinished(10_000))).toEqual({
      sick: 'failed',
      inner: 'skipped',
      last: 'skipped',
    });
    expect(ran).toEqual(['sick']);
    sick.heal();
    await run.retry();
    await eventually(async () => (await run.status()).state === 'succeeded');
    expect(ran).toEqual(['sick', 'sick', 'x', 'y', 'last']);
  });

  test('is not needed for a member that is retried by hand', async ({ testbed }) => {
    const sick = healing();
    const { queue, ran } = tell(testbed, { sick: sick.handler });
    testbed.batchWorker({ reconcileInterval: 100 });
    const workflow = defineWorkflow('by-hand', {
      sick: { queue, name: 'sick' },
      next: { after: 'sick', queue, name: 'next' },
    });
    const run = await workflow.start();
    await run.waitUntilFinished(10_000);
    sick.heal();
    const [failed] = await queue.getFailed();
    await failed?.retry();
    await eventually(async () => (await run.status()).state === 'succeeded');
    expect(ran).toEqual(['sick', 'sick', 'next']);
  });

  test('starts what comes after a stage that was cancelled before the workflow that it is in was skipped', async ({
    testbed,
  }) => {
    const sick = healing();
    const asked = gateOf(testbed);
    const handler = async () => {
      await asked.opened;
      return sick.handler();
    };
    const { queue, ran } = tell(testbed, { sick: handler });
    testbed.batchWorker();
    const inner = defineWorkflow('inner', {
      x: { queue, name: 'x' },
      rescue: { after: 'x', when: 'failure', queue, name: 'rescue' },
    });
    const workflow = defineWorkflow('outer', {
      sick: { queue, name: 'sick' },
      inner: { after: 'sick', workflow: inner },
    });
    const run = await workflow.start({}, { id: 'run' });
    const cancelled = await queue.getBatch('run.inner.x');
    await cancelled.cancel();
    await cancelled.waitUntilFinished(10_000);
    asked.open();
    expect(statesOf(await run.waitUntilFinished(10_000))).toEqual({ sick: 'failed', inner: 'skipped' });
    sick.heal();
    await run.retry();
    await eventually(async () => statesOf(await run.status()).inner === 'failed');
    expect(ran).toEqual(['sick', 'sick', 'rescue']);
  });

  test('by hand, in a run that was cancelled, starts no stage', async ({ testbed }) => {
    const sick = healing();
    const slow = gateOf(testbed);
    const { queue, ran } = tell(testbed, { sick: sick.handler, slow: () => slow.opened });
    testbed.batchWorker({ reconcileInterval: 100 });
    const workflow = defineWorkflow('unwanted', {
      sick: { queue, name: 'sick' },
      slow: { queue, name: 'slow' },
      next: { after: 'sick', queue, name: 'next' },
      report: { after: 'next', when: 'complete', queue, name: 'report' },
    });
    const run = await workflow.start();
    await eventually(async () => statesOf(await run.status()).report === 'succeeded');
    await run.cancel();
    sick.heal();
    const [failed] = await queue.getFailed();
    await failed?.retry();
    await eventually(async () => statesOf(await run.status()).sick === 'succeeded');
    slow.open();
    const status = await run.waitUntilFinished(10_000);
    expect([status.state, statesOf(status)]).toEqual([
      'cancelled',
      { sick: 'succeeded', slow: 'cancelled', next: 'cancelled', report: 'succeeded' },
    ]);
    expect([...ran].sort()).toEqual(['report', 'sick', 'sick', 'slow']);
  });

  test('by hand, in a workflow that had failed before the run around it was cancelled, makes it no success', async ({
    testbed,
  }) => {
    const sick = healing();
    const slow = gateOf(testbed);
    const { queue, ran } = tell(testbed, { sick: sick.handler, slow: () => slow.opened });
    testbed.batchWorker({ reconcileInterval: 100 });
    const inner = defineWorkflow('inner', {
      sick: { queue, name: 'sick' },
      next: { after: 'sick', queue, name: 'next' },
    });
    const workflow = defineWorkflow('outer', {
      inner: { workflow: inner, on: { success: { name: 'inner success' } } },
      slow: { queue, name: 'slow' },
    });
    const run = await workflow.start({}, { id: 'run' });
    await eventually(async () => statesOf(await run.status()).inner === 'failed');
    await run.cancel();
    sick.heal();
    const [failed] = await queue.getFailed();
    await failed?.retry();
    const next = await queue.getBatch('run.inner.next');
    await eventually(async () => (await next.status()).state === 'cancelled');
    await eventually(async () => statesOf(await run.status()).inner === 'failed');
    slow.open();
    expect((await run.waitUntilFinished(10_000)).state).toBe('cancelled');
    expect([...ran].sort()).toEqual(['sick', 'sick', 'slow']);
  });

  test('goes on at a stage that comes after two, when both have healed', async ({ testbed }) => {
    const [one, other] = [healing(), healing()];
    const { queue, ran } = tell(testbed, { one: one.handler, other: other.handler });
    testbed.batchWorker();
    const workflow = defineWorkflow('both', {
      one: { queue, name: 'one' },
      other: { queue, name: 'other' },
      next: { after: ['one', 'other'], queue, name: 'next' },
    });
    const run = await workflow.start();
    await run.waitUntilFinished(10_000);
    one.heal();
    await run.retry();
    await eventually(async () => ran.length === 4 && (await run.status()).state === 'failed');
    expect(statesOf(await run.status())).toEqual({ one: 'succeeded', other: 'failed', next: 'skipped' });
    other.heal();
    await run.retry();
    await eventually(async () => (await run.status()).state === 'succeeded');
    expect(ran.filter((name) => name === 'next')).toEqual(['next']);
  });

  test('of a run that still runs: what comes after a retried stage in any way waits for it again', async ({
    testbed,
  }) => {
    const [again, slow] = [gateOf(testbed), gateOf(testbed)];
    let isHealed = false;
    const { queue, ran } = tell(testbed, {
      sick: async () => {
        if (!isHealed) throw new Error('bad');
        await again.opened;
        ran.push('sick is well');
      },
      slow: () => slow.opened,
    });
    testbed.batchWorker();
    const workflow = defineWorkflow('still-runs', {
      sick: { queue, name: 'sick' },
      slow: { queue, name: 'slow' },
      next: { after: 'sick', queue, name: 'next' },
      report: { after: ['sick', 'slow'], when: 'complete', queue, name: 'report' },
      summary: { after: ['next', 'slow'], when: 'complete', queue, name: 'summary' },
      rescue: { after: ['sick', 'slow'], when: 'failure', queue, name: 'rescue' },
    });
    const run = await workflow.start(undefined, { on: { success: { name: 'success' } } });
    await eventually(async () => statesOf(await run.status()).next === 'skipped');
    isHealed = true;
    await run.retry();
    await eventually(() => ran.filter((name) => name === 'sick').length === 2);
    await eventually(async () => statesOf(await run.status()).next === 'waiting');
    slow.open();
    await eventually(async () => statesOf(await run.status()).slow === 'succeeded');
    expect(statesOf(await run.status())).toEqual({
      ...{ sick: 'running', slow: 'succeeded', next: 'waiting' },
      ...{ report: 'waiting', summary: 'waiting', rescue: 'waiting' },
    });
    again.open();
    expect((await run.waitUntilFinished(10_000)).state).toBe('succeeded');
    expect(statesOf(await run.status())).toMatchObject({ next: 'succeeded', summary: 'succeeded', rescue: 'skipped' });
    expect(ran.slice(0, 4).sort()).toEqual(['sick', 'sick', 'sick is well', 'slow']);
    expect(ran.indexOf('summary')).toBeGreaterThan(ran.indexOf('next'));
    expect(ran.slice(4).sort()).toEqual(['next', 'report', 'success', 'summary']);
  });

  test('starts what comes after several skipped stages only when all of them have run', async ({ testbed }) => {
    const slow = gateOf(testbed);
    const sick = healing();
    const { queue, ran } = tell(testbed, { sick: sick.handler, bad: fail, slow: () => slow.opened });
    testbed.batchWorker();
    const workflow = defineWorkflow('several', {
      sick: { queue, name: 'sick' },
      bad: { after: 'sick', queue, name: 'bad' },
      first: { after: 'sick', queue, name: 'slow' },
      second: { after: 'first', queue, name: 'second' },
      rescue: { after: ['bad', 'second'], when: 'failure', queue, name: 'rescue' },
    });
    const run = await workflow.start();
    await run.waitUntilFinished(10_000);
    sick.heal();
    await run.retry();
    await eventually(async () => statesOf(await run.status()).bad === 'failed');
    await eventually(async () => statesOf(await run.status()).first === 'running');
    expect(statesOf(await run.status())).toMatchObject({ second: 'waiting', rescue: 'waiting' });
    slow.open();
    await eventually(async () => (await run.status()).state === 'failed');
    expect(ran.filter((name) => name !== 'sick').slice(-2)).toEqual(['second', 'rescue']);
  });

  test('lets stages wait again that come after each other in many ways, a part of them with each command', async ({
    testbed,
  }) => {
    const again = gateOf(testbed);
    let isHealed = false;
    const { queue, ran } = tell(testbed, { 'stage-0': () => (isHealed ? again.opened : fail()) });
    const names = Array.from({ length: 60 }, (_, n) => `stage-${n}`);
    const stages: Stages = Object.fromEntries(
      names.map((name, n) => [name, { after: names.slice(0, n), queue, name }]),
    );
    const before = testbed.batchWorker();
    const run = await defineWorkflow('dense', stages).start();
    await run.waitUntilFinished(10_000);
    await before.close();
    const held = await testbed.heldConnection();
    await heldBatchWorker(testbed, held);
    held.countFrom();
    isHealed = true;
    await run.retry();
    await eventually(async () => (await run.status()).stages.every(({ state }) => /waiting|running/.test(state)));
    // 1,770 pairs of them.
    expect(held.commands.filter((name) => name === 'decide').length).toBeGreaterThan(2);
    again.open();
    await eventually(async () => (await run.status()).state === 'succeeded');
    expect(ran).toEqual(['stage-0', ...names]);
  });

  test('lets any number of skipped stages wait again, and those of a chain in one go', async ({ testbed }) => {
    const [again, slow] = [gateOf(testbed), gateOf(testbed)];
    let isHealed = false;
    const { queue, ran } = tell(testbed, {
      sick: () => (isHealed ? again.opened : fail()),
      slow: () => slow.opened,
    });
    testbed.batchWorker();
    const fan = Array.from({ length: 410 }, (_, n) => `fan-${n}`);
    const chain = Array.from({ length: 20 }, (_, n) => `chain-${n}`);
    const stages: Stages = {
      sick: { queue, name: 'sick' },
      slow: { queue, name: 'slow' },
      ...Object.fromEntries(fan.map((name) => [name, { after: 'sick', queue, name: 'fan' }])),
      ...Object.fromEntries(chain.map((name, n) => [name, { after: chain[n - 1] ?? 'sick', queue, name: 'chain' }])),
      report: { after: ['slow', 'fan-409', 'chain-19'], when: 'complete', queue, name: 'report' },
    };
    const run = await defineWorkflow('many', stages).start();
    const inState = async (state: string) => (await run.status()).stages.filter((one) => one.state === state).length;
    await eventually(async () => (await inState('skipped')) === 430);
    isHealed = true;
    await run.retry();
    await eventually(async () => (await inState('waiting')) === 431);
    slow.open();
    await eventually(async () => statesOf(await run.status()).slow === 'succeeded');
    expect(statesOf(await run.status()).report).toBe('waiting');
    again.open();
    expect((await run.waitUntilFinished(30_000)).state).toBe('succeeded');
    expect(ran.filter((name) => name === 'fan').length).toBe(410);
    expect(ran.filter((name) => name === 'chain').length).toBe(20);
    expect(ran.filter((name) => name === 'report').length).toBe(1);
  });
});
