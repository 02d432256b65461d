import { BatchError, defineWorkflow } from '../../src/index.js';
import type { HeldConnection } from '../support/held-connection.js';
import { heldBatchWorker, interleave } from '../support/interleave.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';
import { statesOf } from '../workflow/story.js';
import { AN_HOUR, inBothHands, loseLock, takeOver, tell } from './story.js';

/** Two stages, one that comes after both, and one after that: the jobs of the two wait until they are let go. */
function meeting(testbed: Testbed, held: HeldConnection, other = 'other') {
  const story = tell(testbed, held);
  const stages = {
    held: { queue: story.users, name: 'held' },
    other: { queue: story.users, name: other, opts: { delay: AN_HOUR } },
    both: { after: ['held', 'other'], queue: story.users, jobs: Array.from({ length: 11 }, () => ({ name: 'both' })) },
    end: { after: 'both', when: 'complete', queue: story.users, name: 'end' },
  } as const;
  const letOtherGo = async () => {
    const [job] = await eventually(async () => {
      const delayed = await story.users.getDelayed();
      return delayed.length > 0 ? delayed : undefined;
    });
    await job?.promote();
  };
  return { ...story, letOtherGo, workflow: defineWorkflow('meeting', stages) };
}

const BOTH = Array.from({ length: 11 }, () => 'both');

describe('two predecessors', () => {
  test.for(['other', 'bad'])(
    'finish at once, of which one is %s: the stage after both is released, or skipped, once',
    async (other, { testbed }) => {
      await interleave(testbed, {
        async setup(testbed, held) {
          const situation = meeting(testbed, held, other);
          // Another BatchWorker brings the run so far that only the two are left to finish.
          const before = testbed.batchWorker();
          const run = await situation.workflow.start();
          await eventually(async () => {
            const { stages } = await run.status();
            return situation.ran.includes('held') && stages[1]?.state === 'running';
          });
          await before.close();
          await heldBatchWorker(testbed, held);
          return { ...situation, run };
        },
        async actor({ gate, run }) {
          gate.open();
          await eventually(async () => (await run.status()).stages[0]?.finishedAt);
        },
        async other({ testbed, letOtherGo, run }) {
          testbed.batchWorker();
          await letOtherGo();
          await eventually(async () => (await run.status()).stages[1]?.finishedAt);
        },
        async verdict({ run, ran }) {
          const status = await run.waitUntilFinished(10_000);
          const expected = other === 'bad' ? ['skipped', 'failed'] : ['succeeded', 'succeeded'];
          expect([status.stages[2]?.state, status.state]).toEqual(expected);
          expect(ran.filter((name) => name === 'both')).toEqual(other === 'bad' ? [] : BOTH);
          expect(ran.filter((name) => name === 'end')).toEqual(['end']);
        },
      });
    },
  );
});

describe('a BatchWorker that is frozen until its lock has run out', () => {
  test('leaves the releasing, and the filling, of a stage to another one: each job runs once', {
    timeout: 240_000,
  }, async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const situation = meeting(testbed, held);
        await heldBatchWorker(testbed, held);
        return situation;
      },
      async actor({ workflow, gate, letOtherGo }) {
        gate.open();
        const run = await workflow.start({}, { id: 'run' });
        await letOtherGo();
        await run.waitUntilFinished(10_000);
      },
      async other(situation) {
        const { users } = situation;
        await eventually(async () => {
          const run = await users.getBatch('run');
          return (await run.status()).sealed;
        });
        for (const id of ['run', 'run.held', 'run.other', 'run.both', 'run.end']) {
          await loseLock(situation, { id });
        }
        takeOver(situation);
        await (await users.getBatch('run')).waitUntilFinished(10_000);
      },
      async verdict({ workflow, ran }) {
        const status = await (await workflow.getRun('run')).waitUntilFinished(10_000);
        expect(statesOf(status)).toEqual({
          held: 'succeeded',
          other: 'succeeded',
          both: 'succeeded',
          end: 'succeeded',
        });
        expect([...ran].sort()).toEqual([...BOTH, 'end', 'held', 'other']);
      },
    });
  });
});

describe('start()', () => {
  test('twice with one id, one while the other is at any step: one run, each stage starts once', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker();
        const workflowOn = (queue: typeof story.users) =>
          defineWorkflow('twice', {
            a: { queue, name: 'a' },
            many: { after: 'a', queue, jobs: Array.from({ length: 250 }, () => ({ name: 'many' })) },
            end: { after: 'many', queue, name: 'end' },
          });
        return { ...story, others: workflowOn(story.users), actors: workflowOn(story.actorsUsers) };
      },
      actor: ({ actors }) => actors.start({}, { id: 'run' }),
      async other({ others }) {
        await (await others.start({}, { id: 'run' })).waitUntilFinished(10_000);
      },
      async verdict({ others, ran }) {
        const status = await (await others.getRun('run')).waitUntilFinished(10_000);
        expect(status).toMatchObject({ state: 'succeeded', total: 3 });
        expect(ran.filter((name) => name !== 'many')).toEqual(['a', 'end']);
        expect(ran.length).toBe(252);
      },
    });
  });
});

describe('a stage that has failed', () => {
  test('is retried at any step of the BatchWorker that skips what comes after it: the run goes on, and succeeds', {
    timeout: 240_000,
  }, async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        const queue = story.users;
        const inner = defineWorkflow('inner', { x: { queue, name: 'x' } });
        const workflow = defineWorkflow('healed', {
          bad: { queue, name: 'bad', opts: { delay: AN_HOUR } },
          whole: { after: 'bad', queue, name: 'whole' },
          filled: { after: 'bad', queue, jobs: Array.from({ length: 11 }, () => ({ name: 'filled' })) },
          inner: { after: 'bad', workflow: inner },
          end: { after: ['whole', 'filled', 'inner'], queue, name: 'end' },
        });
        const before = testbed.batchWorker();
        const run = await workflow.start({}, { id: 'run' });
        const [job] = await eventually(async () => {
          const delayed = await queue.getDelayed();
          return delayed.length > 0 ? delayed : undefined;
        });
        await eventually(async () => (await run.status()).stages[0]?.state === 'running');
        await before.close();
        await heldBatchWorker(testbed, held);
        return { ...story, run, job };
      },
      async actor({ run, job }) {
        await job?.promote();
        await eventually(async () => (await run.status()).finishedAt);
      },
      async other({ testbed, users, mend }) {
        const stage = await eventually(async () => {
          const found = await users.getBatch('run.bad');
          return (await found.status()).failed === 1 ? found : undefined;
        });
        mend();
        await stage.retry();
        // The held BatchWorker leads maintenance, for an hour: what notices the retry must not wait for it.
        await testbed.redis.del(`${testbed.prefix}:batches:reconciler:leader`);
        testbed.batchWorker({ reconcileInterval: 50, stalledInterval: 50 });
      },
      async verdict({ users, ran }) {
        const run = await users.getBatch('run');
        await eventually(async () => (await run.status()).state === 'succeeded', 10_000);
        const names = [...ran].sort();
        expect(names.filter((name) => name !== 'bad')).toEqual([
          'end',
          ...Array.from({ length: 11 }, () => 'filled'),
          'whole',
          'x',
        ]);
        expect(names.filter((name) => name === 'bad').length).toBe(2);
      },
    });
  });
});

describe('a stage', () => {
  test('is cancelled at any step of the BatchWorker that skips it, or cancel() is refused and a retry can start it', {
    timeout: 240_000,
  }, async ({ testbed }) => {
    const ends = new Set<string>();
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        const queue = story.users;
        const workflow = defineWorkflow('unwanted', {
          bad: { queue, name: 'bad', opts: { delay: AN_HOUR } },
          after: { after: 'bad', queue, name: 'after', on: { complete: { name: 'complete' } } },
        });
        const before = testbed.batchWorker();
        const run = await workflow.start({}, { id: 'run' });
        const [job] = await eventually(async () => {
          const delayed = await queue.getDelayed();
          return delayed.length > 0 ? delayed : undefined;
        });
        await eventually(async () => (await run.status()).stages[0]?.state === 'running');
        await before.close();
        await heldBatchWorker(testbed, held);
        return { ...story, run, job };
      },
      async actor({ run, job }) {
        await job?.promote();
        await eventually(async () => (await run.status()).finishedAt);
      },
      async other({ testbed, users }) {
        await (await users.getBatch('run.after')).cancel();
        testbed.batchWorker();
      },
      refusals: { other: [BatchError] },
      async verdict({ testbed, run, ran, mend }, { other }) {
        const { state, stages } = await run.waitUntilFinished(10_000);
        const end = other.status === 'fulfilled' ? 'cancelled' : 'skipped';
        ends.add(end);
        expect([state, stages[1]?.state]).toEqual(['failed', end]);
        expect(ran).toEqual(end === 'cancelled' ? ['bad', 'complete'] : ['bad']);
        mend();
        testbed.batchWorker();
        await run.retry();
        expect((await run.waitUntilFinished(10_000)).state).toBe(end === 'cancelled' ? 'failed' : 'succeeded');
        expect(ran).toEqual(end === 'cancelled' ? ['bad', 'complete', 'bad'] : ['bad', 'bad', 'after', 'complete']);
      },
    });
    expect([...ends].sort()).toEqual(['cancelled', 'skipped']);
  });
});

describe('a run that is cancelled while a stage of a workflow in it ends', () => {
  test('starts nothing after that stage, and the workflow does not succeed without what comes after it', {
    timeout: 120_000,
  }, async ({ testbed }) => {
    const ends = new Set<string | undefined>();
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        const queue = story.users;
        const inner = defineWorkflow('inner', {
          held: { queue, name: 'held' },
          after: { after: 'held', queue, name: 'after' },
        });
        const workflow = defineWorkflow('outer', {
          inner: { workflow: inner, on: { success: { name: 'inner success' } } },
          beside: { queue, name: 'beside', opts: { delay: AN_HOUR } },
        });
        testbed.batchWorker();
        const run = await workflow.start({}, { id: 'run' });
        await eventually(() => story.ran.includes('held'));
        return { ...(await inBothHands(story, run)), run };
      },
      actor: ({ actors }) => actors.cancel('enough'),
      async other({ users, gate }) {
        gate.open();
        const workflow = await users.getBatch('run.inner');
        await eventually(async () => (await workflow.status()).finishedAt);
      },
      async verdict({ run, ran }) {
        const status = await run.waitUntilFinished(10_000);
        expect(status.state).toBe('cancelled');
        if (!ran.includes('after')) {
          ends.add(statesOf(status).inner);
          expect(ran).toEqual(['held']);
        }
      },
    });
    expect([...ends].filter((end) => end !== 'cancelled' && end !== 'failed')).toEqual([]);
    expect(ends.size).toBeGreaterThan(0);
  });
});
