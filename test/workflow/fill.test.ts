import { defineWorkflow } from '../../src/index.js';
import { heldBatchWorker } from '../support/interleave.js';
import { describe, eventually, expect, test } from '../support/test.js';
import { tell } from './story.js';

const jobsOf = (length: number, bytes = 0) =>
  Array.from({ length }, () => ({ name: 'job', data: { text: 'x'.repeat(bytes) } }));

describe('a stage with many or large jobs', () => {
  test('is filled turn after turn, each of which goes on where the one before has ended', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    await heldBatchWorker(testbed, held);
    const { queue, ran } = tell(testbed);
    // Two of these jobs are too large for one slice, and a turn takes fifty slices.
    const workflow = defineWorkflow('large', { many: { queue, jobs: jobsOf(55, 140_000) } });
    const run = await workflow.start({}, { id: 'run' });
    expect(await run.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', stages: [{ total: 55 }] });
    expect(ran.length).toBe(55);
    expect(held.commands.filter((name) => name === 'addMembers').length).toBe(55);
    expect(await testbed.redis.exists(`${testbed.prefix}:batches:run.many:b:plan`)).toBe(0);
  });

  test('starts with a few others at a time', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    await heldBatchWorker(testbed, held);
    const { queue, ran } = tell(testbed);
    const names = Array.from({ length: 6 }, (_, n) => `stage-${n}`);
    const stages = Object.fromEntries(names.map((name) => [name, { queue, jobs: jobsOf(1, 140_000) }]));
    const run = await defineWorkflow('heavy', stages).start();
    await eventually(() => ran.length === 6);
    expect(await run.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
    // Two at a time, and once more when the run ends.
    expect(held.commands.filter((name) => name === 'release').length).toBe(4);
  });
});

describe('a run that is started again before the first start() has ended', () => {
  test.for([
    [3, 450],
    [450, 3],
  ] as const)(
    'has the jobs that the first start() has made, also when the function returns others: %i, then %i',
    async ([first, then], { testbed }) => {
      const held = await testbed.heldConnection();
      const { queue, ran } = tell(testbed);
      testbed.batchWorker();
      let length: number = first;
      const workflowOn = (on: typeof queue) =>
        defineWorkflow('changing', { many: { queue: on, jobs: (_: object) => jobsOf(length) } });
      const startersQueue = testbed.queue('work', { connection: held.connection, skipMetasUpdate: true });
      await startersQueue.getBatchCounts();
      await held.idle();
      held.countFrom();
      const commands = ['createBatch', 'createBatch', ...(first > 200 ? ['amend', 'amend'] : [])];
      held.holdBefore(commands.length + 1);
      const starting = workflowOn(startersQueue).start({}, { id: 'run' });
      expect(await held.heldOrEnded(starting)).toMatchObject({ name: 'seal' });
      expect(held.commands).toEqual(commands);
      length = then;
      const run = await workflowOn(queue).start({}, { id: 'run' });
      expect(await run.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', stages: [{ total: first }] });
      expect(ran.length).toBe(first);
      held.release();
      expect((await starting).id).toBe('run');
    },
  );

  test('has all jobs, also when the first start() died between two of them and the others are larger by now', async ({
    testbed,
  }) => {
    const held = await testbed.heldConnection();
    const { queue, ran } = tell(testbed);
    testbed.batchWorker();
    let bytes = 0;
    const workflowOn = (on: typeof queue) =>
      defineWorkflow('growing', { many: { queue: on, jobs: (_: object) => jobsOf(300, bytes) } });
    const startersQueue = testbed.queue('work', { connection: held.connection, skipMetasUpdate: true });
    await startersQueue.getBatchCounts();
    await held.idle();
    held.countFrom();
    held.holdBefore(3);
    const starting = workflowOn(startersQueue).start({}, { id: 'run' });
    expect(await held.heldOrEnded(starting)).toMatchObject({ name: 'amend' });
    // One slice of 200 jobs is stored; of these jobs, a slice has some 140.
    bytes = 1_800;
    const run = await workflowOn(queue).start({}, { id: 'run' });
    expect(await run.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', stages: [{ total: 300 }] });
    expect(ran.length).toBe(300);
    held.release();
    expect((await starting).id).toBe('run');
  });
});
