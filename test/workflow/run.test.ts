import { BatchConflictError, BatchNotFoundError, defineWorkflow } from '../../src/index.js';
import { gateOf } from '../conformance/script.js';
import { jobKeys } from '../support/job-keys.js';
import { describe, eventually, expect, gate, type Testbed, test } from '../support/test.js';
import { fail, statesOf, tell } from './story.js';

/** A chain in which the second stage waits for a gate. */
function chain(testbed: Testbed) {
  const gate = gateOf(testbed);
  const story = tell(testbed, { held: () => gate.opened });
  const { queue } = story;
  const workflow = defineWorkflow('chain', {
    first: { queue, name: 'first' },
    users: { after: 'first', queue, jobs: [{ name: 'user' }, { name: 'held' }, { name: 'user' }] },
    cs: { after: 'users', queue, name: 'cs' },
    last: { after: ['users', 'cs'], when: 'complete', queue, name: 'last' },
  });
  const untilHeld = () => eventually(() => story.ran.filter((name) => name !== 'first').length === 3);
  return { ...story, gate, workflow, untilHeld };
}

describe('a run', () => {
  test('that is started again with its id is the one there is, with the input it was given first', async ({
    testbed,
  }) => {
    const { workflow, ran, queue, gate } = chain(testbed);
    gate.open();
    testbed.batchWorker();
    const run = await workflow.start({ n: 1 }, { id: 'run' });
    expect(run.created).toBe(true);
    await run.waitUntilFinished(10_000);
    const again = await workflow.start({ n: 2 }, { id: 'run' });
    expect(again.created).toBe(false);
    expect(again.definition.run?.input).toEqual({ n: 1 });
    expect((await again.status()).state).toBe('succeeded');
    expect(ran.length).toBe(6);
    const other = defineWorkflow('other', { first: { queue, name: 'first' } });
    await expect(other.start({}, { id: 'run' })).rejects.toThrow(BatchConflictError);
    await expect(other.getRun('run')).rejects.toThrow(BatchNotFoundError);
    await expect(other.getRun('run')).rejects.toThrow(
      `Workflow 'other' has no run 'run': there is a run of '${workflow.name}' with this id.`,
    );
    await queue.createBatch({ id: 'plain' });
    await expect(other.getRun('plain')).rejects.toThrow('there is a batch without a workflow with this id.');
    await expect(other.getRun('none')).rejects.toThrow("There is no batch 'none'");
  });

  test('says what it waits for, in its status, its explanation and its drawing', async ({ testbed }) => {
    const { workflow, gate, untilHeld, queue } = chain(testbed);
    testbed.batchWorker();
    const run = await workflow.start({}, { id: 'run' });
    await untilHeld();
    await eventually(async () => (await run.status()).stages[1]?.pending === 1);
    const status = await run.status();
    expect(statesOf(status)).toEqual({ first: 'succeeded', users: 'running', cs: 'waiting', last: 'waiting' });
    expect(status).toMatchObject({ state: 'running', total: 4, pending: 3, succeeded: 1 });
    const { reasons } = await run.explain();
    expect(reasons).toEqual([
      "stage 'users' is running: 1 of 3 members pending; " +
        "(await queue.getBatch('run.users')).explain() says what holds it.",
      "stage 'cs' waits for 'users': 1 of 3 members pending.",
      "stage 'last' waits for 'users': 1 of 3 members pending and 'cs': waiting itself.",
    ]);
    expect((await (await queue.getBatch('run.cs')).explain()).reasons).toEqual([
      "stage 'cs' waits for 'users': 1 of 3 members pending.",
    ]);
    expect(await run.toMermaid()).toContain('s1["users<br/>running<br/>2 of 3"]');
    expect(await run.toMermaid()).toContain('class s2 waiting');
    const tree = await run.tree();
    expect(tree.children.map(({ stage, state }) => [stage, state])).toEqual([
      ['first', 'succeeded'],
      ['users', 'running'],
      ['cs', 'waiting'],
      ['last', 'waiting'],
    ]);
    gate.open();
    expect((await run.waitUntilFinished(10_000)).state).toBe('succeeded');
  });

  test('that has failed says which stages were skipped, and why', async ({ testbed }) => {
    const { queue } = tell(testbed, { bad: fail });
    testbed.batchWorker();
    const workflow = defineWorkflow('w', {
      bad: { queue, name: 'bad' },
      next: { after: 'bad', queue, name: 'next' },
      fine: { queue, name: 'fine' },
      rescue: { after: 'fine', when: 'failure', queue, name: 'rescue' },
    });
    const run = await workflow.start();
    await run.waitUntilFinished(10_000);
    expect((await run.explain()).reasons).toEqual(
      expect.arrayContaining([
        "stage 'next' was skipped: 'bad' has failed.",
        "stage 'rescue' was skipped: nothing that it comes after has failed.",
      ]),
    );
    expect(await (await queue.getBatch(`${run.id}.next`)).status()).toMatchObject({ state: 'skipped', stage: 'next' });
    const { logs } = await testbed.plainQueue('batches').getJobLogs(`${run.id}.next`);
    expect(logs.at(-1)).toMatch(/ finished: skipped$/);
  });

  test('that is cancelled starts no stage any more', async ({ testbed }) => {
    const { workflow, gate, untilHeld, ran } = chain(testbed);
    testbed.batchWorker();
    const run = await workflow.start();
    await untilHeld();
    await run.cancel('wrong file');
    gate.open();
    const status = await run.waitUntilFinished(10_000);
    expect(status).toMatchObject({ state: 'cancelled', cancelReason: 'wrong file' });
    expect(statesOf(status)).toMatchObject({
      first: 'succeeded',
      users: 'cancelled',
      cs: 'cancelled',
      last: 'cancelled',
    });
    expect(ran).not.toContain('last');
  });

  test('with a stage that is cancelled goes on as if that had failed', async ({ testbed }) => {
    const { workflow, gate, untilHeld, ran, queue } = chain(testbed);
    testbed.batchWorker();
    const run = await workflow.start({}, { id: 'run' });
    await untilHeld();
    await (await queue.getBatch('run.users')).cancel();
    gate.open();
    const status = await run.waitUntilFinished(10_000);
    expect(statesOf(status)).toEqual({ first: 'succeeded', users: 'cancelled', cs: 'skipped', last: 'succeeded' });
    expect(ran).toContain('last');
  });

  test('whose producer is frozen before it begins is abandoned, stages skipped, and revived when it goes on', async ({
    testbed,
  }) => {
    const held = await testbed.heldConnection();
    const { ran } = tell(testbed);
    const queue = testbed.queue('work', { connection: held.connection, skipMetasUpdate: true });
    const workflow = defineWorkflow('w', { a: { queue, name: 'a' }, b: { after: 'a', queue, name: 'b' } });
    held.countFrom();
    // After the run and its two stages.
    held.holdBefore(4);
    const starting = workflow.start({}, { id: 'run', openTimeout: 300 });
    expect((await held.heldOrEnded(starting))?.name).toBe('seal');
    testbed.batchWorker();
    const run = await testbed.queue('work').getBatch('run');
    const status = await run.waitUntilFinished(10_000);
    expect(status).toMatchObject({ state: 'failed', abandoned: true });
    expect(status.stages?.map(({ state }) => state)).toEqual(['skipped', 'skipped']);
    expect(ran).toEqual([]);
    held.release();
    await starting;
    await eventually(async () => (await run.status()).state === 'succeeded');
    expect(ran).toEqual(['a', 'b']);
  });

  test('that was abandoned goes on although its producer, which has sealed it at last, dies before it revives it', async ({
    testbed,
  }) => {
    const held = await testbed.heldConnection();
    const { ran } = tell(testbed);
    const queue = testbed.queue('work', { connection: held.connection, skipMetasUpdate: true });
    const workflow = defineWorkflow('w', { a: { queue, name: 'a' }, b: { after: 'a', queue, name: 'b' } });
    held.countFrom();
    held.holdBefore(4);
    const starting = workflow.start({}, { id: 'run', openTimeout: 300 });
    expect((await held.heldOrEnded(starting))?.name).toBe('seal');
    testbed.batchWorker({ reconcileInterval: 50 });
    const run = await testbed.queue('work').getBatch('run');
    await run.waitUntilFinished(10_000);
    const judged = () => testbed.redis.hget(`${testbed.prefix}:batches:run`, 'b:judged');
    await eventually(async () => (await judged()) === '0');
    held.holdBefore(5);
    expect((await held.heldOrEnded(starting))?.position).toBe(5);
    await eventually(async () => (await run.status()).state === 'succeeded');
    expect(ran).toEqual(['a', 'b']);
  });

  test('with a stage that was cancelled before the next ones were created tells them', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const { ran } = tell(testbed);
    const queue = testbed.queue('work', { connection: held.connection, skipMetasUpdate: true });
    const workflow = defineWorkflow('w', {
      a: { queue, name: 'a' },
      b: { after: 'a', queue, name: 'b' },
      rescue: { after: ['a', 'b'], when: 'failure', queue, name: 'rescue' },
    });
    testbed.batchWorker();
    held.countFrom();
    // After the run and its first stage.
    held.holdBefore(3);
    const starting = workflow.start({}, { id: 'run' });
    expect((await held.heldOrEnded(starting))?.name).toBe('createBatch');
    const stage = await testbed.queue('work').getBatch('run.a');
    await stage.cancel();
    await stage.waitUntilFinished(10_000);
    held.release();
    const status = await (await starting).waitUntilFinished(10_000);
    expect(statesOf(status)).toEqual({ a: 'cancelled', b: 'skipped', rescue: 'succeeded' });
    expect(ran).toEqual(['rescue']);
  });

  test('whose producer has died says that it is to be started again, and once it is abandoned that it is over', async ({
    testbed,
  }) => {
    const held = await testbed.heldConnection();
    const { ran } = tell(testbed);
    const queue = testbed.queue('work', { connection: held.connection, skipMetasUpdate: true });
    const stages = { a: { queue, name: 'a' }, b: { after: 'a', queue, name: 'b' } } as const;
    held.countFrom();
    held.holdBefore(3);
    const starting = defineWorkflow('w', stages).start({}, { id: 'run', openTimeout: 1000 });
    await held.heldOrEnded(starting);
    const users = testbed.queue('work');
    const workflow = defineWorkflow('w', { a: { ...stages.a, queue: users }, b: { ...stages.b, queue: users } });
    const run = await workflow.getRun('run');
    expect((await run.explain()).reasons.join(' ')).toContain("call start() again with the id 'run'");
    testbed.batchWorker();
    expect(await run.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', abandoned: true });
    expect((await run.explain()).reasons.slice(1)).toEqual([
      "stage 'a' was skipped.",
      "Call start() again with the id 'run': the run goes on if all of its stages were created.",
    ]);
    const refused = expect(workflow.start({}, { id: 'run' })).rejects;
    await refused.toThrow(
      "Run 'run' was abandoned before all of its stages were created: none of them has started, and none will. Remove " +
        "it, (await workflow.getRun('run')).remove({ force: true }), and start it again, or use another id.",
    );
    await expect((await users.getBatch('run')).add('late', {})).rejects.toThrow(
      "Batch 'run' was abandoned: nothing can be added",
    );
    await run.remove({ force: true });
    const again = await workflow.start({}, { id: 'run' });
    expect((await again.waitUntilFinished(10_000)).state).toBe('succeeded');
    held.release();
    await starting;
    expect(ran).toEqual(['a', 'b']);
  });

  test('whose data is evicted leaves stages that say so', async ({ testbed }) => {
    const { queue } = tell(testbed);
    const inner = defineWorkflow('inner', { x: { queue, name: 'x' }, y: { after: 'x', queue, name: 'y' } });
    await defineWorkflow('w', { inner: { workflow: inner } }).start({}, { id: 'run' });
    await testbed.redis.del(`${testbed.prefix}:batches:run.inner`);
    const stage = await queue.getBatch('run.inner.y');
    expect((await stage.explain()).reasons).toContain(
      "Its run 'run.inner' is gone: it was removed, or its data was deleted or evicted for want of memory. This stage " +
        'never starts: call remove({ force: true }).',
    );
    await stage.remove({ force: true });
    await expect(queue.getBatch('run.inner.y')).rejects.toThrow(BatchNotFoundError);
  });

  test('leaves no key when it is removed, whatever its stages have come to', async ({ testbed }) => {
    const { queue } = tell(testbed, { bad: fail });
    const batchWorker = testbed.batchWorker();
    const workflow = defineWorkflow('w', {
      bad: { queue, name: 'bad' },
      next: { after: 'bad', queue, jobs: Array.from({ length: 300 }, () => ({ name: 'next' })) },
      each: { forEach: 'next', queue, name: 'each' },
    });
    const run = await workflow.start({}, { on: { complete: { name: 'complete' } } });
    await run.waitUntilFinished(10_000);
    await run.remove({ members: true });
    await batchWorker.close();
    expect(await jobKeys(testbed, 'batches')).toEqual([]);
    expect(await jobKeys(testbed, 'work')).toEqual([]);
  });

  test('that is started inside of jobs(fn) is a member, also without waiting for it, and not once fn has ended', async ({
    testbed,
  }) => {
    const { queue } = tell(testbed);
    const workflow = defineWorkflow('w', { a: { queue, name: 'a' } });
    const parent = await queue.createBatch();
    const { opened, open } = gate();
    const [begun, late]: Promise<{ readonly parentId: string | undefined }>[] = await parent.jobs(() => [
      workflow.start({}),
      opened.then(() => workflow.start({})),
    ]);
    expect((await begun)?.parentId).toBe(parent.id);
    const refused = expect(late).rejects.toThrow("start() of workflow 'w' was called by code that jobs(fn)");
    open();
    await refused;
    expect(await parent.status()).toMatchObject({ total: 1 });
  });

  test('is a batch: it can be a member of another one, and each stage has callbacks and options of its own', async ({
    testbed,
  }) => {
    const { queue, ran } = tell(testbed, { bad: fail });
    testbed.batchWorker();
    const workflow = defineWorkflow('w', {
      a: { queue, name: 'bad', jobOptions: { attempts: 2 }, on: { death: { name: 'a died' } } },
      b: { after: 'a', when: 'complete', queue, name: 'b', on: { success: { name: 'b done' } } },
    });
    const parent = await queue.createBatch({ on: { complete: { name: 'all done' } } });
    const run = await workflow.start({}, { parent });
    await parent.seal();
    expect(run.parentId).toBe(parent.id);
    expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', total: 1, failed: 1 });
    expect(ran.filter((name) => name === 'bad').length).toBe(2);
    expect(ran.indexOf('b done')).toBeGreaterThan(ran.indexOf('b'));
    expect(ran).toContain('a died');
    expect(ran.at(-1)).toBe('all done');
  });
});
