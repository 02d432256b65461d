import { BatchConflictError, BatchNotFoundError, defineWorkflow, type WorkflowRun } from '../../src/index.js';
import type { HeldConnection } from '../support/held-connection.js';
import { heldBatchWorker, interleave } from '../support/interleave.js';
import { type AnyQueue, describe, eventually, expect, type Testbed, test } from '../support/test.js';
import { statesOf } from '../workflow/story.js';
import { tell } from './story.js';

/** Stages that come before those that they come after, in the definition. */
function flat(queue: AnyQueue) {
  return defineWorkflow('flat', {
    end: { after: ['third', 'many'], when: 'complete', queue, name: 'end' },
    third: { after: 'second', when: 'complete', queue, name: 'third' },
    second: { after: 'first', queue, name: 'second' },
    many: { after: 'first', queue, jobs: Array.from({ length: 201 }, () => ({ name: 'many' })) },
    first: { queue, name: 'first' },
  });
}

function nested(queue: AnyQueue) {
  const deep = defineWorkflow('deep', {
    end: { after: 'third', when: 'complete', queue, name: 'end' },
    third: { queue, name: 'third' },
  });
  const inner = defineWorkflow('inner', {
    deep: { after: 'second', workflow: deep },
    second: { queue, name: 'second' },
  });
  return defineWorkflow('nested', {
    inner: { after: 'first', workflow: inner },
    root: { workflow: defineWorkflow('root', { many: { queue, name: 'many' } }) },
    first: { queue, name: 'first' },
  });
}

const WORKFLOWS = { flat, nested };

/** In this order, each once, whatever else runs. */
const CHAIN = ['first', 'second', 'third', 'end'];

type Again = 'when it has ended' | 'while its stages are skipped';

async function abandoned(run: WorkflowRun, when: Again): Promise<void> {
  await eventually(async () => {
    const { abandoned, finishedAt, sealed } = await run.status();
    return sealed || (abandoned && (finishedAt !== undefined || when === 'while its stages are skipped'));
  }, 10_000);
}

/** Starts the run once more, as often as it is refused: it says what to do, and that is done. */
async function startAgain(workflow: ReturnType<typeof flat> | ReturnType<typeof nested>, ran: readonly string[]) {
  try {
    return await workflow.start({}, { id: 'run' });
  } catch (error) {
    expect(error).toBeInstanceOf(BatchConflictError);
    expect(String(error)).toContain('was abandoned before all of its stages were created');
    const run = await workflow.getRun('run');
    expect(await run.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', abandoned: true });
    expect(ran).toEqual([]);
    await run.remove({ force: true });
    return workflow.start({}, { id: 'run' });
  }
}

/** A workflow in the hands of the actor and of all others, beside a BatchWorker. */
function workflowInBothHands(kind: keyof typeof WORKFLOWS) {
  return async (testbed: Testbed, held: HeldConnection) => {
    const story = tell(testbed, held);
    testbed.batchWorker();
    return { ...story, actors: WORKFLOWS[kind](story.actorsUsers), others: WORKFLOWS[kind](story.users) };
  };
}

describe('a run that is abandoned while its producer is frozen at any step of start()', () => {
  test.for([
    ['flat', 'when it has ended'],
    ['flat', 'while its stages are skipped'],
    ['nested', 'when it has ended'],
    ['nested', 'while its stages are skipped'],
  ] as const)(
    '%s, and started again %s: start() goes on with it, or says what to do',
    { timeout: 240_000 },
    async ([kind, when], { testbed }) => {
      await interleave(testbed, {
        setup: workflowInBothHands(kind),
        actor: ({ actors }) => actors.start({}, { id: 'run', openTimeout: 200 }),
        async other({ others, ran }) {
          const run = await others.getRun('run').catch(() => undefined);
          if (run !== undefined) {
            await abandoned(run, when);
          }
          const again = await startAgain(others, ran);
          await eventually(async () => (await again.status()).state === 'succeeded', 10_000);
        },
        async verdict({ others, ran }) {
          const run = await others.getRun('run');
          expect((await run.status()).state).toBe('succeeded');
          expect(ran.filter((name) => name !== 'many')).toEqual(CHAIN);
          expect(ran.filter((name) => name === 'many').length).toBe(kind === 'flat' ? 201 : 1);
        },
        // It was removed, when the others were told to.
        refusals: { actor: [BatchConflictError, BatchNotFoundError] },
      });
    },
  );

  test.for(['flat', 'nested'] as const)(
    '%s, ends by itself, as failed, when nobody starts it again',
    {
      timeout: 240_000,
    },
    async (kind, { testbed }) => {
      await interleave(testbed, {
        setup: workflowInBothHands(kind),
        actor: ({ actors }) => actors.start({}, { id: 'run', openTimeout: 200 }),
        async other({ others, ran }) {
          const run = await others.getRun('run').catch(() => undefined);
          const status = await run?.waitUntilFinished(10_000);
          if (status?.abandoned === true) {
            expect(status.state).toBe('failed');
            expect(Object.values(statesOf(status)).filter((state) => state !== 'skipped')).toEqual([]);
            expect(ran).toEqual([]);
          }
        },
        async verdict({ others }, { actor }) {
          const run = await others.getRun('run');
          const state = actor.status === 'fulfilled' ? 'succeeded' : 'failed';
          await eventually(async () => (await run.status()).state === state, 10_000);
        },
        refusals: { actor: [BatchConflictError] },
      });
    },
  );
});

/** A run with all of its stages, of which only the seal is missing, about to be abandoned. */
async function unsealed(testbed: Testbed, held: HeldConnection, kind: 'flat' | 'nested') {
  const story = tell(testbed, held);
  const producer = await testbed.heldConnection();
  const queue = testbed.queue('users', { connection: producer.connection, skipMetasUpdate: true });
  const workflow = WORKFLOWS[kind](queue);
  const whole = await producerCommands(testbed, kind);
  producer.countFrom();
  producer.holdBefore(whole);
  const starting = workflow.start({}, { id: 'run', openTimeout: 200 });
  expect((await producer.heldOrEnded(starting))?.name).toBe('seal');
  return { ...story, producer, starting, whole, others: WORKFLOWS[kind](story.users) };
}

/** How many commands a start() takes, the seal among them. */
async function producerCommands(testbed: Testbed, kind: 'flat' | 'nested'): Promise<number> {
  return testbed.within('count', async (own) => {
    const counting = await own.heldConnection();
    const queue = own.queue('users', { connection: counting.connection, skipMetasUpdate: true });
    const workflow = WORKFLOWS[kind](queue);
    counting.countFrom();
    await workflow.start({}, { id: 'run' });
    await counting.idle();
    return counting.commands.length;
  });
}

describe('a run with all of its stages that is being abandoned', () => {
  test.for(['flat', 'nested'] as const)(
    '%s, goes on when its producer does at any step of the BatchWorker that skips them: no stage is too early',
    { timeout: 240_000 },
    async (kind, { testbed }) => {
      await interleave(testbed, {
        async setup(testbed, held) {
          const situation = await unsealed(testbed, held, kind);
          await heldBatchWorker(testbed, held);
          return situation;
        },
        async actor({ others }) {
          const run = await others.getRun('run');
          await eventually(async () => (await run.status()).finishedAt, 10_000);
        },
        async other({ producer, starting, whole }) {
          // Up to its second seal, if it has to wait, or until it has ended.
          producer.holdBefore(whole + 1);
          await producer.heldOrEnded(starting);
        },
        async verdict({ producer, starting, others, ran }) {
          producer.release();
          await starting;
          const run = await others.getRun('run');
          await eventually(async () => (await run.status()).state === 'succeeded', 10_000);
          expect(ran.filter((name) => name !== 'many')).toEqual(CHAIN);
          expect(ran.filter((name) => name === 'many').length).toBe(kind === 'flat' ? 201 : 1);
        },
      });
    },
  );
});
