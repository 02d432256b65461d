import { defineWorkflow } from '../../../src/index.js';
import { gateOf } from '../../conformance/script.js';
import { describe, eventually, expect, test } from '../../support/test.js';
import { statesOf, tell } from '../../workflow/story.js';

describe('a stage that was removed by hand while it ran', () => {
  test('is missing in its run, and what comes after it is skipped: the run finishes, and fails', async ({
    testbed,
  }) => {
    const gate = gateOf(testbed);
    const { queue, ran } = tell(testbed, { held: () => gate.opened });
    testbed.batchWorker({ reconcileInterval: 50, missingAfter: 200 });
    const workflow = defineWorkflow('orphaned', {
      fine: { queue, name: 'fine' },
      held: { queue, name: 'held' },
      next: { after: 'held', queue, name: 'next' },
      last: { after: ['next', 'fine'], when: 'complete', queue, name: 'last' },
    });
    const run = await workflow.start({}, { id: 'run' });
    await eventually(() => ran.includes('held'));
    await (await queue.getBatch('run.held')).remove({ force: true });
    const status = await run.waitUntilFinished(15_000);
    expect(status).toMatchObject({ state: 'failed', missing: 1, succeeded: 3 });
    expect(statesOf(status)).toEqual({ fine: 'succeeded', next: 'skipped', last: 'succeeded' });
    expect(ran).not.toContain('next');
  });

  test('keeps what comes after it skipped, also when another one that this comes after finishes later', async ({
    testbed,
  }) => {
    const [gate, slow] = [gateOf(testbed), gateOf(testbed)];
    const { queue, ran } = tell(testbed, { held: () => gate.opened, slow: () => slow.opened });
    const repairing = testbed.batchWorker({ reconcileInterval: 50, missingAfter: 200 });
    const workflow = defineWorkflow('orphaned', {
      held: { queue, name: 'held' },
      slow: { queue, name: 'slow' },
      next: { after: ['held', 'slow'], queue, name: 'next' },
      last: { after: 'next', when: 'complete', queue, name: 'last' },
    });
    const run = await workflow.start({}, { id: 'run' });
    await eventually(() => ran.includes('held') && ran.includes('slow'));
    await (await queue.getBatch('run.held')).remove({ force: true });
    await eventually(async () => statesOf(await run.status()).last === 'succeeded');
    await repairing.close();
    testbed.batchWorker();
    slow.open();
    expect(statesOf(await run.waitUntilFinished(10_000))).toEqual({
      ...{ slow: 'succeeded', next: 'skipped', last: 'succeeded' },
    });
  });
});

describe('a stage that was detached from its run by hand while it ran', () => {
  test('is missing in its run, and what comes after it starts when it has ended', async ({ testbed }) => {
    const gate = gateOf(testbed);
    const { queue, ran } = tell(testbed, { held: () => gate.opened });
    const errors: unknown[] = [];
    testbed.batchWorker().on('error', (error) => errors.push(error));
    const workflow = defineWorkflow('detached', {
      held: { queue, name: 'held' },
      next: { after: 'held', queue, name: 'next' },
    });
    const run = await workflow.start({}, { id: 'run' });
    await eventually(() => ran.includes('held'));
    const stage = await testbed.plainQueue('batches').getJob('run.held');
    expect(await stage?.removeChildDependency()).toBe(true);
    gate.open();
    const status = await run.waitUntilFinished(10_000);
    expect(status).toMatchObject({ state: 'failed', missing: 1, succeeded: 1 });
    expect(statesOf(status)).toEqual({ held: 'succeeded', next: 'succeeded' });
    expect(errors).toEqual([]);
  });
});

describe('a stage whose data had vanished when a BatchWorker took it', () => {
  test('is missing in its run, and what comes after it is skipped', async ({ testbed }) => {
    const gate = gateOf(testbed);
    const { queue, ran } = tell(testbed, { held: () => gate.opened });
    const first = testbed.batchWorker();
    const workflow = defineWorkflow('vanished', {
      held: { queue, name: 'held' },
      next: { after: 'held', queue, name: 'next' },
    });
    const run = await workflow.start({}, { id: 'run' });
    await eventually(() => ran.includes('held'));
    await first.close();
    gate.open();
    const batches = testbed.plainQueue('batches');
    await eventually(async () => (await batches.getJobState('run.held')) === 'waiting');
    await testbed.redis.del(`${testbed.prefix}:batches:run.held`);
    testbed.batchWorker({ reconcileInterval: 50, missingAfter: 200 }).on('error', () => {});
    const status = await run.waitUntilFinished(8_000);
    expect(status).toMatchObject({ state: 'failed', missing: 1, succeeded: 1 });
    expect(statesOf(status)).toEqual({ next: 'skipped' });
    expect(ran).toEqual(['held']);
  });
});

describe('a stage that was removed by hand from a run that is still being created', () => {
  test('can be created again: what comes after it waits until the run is complete', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const { queue, ran } = tell(testbed);
    const twoStages = (name: string, on: typeof queue) =>
      defineWorkflow(name, { first: { queue: on, name: 'first' }, next: { after: 'first', queue: on, name: 'next' } });
    const startersQueue = testbed.queue('work', { connection: held.connection, skipMetasUpdate: true });
    await twoStages('other', startersQueue).start();
    await held.idle();
    held.countFrom();
    held.holdBefore(4);
    const starting = twoStages('slow', startersQueue).start({}, { id: 'a-slow' });
    expect(await held.heldOrEnded(starting)).toMatchObject({ name: 'seal' });
    await (await queue.getBatch('a-slow.first')).remove({ force: true });
    // A stage of this run is gone for good. When it has been repaired, both runs have been looked at.
    const orphaned = await twoStages('orphaned', queue).start({}, { id: 'b-orphaned' });
    await (await queue.getBatch('b-orphaned.first')).remove({ force: true });
    const batchWorker = testbed.batchWorker({ reconcileInterval: 20, missingAfter: 100 });
    await orphaned.waitUntilFinished(10_000);
    const slow = await twoStages('slow', queue).start({}, { id: 'a-slow' });
    const status = await slow.waitUntilFinished(10_000);
    expect(statesOf(status)).toEqual({ first: 'succeeded', next: 'succeeded' });
    expect(status).toMatchObject({ state: 'failed', succeeded: 2, missing: 1 });
    held.release();
    await starting;
    expect(ran.sort()).toEqual(['first', 'first', 'next', 'next']);
    await batchWorker.close();
  });
});
