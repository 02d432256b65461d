import { BatchError, defineWorkflow } from '../../src/index.js';
import { describe, eventually, expect, test } from '../support/test.js';
import { all, tell } from './story.js';

describe('forEach', () => {
  test('makes one member per result of the source stage, whose data is the result', async ({ testbed }) => {
    const seen: number[] = [];
    const { queue } = tell(testbed, {
      load: async (job) => {
        await (await queue.batchOf(job))?.addBulk(
          Array.from({ length: 700 }, (_, n) => ({ name: 'row', data: { n } })),
        );
      },
      row: (job) => (job.data.n % 100 === 0 ? undefined : { double: 2 * job.data.n }),
      each: (job) => seen.push(job.data.double),
    });
    testbed.batchWorker();
    const workflow = defineWorkflow('each', {
      rows: { queue, name: 'load' },
      each: { forEach: 'rows', queue, name: 'each' },
    });
    const { state, stages } = await (await workflow.start()).waitUntilFinished(20_000);
    expect(state).toBe('succeeded');
    // The loader, and every hundredth row, return nothing.
    expect(stages.map(({ total }) => total)).toEqual([701, 693]);
    expect(seen.length).toBe(693);
    expect(new Set(seen).size).toBe(693);
  });

  test('makes no member, and goes on, when there are no results', async ({ testbed }) => {
    const { queue, ran } = tell(testbed);
    testbed.batchWorker();
    const workflow = defineWorkflow('none', {
      rows: { queue, name: 'load' },
      each: { forEach: 'rows', queue, name: 'each' },
      last: { after: 'each', queue, name: 'last' },
    });
    expect(await (await workflow.start()).waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
    expect(ran).toEqual(['load', 'last']);
  });
});

test('a stage that is made of the results of one that was removed does not succeed without them', async ({
  testbed,
}) => {
  const { queue, ran } = tell(testbed, { load: () => 1 });
  testbed.batchWorker({ reconcileInterval: 20 });
  const workflow = defineWorkflow('gone', {
    rows: { queue, name: 'load' },
    held: { after: 'rows', queue: 'held', name: 'held' },
    each: { after: 'held', forEach: 'rows', queue, name: 'each' },
  });
  const run = await workflow.start();
  await (await queue.getBatch(`${run.id}.rows`)).waitUntilFinished(10_000);
  await (await queue.getBatch(`${run.id}.rows`)).remove();
  testbed.worker('held', async () => {});
  const { state, failedReason } = await run.waitUntilFinished(10_000);
  expect(state).toBe('failed');
  expect(failedReason).toContain("the results of stage 'rows' were removed");
  expect(ran).toEqual(['load']);
});

describe('of(job)', () => {
  test('tells a member, and a callback, of the run, its input, the stage and earlier results', async ({ testbed }) => {
    const told: unknown[] = [];
    const { queue } = tell(testbed, {
      first: (job) => ({ value: job.data.of }),
      second: async (job) => {
        const { input, stage, run, batch, results } = await workflow.of(job);
        const values = await all(results('a'));
        told.push({ input, stage, run: run.id, batch: batch.id, values });
      },
      'stage done': async (job) => told.push((await workflow.of(job)).stage),
      'run done': async (job) => {
        const { stage, input } = await workflow.of(job);
        told.push({ stage, input });
      },
    });
    testbed.batchWorker();
    const workflow = defineWorkflow('context', {
      a: { queue, jobs: (input: { of: number[] }) => input.of.map((of) => ({ name: 'first', data: { of } })) },
      b: { after: 'a', queue, name: 'second', on: { complete: { name: 'stage done' } } },
    });
    const run = await workflow.start({ of: [1, 2] }, { id: 'run-1', on: { success: { name: 'run done' } } });
    expect((await run.waitUntilFinished(10_000)).state).toBe('succeeded');
    expect(told).toEqual([
      {
        input: { of: [1, 2] },
        stage: 'b',
        run: 'run-1',
        batch: 'run-1.b',
        values: expect.arrayContaining([{ value: 1 }, { value: 2 }]),
      },
      'b',
      { stage: undefined, input: { of: [1, 2] } },
    ]);
  });

  test('gives the batch of the stage, to which a job adds jobs of its own queue', async ({ testbed }) => {
    const { queue } = tell(testbed);
    const other = testbed.queue('other');
    const ran: string[] = [];
    testbed.worker('other', async (job) => {
      ran.push(job.name);
      if (job.name === 'first') {
        const { batch } = await workflow.of(job);
        await batch.add('second', {});
      }
    });
    testbed.batchWorker();
    const workflow = defineWorkflow('queues', {
      a: { queue, name: 'a' },
      b: { after: 'a', queue: other, name: 'first' },
    });
    const { stages } = await (await workflow.start()).waitUntilFinished(10_000);
    expect(stages[1]).toMatchObject({ state: 'succeeded', total: 2 });
    expect(ran).toEqual(['first', 'second']);
  });

  test('refuses a job of another workflow, or of none, and the name of a stage that there is not', async ({
    testbed,
  }) => {
    const errors: unknown[] = [];
    const { queue, ran } = tell(testbed, {
      job: async (job) => {
        errors.push(await other.of(job).catch((error) => error));
        const context = await workflow.of(job).catch(() => undefined);
        errors.push(
          await context
            ?.results('b' as 'a')
            .next()
            .catch((error: Error) => error.message),
        );
      },
    });
    testbed.batchWorker();
    const workflow = defineWorkflow('one', { a: { queue, name: 'job' } });
    const other = defineWorkflow('other', { a: { queue, name: 'job' } });
    await (await workflow.start()).waitUntilFinished(10_000);
    await queue.add('job', {});
    await eventually(() => ran.length === 2 && errors.length === 4);
    expect(errors[0]).toBeInstanceOf(BatchError);
    expect(String(errors[0])).toContain("is no part of a run of workflow 'other'");
    expect(errors[1]).toMatch(/names the stage 'b', which does not exist/);
    expect(errors[2]).toBeInstanceOf(BatchError);
  });
});

describe('a workflow as a stage', () => {
  test('runs whole before what comes after it, at any depth, with its own input and results', async ({ testbed }) => {
    const { queue, ran } = tell(testbed, {
      leaf: async (job) => {
        ran.push(`leaf of ${JSON.stringify((await inner.of(job)).input)}`);
        return { leaf: job.data.n };
      },
      last: async (job) => {
        const { results, input } = await outer.of(job);
        ran.push(`${JSON.stringify(input)}: ${JSON.stringify(await all(results('middle')))}`);
      },
    });
    testbed.batchWorker();
    const inner = defineWorkflow(
      'inner',
      {
        leaves: { queue, jobs: (input: { n: number }) => [{ name: 'leaf', data: input }] },
        tidy: { after: 'leaves', queue, name: 'tidy' },
      },
      { output: 'leaves' },
    );
    const middle = defineWorkflow(
      'middle',
      {
        begin: { queue, name: 'begin' },
        inner: { after: 'begin', workflow: inner, input: (input: { m: number }) => ({ n: input.m + 1 }) },
      },
      { output: 'inner' },
    );
    const outer = defineWorkflow(
      'outer',
      {
        first: { queue, name: 'first' },
        middle: { after: 'first', workflow: middle, input: (input: { o: number }) => ({ m: input.o + 1 }) },
        last: { after: 'middle', queue, name: 'last' },
      },
      { output: 'middle' },
    );
    const run = await outer.start({ o: 1 });
    const status = await run.waitUntilFinished(15_000);
    expect(status).toMatchObject({ state: 'succeeded', total: 3 });
    expect(ran).toEqual([...['first', 'begin', 'leaf', 'leaf of {"n":3}', 'tidy', 'last'], '{"o":1}: [{"leaf":3}]']);
    expect((await all(run.results())).map(({ value }) => value)).toEqual([{ leaf: 3 }]);
    expect(status.stages[1]).toMatchObject({ name: 'middle', state: 'succeeded', total: 2 });
    expect(status.stages[1]?.stages?.[1]?.stages?.map(({ name, state }) => [name, state])).toEqual([
      ['leaves', 'succeeded'],
      ['tidy', 'succeeded'],
    ]);
    expect(await run.toMermaid()).toContain('s1_1_0["leaves<br/>succeeded<br/>1 of 1"]');
    expect(await run.toMermaid()).toContain('class s1_1 succeeded');
    const tree = await run.tree();
    expect(tree.children.map(({ stage }) => stage)).toEqual(['first', 'middle', 'last']);
    expect(tree.children[1]?.children[1]?.children.map(({ stage, state }) => [stage, state])).toEqual([
      ['leaves', 'succeeded'],
      ['tidy', 'succeeded'],
    ]);
  });
});
