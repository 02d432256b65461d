import { defineWorkflow } from '../../src/index.js';
import { describe, eventually, expect, test } from '../support/test.js';
import { healing, statesOf, tell } from './story.js';

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
});
