import { defineWorkflow } from '../../src/index.js';
import { describe, expect, test } from '../support/test.js';
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
});
