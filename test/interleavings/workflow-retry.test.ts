import { BatchError, BatchFinishedError, BatchNotFoundError, defineWorkflow } from '../../src/index.js';
import { gateOf } from '../conformance/script.js';
import {
  FAILED_STATES,
  RAN_BEFORE,
  RAN_IN_ALL,
  RECOVERED_STATES,
  RECOVERING_ON,
  recovering,
  sickness,
} from '../support/graph.js';
import type { HeldConnection } from '../support/held-connection.js';
import { heldBatchWorker, interleave } from '../support/interleave.js';
import { jobKeys } from '../support/job-keys.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';
import { statesOf } from '../workflow/story.js';
import { AN_HOUR, loseLock } from './story.js';

const TIMEOUT = { timeout: 300_000 };

/** A run that has failed, and whose members would succeed now, in the hands of the actor and of all others. */
async function failedRun(testbed: Testbed, held: HeldConnection) {
  const ran: string[] = [];
  const { heal, processor } = sickness(ran);
  testbed.worker('work', processor, { concurrency: 10 });
  const queue = testbed.queue('work');
  const before = testbed.batchWorker();
  const run = await recovering(queue).start({}, { id: 'run', on: RECOVERING_ON });
  expect(statesOf(await run.waitUntilFinished(10_000))).toEqual(FAILED_STATES);
  expect([...ran].sort()).toEqual(RAN_BEFORE);
  await before.close();
  heal();
  const actorsQueue = testbed.queue('work', { connection: held.connection, skipMetasUpdate: true });
  const actors = await recovering(actorsQueue).getRun('run');
  return { testbed, held, ran, queue, run, actors };
}

async function failedRunWithBatchWorker(testbed: Testbed, held: HeldConnection) {
  const situation = await failedRun(testbed, held);
  testbed.batchWorker();
  return situation;
}

type Situation = Awaited<ReturnType<typeof failedRun>>;

async function expectRecovery({ run, ran }: Situation): Promise<void> {
  const status = await eventually(async () => {
    const now = await run.status();
    return now.state === 'succeeded' ? now : undefined;
  }, 10_000);
  expect(statesOf(status)).toEqual(RECOVERED_STATES);
  expect(status).toMatchObject({ recovered: true, total: 11, succeeded: 11, missing: 0 });
  expect([...ran].sort()).toEqual(RAN_IN_ALL);
}

describe('retry() of a run', () => {
  test(
    'twice at once: each stage that can start now starts once, and the run recovers',
    TIMEOUT,
    async ({ testbed }) => {
      await interleave(testbed, {
        setup: failedRunWithBatchWorker,
        actor: ({ actors }) => actors.retry(),
        async other({ run }) {
          await run.retry();
          await eventually(async () => (await run.status()).state === 'succeeded', 10_000);
        },
        verdict: expectRecovery,
      });
    },
  );

  test(
    'is as good as one that ended, when its process stops at any step and another one retries',
    TIMEOUT,
    async ({ testbed }) => {
      await interleave(testbed, {
        setup: failedRun,
        actor: ({ actors }) => actors.retry(),
        async other({ testbed, run }) {
          await run.retry();
          testbed.batchWorker();
        },
        verdict: expectRecovery,
      });
    },
  );

  test(
    'beside cancel(): the run is cancelled, or there was nothing to cancel and it recovers',
    TIMEOUT,
    async ({ testbed }) => {
      const ends = new Set<string>();
      await interleave(testbed, {
        setup: failedRunWithBatchWorker,
        actor: ({ actors }) => actors.retry(),
        other: ({ run }) => run.cancel('enough'),
        refusals: { actor: [BatchFinishedError], other: [BatchError] },
        async verdict(situation, { other }) {
          const { run, ran } = situation;
          if (other.status === 'rejected') {
            expect(String(other.reason)).toContain('has nothing left to cancel');
            ends.add('recovered');
            return expectRecovery(situation);
          }
          ends.add('cancelled');
          const status = await eventually(async () => {
            const now = await run.status();
            return now.state === 'cancelled' ? now : undefined;
          }, 10_000);
          expect(status.cancelReason).toBe('enough');
          expect(status.stages.filter(({ state }) => /waiting|running|finishing/.test(state))).toEqual([]);
          // Nothing ran twice that is not promised to, and nothing fires a second time.
          expect(ran.filter((name) => /complete|success|death/.test(name)).sort()).toEqual(
            [...new Set(ran.filter((name) => /complete|success|death/.test(name)))].sort(),
          );
          expect(ran).not.toContain('run success');
        },
      });
      expect([...ends].sort()).toEqual(['cancelled', 'recovered']);
    },
  );

  test('beside remove(): the run recovers, or it is gone and leaves nothing', TIMEOUT, async ({ testbed }) => {
    const ends = new Set<string>();
    await interleave(testbed, {
      setup: failedRunWithBatchWorker,
      actor: ({ actors }) => actors.retry(),
      other: ({ run }) => run.remove({ force: true, members: true }),
      refusals: { actor: [BatchNotFoundError] },
      async verdict({ testbed, ran }) {
        ends.add('gone');
        await eventually(async () => (await jobKeys(testbed, 'batches')).length === 0, 10_000);
        // While the actor was held late, the run may have recovered before it was removed.
        if (ran.includes('run success')) {
          expect([...ran].sort()).toEqual(RAN_IN_ALL);
        }
      },
    });
    expect([...ends]).toEqual(['gone']);
  });
});

describe('a BatchWorker that goes on with a retried run, and is frozen until its lock has run out', () => {
  test(
    'leaves it to another one, also when the run is retried again: each stage starts once',
    TIMEOUT,
    async ({ testbed }) => {
      await interleave(testbed, {
        async setup(testbed, held) {
          const ran: string[] = [];
          const { heal, processor } = sickness(ran);
          testbed.worker('work', processor, { concurrency: 10 });
          const queue = testbed.queue('work');
          const inner = defineWorkflow('inner', { x: { queue, name: 'sick x' }, y: { after: 'x', queue, name: 'y' } });
          const workflow = defineWorkflow('frozen', {
            sick: { queue, name: 'sick', on: { success: { name: 'healed' } } },
            filled: { after: 'sick', queue, jobs: Array.from({ length: 11 }, () => ({ name: 'filled' })) },
            inner: { workflow: inner },
            end: { after: ['filled', 'inner'], queue, name: 'end' },
            report: { after: ['sick', 'end'], when: 'complete', queue, name: 'report' },
          });
          const before = testbed.batchWorker();
          const run = await workflow.start({}, { id: 'run' });
          expect((await run.waitUntilFinished(10_000)).state).toBe('failed');
          await before.close();
          heal();
          await heldBatchWorker(testbed, held);
          return { testbed, run, ran };
        },
        async actor({ run }) {
          await run.retry();
          await eventually(async () => (await run.status()).state === 'succeeded', 11_000);
        },
        async other({ testbed, run }) {
          const story = { testbed } as unknown as Parameters<typeof loseLock>[0];
          for (const end of ['', '.sick', '.filled', '.inner', '.inner.x', '.inner.y', '.end']) {
            await loseLock(story, { id: `run${end}` });
          }
          testbed.batchWorker({ stalledInterval: 20 });
          await run.retry();
          await eventually(async () => (await run.status()).state === 'succeeded', 11_000);
        },
        async verdict({ run, ran }) {
          expect(statesOf(await run.status())).toEqual({
            ...{ sick: 'succeeded', filled: 'succeeded', inner: 'succeeded', end: 'succeeded', report: 'succeeded' },
          });
          const filled = Array.from({ length: 11 }, () => 'filled');
          const sick = ['sick', 'sick', 'sick x', 'sick x'];
          expect([...ran].sort()).toEqual(['end', ...filled, 'healed', 'report', ...sick, 'y']);
        },
      });
    },
  );
});

describe('a stage that finishes while a BatchWorker takes up another one, which is retried', () => {
  test('starts what comes after both once, and the run ends', TIMEOUT, async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const ran: string[] = [];
        const { heal, processor } = sickness(ran);
        const slow = gateOf(testbed);
        testbed.worker(
          'work',
          async (job) => {
            const result = await processor(job);
            if (job.name === 'slow') await slow.opened;
            return result;
          },
          { concurrency: 10 },
        );
        const queue = testbed.queue('work');
        const inner = defineWorkflow('inner', { x: { queue, name: 'x' }, y: { after: 'x', queue, name: 'y' } });
        const both = ['sick', 'slow'] as const;
        const workflow = defineWorkflow('two', {
          sick: { queue, name: 'sick' },
          slow: { queue, name: 'slow' },
          next: { after: 'sick', queue, name: 'next' },
          filled: { after: both, queue, jobs: Array.from({ length: 11 }, () => ({ name: 'filled' })) },
          inner: { after: both, workflow: inner },
          end: { after: ['next', 'filled', 'inner'], queue, name: 'end' },
          report: { after: [...both, 'next'], when: 'complete', queue, name: 'report' },
          rescue: { after: ['end', 'next'], when: 'failure', queue, name: 'rescue' },
        });
        const before = testbed.batchWorker();
        const run = await workflow.start({}, { id: 'run' });
        await eventually(async () => statesOf(await run.status()).rescue === 'skipped');
        await before.close();
        heal();
        await heldBatchWorker(testbed, held);
        return { testbed, run, ran, slow };
      },
      async actor({ run }) {
        await run.retry();
        await eventually(async () => statesOf(await run.status()).next === 'succeeded');
      },
      async other({ testbed, run, slow }) {
        testbed.batchWorker();
        slow.open();
        await eventually(async () => (await run.status()).stages[1]?.pending === 0);
      },
      async verdict({ run, ran }) {
        const status = await eventually(async () => {
          const now = await run.status();
          return now.state === 'succeeded' ? now : undefined;
        }, 10_000);
        expect(statesOf(status)).toEqual({
          ...{ sick: 'succeeded', slow: 'succeeded', next: 'succeeded', filled: 'succeeded', inner: 'succeeded' },
          ...{ end: 'succeeded', report: 'succeeded', rescue: 'skipped' },
        });
        const filled = Array.from({ length: 11 }, () => 'filled');
        expect([...ran].sort()).toEqual(['end', ...filled, 'next', 'report', 'sick', 'sick', 'slow', 'x', 'y']);
      },
    });
  });
});

describe('a stage that is retried, and fails again, while a BatchWorker skips what comes after it', () => {
  test('what comes after it is skipped again, and the run ends', TIMEOUT, async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const ran: string[] = [];
        testbed.worker('work', sickness(ran).processor, { concurrency: 10 });
        const queue = testbed.queue('work');
        const inner = defineWorkflow('inner', {
          x: { queue, name: 'x' },
          y: { after: 'x', queue, name: 'y' },
          told: { after: 'y', when: 'complete', queue, name: 'told' },
        });
        const workflow = defineWorkflow('again', {
          sick: { queue, name: 'sick', opts: { delay: AN_HOUR } },
          inner: { after: 'sick', workflow: inner },
          next: { after: 'sick', queue, name: 'next' },
          last: { after: 'next', queue, name: 'last' },
          report: { after: ['next', 'last'], when: 'complete', queue, name: 'report' },
        });
        const before = testbed.batchWorker();
        const run = await workflow.start({}, { id: 'run' });
        const [job] = await eventually(async () => {
          const delayed = await queue.getDelayed();
          return delayed.length > 0 ? delayed : undefined;
        });
        await before.close();
        await heldBatchWorker(testbed, held);
        return { testbed, queue, run, ran, job };
      },
      async actor({ run, job }) {
        await job?.promote();
        await eventually(async () => (await run.status()).finishedAt);
      },
      async other({ testbed, queue, ran }) {
        const stage = await eventually(async () => {
          const found = await queue.getBatch('run.sick');
          return (await found.status()).failed === 1 ? found : undefined;
        });
        const isHeld = await testbed.redis.exists(`${testbed.prefix}:batches:run.sick:lock`);
        await stage.retry();
        await testbed.redis.del(`${testbed.prefix}:batches:reconciler:leader`);
        testbed.batchWorker({ reconcileInterval: 50, stalledInterval: 50 });
        // Where the actor holds another stage, this one ends without it.
        await eventually(async () => {
          const { state } = await stage.status();
          return isHeld || (state === 'failed' && ran.filter((name) => name === 'sick').length === 2);
        });
      },
      async verdict({ run, ran }) {
        // It has failed before, and fails again when the stage has.
        await eventually(async () => {
          expect(ran.filter((name) => name === 'sick').length).toBe(2);
          const status = await run.status();
          expect([status.state, statesOf(status)]).toEqual([
            'failed',
            { sick: 'failed', inner: 'skipped', next: 'skipped', last: 'skipped', report: 'succeeded' },
          ]);
          return true;
        }, 10_000);
        expect([...ran].sort()).toEqual(['report', 'sick', 'sick']);
      },
    });
  });
});

/** Stops the held BatchWorker before its first command of this name. */
async function stopBefore<T>(held: HeldConnection, name: string, begin: () => T): Promise<Awaited<T>> {
  held.countFrom();
  held.holdBefore(1);
  const begun = await begin();
  for (let position = 2; (await held.heldOrEnded(new Promise(() => {})))?.name !== name; position++) {
    held.holdBefore(position);
  }
  return begun;
}

/**
 * A stage that has failed, and will run until the gate `again` when it is retried; beside it one that has just ended,
 * at the step in which its BatchWorker is about to start what comes after both in any way.
 */
async function aboutToStart(testbed: Testbed) {
  const held = await testbed.heldConnection();
  const ran: string[] = [];
  const [beside, again] = [gateOf(testbed), gateOf(testbed)];
  testbed.worker(
    'work',
    async ({ name }) => {
      ran.push(name);
      if (name === 'beside') {
        await beside.opened;
      } else if (name === 'sick' && ran.filter((other) => other === 'sick').length === 1) {
        throw new Error('bad');
      } else if (name === 'sick') {
        await again.opened;
      }
    },
    { concurrency: 10 },
  );
  const queue = testbed.queue('work');
  const workflow = defineWorkflow('again', {
    beside: { queue, name: 'beside' },
    sick: { queue, name: 'sick' },
    report: { after: ['beside', 'sick'], when: 'complete', queue, name: 'report' },
    rescue: { after: ['beside', 'sick'], when: 'failure', queue, name: 'rescue' },
  });
  const before = testbed.batchWorker();
  const run = await workflow.start({}, { id: 'run' });
  await eventually(async () => statesOf(await run.status()).sick === 'failed');
  await before.close();
  await heldBatchWorker(testbed, held);
  await stopBefore(held, 'startStage', beside.open);
  const expectRecovered = async () => {
    await eventually(async () => (await run.status()).state === 'succeeded');
    expect(ran.filter((name) => name !== 'beside')).toEqual(['sick', 'sick', 'report']);
  };
  return {
    ...{ held, queue, run, again, expectRecovered },
    async expectWaitedFor() {
      await eventually(async () => statesOf(await run.status()).beside === 'succeeded');
      expect(statesOf(await run.status())).toEqual({
        ...{ beside: 'succeeded', sick: 'running', report: 'waiting', rescue: 'waiting' },
      });
      again.open();
      await expectRecovered();
    },
  };
}

describe('a stage that is retried between the end of the one beside it and the start of what comes after both', () => {
  test('is waited for again', async ({ testbed }) => {
    const { held, queue, expectWaitedFor } = await aboutToStart(testbed);
    testbed.batchWorker();
    await (await queue.getBatch('run.sick')).retry();
    const batches = testbed.plainQueue('batches');
    await eventually(async () => (await batches.getJobState('run.sick')) === 'waiting-children');
    held.release();
    await expectWaitedFor();
  });

  test('is waited for again, also when no BatchWorker has taken it up', async ({ testbed }) => {
    const { held, queue, expectWaitedFor } = await aboutToStart(testbed);
    await (await queue.getBatch('run.sick')).retry();
    expect(await testbed.plainQueue('batches').getJobState('run.sick')).toBe('waiting');
    held.release();
    await expectWaitedFor();
  });

  test('is judged again before, when its members have ended, and no BatchWorker has taken it up', async ({
    testbed,
  }) => {
    const { held, queue, run, again, expectRecovered } = await aboutToStart(testbed);
    again.open();
    await (await queue.getBatch('run.sick')).retry();
    await eventually(async () => (await run.status()).stages[1]?.pending === 0);
    expect(await testbed.plainQueue('batches').getJobState('run.sick')).toBe('waiting');
    held.release();
    await expectRecovered();
  });

  test('is waited for again, also when its members have ended, and a BatchWorker has just taken it up', async ({
    testbed,
  }) => {
    const { held, queue, run, again, expectRecovered } = await aboutToStart(testbed);
    const slow = await testbed.heldConnection();
    await heldBatchWorker(testbed, slow);
    again.open();
    const stage = await queue.getBatch('run.sick');
    await stopBefore(slow, 'decide', () => stage.retry());
    await eventually(async () => (await stage.status()).pending === 0);
    held.release();
    await held.idle();
    expect(statesOf(await run.status())).toMatchObject({ report: 'waiting', rescue: 'waiting' });
    slow.release();
    await expectRecovered();
  });

  test('is waited for again, also when only its member is retried by hand', async ({ testbed }) => {
    const { held, queue, expectWaitedFor } = await aboutToStart(testbed);
    await (await queue.getFailed())[0]?.retry();
    expect(await testbed.plainQueue('batches').getJobState('run.sick')).toBe('failed');
    held.release();
    await expectWaitedFor();
  });
});

/**
 * Starts a run in which the stage 'sick' fails, and freezes its BatchWorker when the stage 'next' after it has told
 * those after it that it is skipped, and is about to end so.
 */
async function startUntilSkippedEnds<Run>(testbed: Testbed, start: () => Promise<Run>) {
  const held = await testbed.heldConnection();
  await heldBatchWorker(testbed, held);
  const run = await stopBefore(held, 'release', start);
  await stopBefore(held, 'release', () => {});
  await stopBefore(held, 'release', () => {});
  await stopBefore(held, 'moveToFinished', () => {});
  expect(await testbed.redis.hget(`${testbed.prefix}:batches:run.next`, 'b:outcome')).toBe('skipped');
  return { run, first: held };
}

describe('a run that is cancelled between the end of a retried stage and the start of what was skipped after it', () => {
  test('starts it no more', async ({ testbed }) => {
    const second = await testbed.heldConnection();
    const slow = gateOf(testbed);
    const ran: string[] = [];
    const { heal, processor } = sickness(ran);
    const process = async (job: { readonly name: string }) => {
      await processor(job);
      if (job.name === 'slow') await slow.opened;
    };
    testbed.worker('work', process, { concurrency: 10 });
    const queue = testbed.queue('work');
    const workflow = defineWorkflow('late', {
      slow: { queue, name: 'slow' },
      sick: { queue, name: 'sick' },
      next: { after: 'sick', queue, name: 'next' },
    });
    const { run, first } = await startUntilSkippedEnds(testbed, () => workflow.start({}, { id: 'run' }));
    heal();
    await heldBatchWorker(testbed, second);
    await stopBefore(second, 'startStage', () => run.retry());
    first.release();
    await eventually(async () => (await run.status()).stages[2]?.finishedAt);
    await run.cancel();
    second.release();
    await second.idle();
    slow.open();
    const status = await run.waitUntilFinished(10_000);
    expect([status.state, statesOf(status).next]).toEqual(['cancelled', 'cancelled']);
    expect([...ran].sort()).toEqual(['sick', 'sick', 'slow']);
  });
});

describe('a stage that was skipped, with hundreds of stages after it, and is started as it ends', () => {
  test('starts when all of those wait again: none after them, in any way, starts before them', async ({ testbed }) => {
    const second = await testbed.heldConnection();
    const [slow, next] = [gateOf(testbed), gateOf(testbed)];
    const ran: string[] = [];
    const { heal, processor } = sickness(ran);
    const process = async (job: { readonly name: string }) => {
      await processor(job);
      if (job.name === 'slow') await slow.opened;
      if (job.name === 'next') await next.opened;
    };
    testbed.worker('work', process, { concurrency: 10 });
    const queue = testbed.queue('work');
    const leaves = Array.from({ length: 300 }, (_, i) => `leaf-${i}`);
    const workflow = defineWorkflow('wide', {
      slow: { queue, name: 'slow' },
      sick: { queue, name: 'sick' },
      next: { after: 'sick', queue, name: 'next' },
      ...Object.fromEntries(leaves.map((name) => [name, { after: 'next', queue, name }])),
      last: { after: 'next', queue, name: 'last' },
      sum: { after: ['slow', 'last'], when: 'complete', queue, name: 'sum' },
    });
    const { run, first } = await startUntilSkippedEnds(testbed, () => workflow.start({}, { id: 'run' }));
    const hasEnded = async (stage: string) =>
      (await testbed.redis.zscore(`${testbed.prefix}:batches:completed`, `run.${stage}`)) !== null;
    const other = testbed.batchWorker();
    await eventually(() => hasEnded('last'));
    await other.close();
    heal();
    await heldBatchWorker(testbed, second);
    await stopBefore(second, 'startStage', () => run.retry());
    first.release();
    await eventually(() => hasEnded('next'));
    second.release();
    await eventually(() => ran.includes('next'));
    slow.open();
    await eventually(() => hasEnded('slow'));
    next.open();
    expect((await run.waitUntilFinished(20_000)).state).toBe('succeeded');
    expect(ran.indexOf('sum')).toBeGreaterThan(ran.indexOf('last'));
  });
});

describe('a stage that is removed while a BatchWorker takes it up again', () => {
  test('is gone, and its run ends', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const { heal, processor } = sickness([]);
    testbed.worker('work', processor);
    const queue = testbed.queue('work');
    const stages = { sick: { queue, name: 'sick' }, next: { after: 'sick', queue, name: 'next' } } as const;
    const before = testbed.batchWorker();
    const run = await defineWorkflow('removed', stages).start({}, { id: 'run' });
    expect((await run.waitUntilFinished(10_000)).state).toBe('failed');
    await before.close();
    await heldBatchWorker(testbed, held);
    heal();
    const stage = await queue.getBatch('run.sick');
    await stopBefore(held, 'decide', () => stage.retry());
    const removing = stage.remove({ force: true });
    await eventually(
      async () => (await testbed.redis.hexists(`${testbed.prefix}:batches:run.sick`, 'b:removal')) === 1,
    );
    held.release();
    await removing;
    // The held BatchWorker leads maintenance, for an hour: what comes after the stage must not wait for it.
    await testbed.redis.del(`${testbed.prefix}:batches:reconciler:leader`);
    testbed.batchWorker({ reconcileInterval: 50 });
    expect(await run.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', missing: 1 });
  });
});

describe('a stage whose data is evicted while a BatchWorker is about to end it', () => {
  test('leaves no remains under its id', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const { processor } = sickness([]);
    testbed.worker('work', processor);
    const queue = testbed.queue('work');
    const stages = { empty: { queue, jobs: [], on: { complete: { name: 'complete' } } } } as const;
    await heldBatchWorker(testbed, held);
    await stopBefore(held, 'release', () => defineWorkflow('evicted', stages).start({}, { id: 'run' }));
    // The first is that of the run, which lets the stage start.
    await stopBefore(held, 'release', () => {});
    const key = `${testbed.prefix}:batches:run.empty`;
    expect(await testbed.redis.del(key)).toBe(1);
    held.release();
    await held.idle();
    expect(await testbed.redis.exists(key)).toBe(0);
  });
});
