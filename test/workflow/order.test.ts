import { defineWorkflow } from '../../src/index.js';
import { gateOf } from '../conformance/script.js';
import { heldBatchWorker } from '../support/interleave.js';
import { describe, eventually, expect, test } from '../support/test.js';
import { fail, statesOf, tell } from './story.js';

describe('a run', () => {
  test('runs its stages one after the other, and succeeds', async ({ testbed }) => {
    const { queue, ran } = tell(testbed);
    testbed.batchWorker();
    const workflow = defineWorkflow('chain', {
      a: { queue, name: 'a' },
      b: { after: 'a', queue, name: 'b' },
      c: { after: 'b', queue, name: 'c' },
    });
    const run = await workflow.start();
    const status = await run.waitUntilFinished(10_000);
    expect(status).toMatchObject({ state: 'succeeded', total: 3, succeeded: 3, pending: 0 });
    expect(statesOf(status)).toEqual({ a: 'succeeded', b: 'succeeded', c: 'succeeded' });
    expect(ran).toEqual(['a', 'b', 'c']);
  });

  test('starts stages that come after the same one together, and one after several when all have finished', async ({
    testbed,
  }) => {
    const { queue, ran } = tell(testbed);
    testbed.batchWorker();
    const workflow = defineWorkflow('diamond', {
      e: { after: ['b', 'c', 'd'], queue, name: 'e' },
      b: { after: 'a', queue, name: 'b' },
      c: { after: 'a', queue, name: 'c' },
      d: { after: 'a', queue, name: 'd' },
      a: { queue, name: 'a' },
    });
    const run = await workflow.start({}, { id: 'diamond-1' });
    expect(await run.waitUntilFinished(10_000)).toMatchObject({ id: 'diamond-1', state: 'succeeded', total: 5 });
    expect([ran[0], [...ran.slice(1, 4)].sort(), ran[4]]).toEqual(['a', ['b', 'c', 'd'], 'e']);
  });

  test('skips what cannot start any more, and runs what comes after all in any way, or after a failure', async ({
    testbed,
  }) => {
    const { queue, ran } = tell(testbed, { bad: fail });
    testbed.batchWorker();
    const workflow = defineWorkflow('skips', {
      bad: { queue, name: 'bad' },
      next: { after: 'bad', queue, name: 'next' },
      last: { after: 'next', queue, name: 'last' },
      report: { after: ['bad', 'last'], when: 'complete', queue, name: 'report' },
      rescue: { after: 'bad', when: 'failure', queue, name: 'rescue' },
    });
    const run = await workflow.start();
    const status = await run.waitUntilFinished(10_000);
    expect(status).toMatchObject({ state: 'failed', total: 5, failed: 1, succeeded: 4 });
    expect(statesOf(status)).toEqual({
      bad: 'failed',
      next: 'skipped',
      last: 'skipped',
      report: 'succeeded',
      rescue: 'succeeded',
    });
    expect(ran.sort()).toEqual(['bad', 'report', 'rescue']);
  });

  test('succeeds when a stage was skipped by its own when', async ({ testbed }) => {
    const { queue, ran } = tell(testbed);
    testbed.batchWorker();
    const workflow = defineWorkflow('rescue', {
      work: { queue, name: 'work' },
      rescue: { after: 'work', when: 'failure', queue, name: 'rescue', on: { complete: { name: 'rescued' } } },
      after: { after: 'rescue', queue, name: 'after' },
    });
    const run = await workflow.start(undefined, { on: { success: { name: 'success' } } });
    const status = await run.waitUntilFinished(10_000);
    expect(statesOf(status)).toEqual({ work: 'succeeded', rescue: 'skipped', after: 'skipped' });
    expect(status.state).toBe('succeeded');
    expect(ran).toEqual(['work', 'success']);
  });

  test('has several jobs in a stage, and members that add members to it: the next stage waits for all', async ({
    testbed,
  }) => {
    const { queue, ran } = tell(testbed, {
      loader: async (job) => {
        const batch = await queue.batchOf(job);
        await batch?.addBulk([1, 2, 3].map((n) => ({ name: 'row', data: { n } })));
      },
    });
    testbed.batchWorker();
    const many = Array.from({ length: 450 }, (_, n) => ({ name: 'many', data: { n } }));
    const workflow = defineWorkflow('members', {
      load: { queue, name: 'loader' },
      many: { after: 'load', queue, jobs: many },
      few: { after: 'many', queue, jobs: [{ name: 'few' }, { name: 'few' }] },
      none: { after: 'few', queue, jobs: [] },
      last: { after: 'none', queue, name: 'last' },
    });
    const run = await workflow.start();
    const status = await run.waitUntilFinished(20_000);
    expect(status.state).toBe('succeeded');
    expect(status.stages.map(({ total }) => total)).toEqual([4, 450, 2, 0, 1]);
    expect(ran.slice(0, 4)).toEqual(['loader', 'row', 'row', 'row']);
    expect(ran.slice(4, 454).every((name) => name === 'many')).toBe(true);
    expect(ran.slice(454)).toEqual(['few', 'few', 'last']);
  });

  test('has stages that tolerate failures, or that the first failure cancels, as batches do', async ({ testbed }) => {
    const { queue, ran } = tell(testbed, { bad: fail });
    testbed.batchWorker();
    const later = { name: 'later', opts: { delay: 3_600_000 } };
    const workflow = defineWorkflow('policies', {
      tolerant: { queue, onFailure: { succeedIf: '50%' }, jobs: [{ name: 'bad' }, { name: 'good' }] },
      after: { after: 'tolerant', queue, name: 'after' },
      strict: { queue, onFailure: 'cancel', jobs: [{ name: 'bad' }, later] },
      never: { after: 'strict', queue, name: 'never' },
      rescue: { after: 'strict', when: 'failure', queue, name: 'rescue' },
    });
    const status = await (await workflow.start()).waitUntilFinished(10_000);
    expect(statesOf(status)).toEqual({
      ...{ tolerant: 'succeeded', after: 'succeeded', strict: 'cancelled', never: 'skipped', rescue: 'succeeded' },
    });
    expect(ran.sort()).toEqual(['after', 'bad', 'bad', 'good', 'rescue']);
  });

  test('starts nothing in a workflow that is a stage before that has started, also when a stage of it is cancelled', async ({
    testbed,
  }) => {
    const slow = gateOf(testbed);
    const { queue, ran } = tell(testbed, { slow: () => slow.opened });
    testbed.batchWorker();
    const inner = defineWorkflow('inner', {
      x: { queue, name: 'x' },
      y: { after: 'x', queue, name: 'y' },
      rescue: { after: 'x', when: 'failure', queue, name: 'rescue' },
      end: { after: ['y', 'rescue'], when: 'complete', queue, name: 'end' },
    });
    const workflow = defineWorkflow('outer', {
      slow: { queue, name: 'slow' },
      inner: { after: 'slow', workflow: inner },
    });
    const run = await workflow.start({}, { id: 'run' });
    await eventually(() => ran.includes('slow'));
    const cancelled = await queue.getBatch('run.inner.x');
    await cancelled.cancel();
    expect(await cancelled.waitUntilFinished(10_000)).toMatchObject({ state: 'cancelled' });
    expect(await (await queue.getBatch('run.inner.rescue')).status()).toMatchObject({ state: 'waiting' });
    slow.open();
    const { state, stages } = await run.waitUntilFinished(10_000);
    expect([state, statesOf({ stages: stages[1]?.stages ?? [] })]).toEqual([
      'failed',
      { x: 'cancelled', y: 'skipped', rescue: 'succeeded', end: 'succeeded' },
    ]);
    expect(ran).toEqual(['slow', 'rescue', 'end']);
  });

  test('waits, before the next stage, for the batches that the members of a stage nest in it', async ({ testbed }) => {
    const { queue, ran } = tell(testbed, {
      loader: async (job) => {
        const { batch } = await workflow.of(job);
        const child = await batch.createBatch({ on: { success: { name: 'child done' } } });
        await child.addBulk([1, 2].map((n) => ({ name: 'row', data: { n } })));
        await child.seal();
      },
    });
    testbed.batchWorker();
    const workflow = defineWorkflow('nesting', {
      load: { queue, name: 'loader' },
      next: { after: 'load', queue, name: 'next' },
    });
    const { state, stages } = await (await workflow.start()).waitUntilFinished(10_000);
    expect([state, stages[0]?.total]).toEqual(['succeeded', 2]);
    expect(ran).toEqual(['loader', 'row', 'row', 'child done', 'next']);
  });

  test('costs a number of commands that grows with the slices of a stage, not with its members', async ({
    testbed,
  }) => {
    const { queue } = tell(testbed);
    const held = await testbed.heldConnection();
    await heldBatchWorker(testbed, held);
    const commandsOf = async (members: number) => {
      const workflow = defineWorkflow('fan-in', {
        many: { queue, jobs: Array.from({ length: members }, () => ({ name: 'many' })) },
        one: { after: 'many', queue, name: 'one' },
      });
      const run = await workflow.start();
      expect(await run.waitUntilFinished(30_000)).toMatchObject({ state: 'succeeded' });
      await held.waiting();
      const { length } = held.commands.filter((name) => name !== 'moveToActive');
      held.countFrom();
      return length;
    };
    // The first run makes the connection learn the scripts.
    await commandsOf(400);
    const [few, many] = [await commandsOf(400), await commandsOf(2400)];
    // Ten slices of 200 more, each read and added.
    expect(many - few).toBeLessThanOrEqual(30);
  });
});
