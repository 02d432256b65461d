import { BatchError, BatchFinishedError, BatchNotFoundError } from '../../src/index.js';
import { gateOf, jobKeys } from '../conformance/script.js';
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
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';
import { statesOf } from '../workflow/story.js';
import { loseLock } from './story.js';

const TIMEOUT = { timeout: 300_000 };
const RUN_AND_STAGES = ['', ...Object.keys(FAILED_STATES).map((name) => `.${name}`), '.inner.x', '.inner.y'];

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
  return { testbed, held, ran, queue, run, actors, gate: gateOf(testbed) };
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
        async setup(testbed, held) {
          const situation = await failedRun(testbed, held);
          testbed.batchWorker();
          return situation;
        },
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
        async setup(testbed, held) {
          const situation = await failedRun(testbed, held);
          testbed.batchWorker();
          return situation;
        },
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
      async setup(testbed, held) {
        const situation = await failedRun(testbed, held);
        testbed.batchWorker();
        return situation;
      },
      actor: ({ actors }) => actors.retry(),
      other: ({ run }) => run.remove({ force: true, members: true }),
      refusals: { actor: [BatchNotFoundError] },
      async verdict({ testbed, ran }) {
        ends.add('gone');
        await eventually(async () => (await jobKeys(testbed, 'batches')).length === 0, 10_000);
        expect(ran).not.toContain('run success');
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
          const situation = await failedRun(testbed, held);
          await heldBatchWorker(testbed, held);
          return situation;
        },
        async actor({ run }) {
          await run.retry();
          await eventually(async () => (await run.status()).state === 'succeeded', 10_000);
        },
        async other(situation) {
          const { testbed, run } = situation;
          const story = { testbed } as unknown as Parameters<typeof loseLock>[0];
          for (const end of RUN_AND_STAGES) {
            await loseLock(story, { id: `run${end}` });
          }
          testbed.batchWorker({ stalledInterval: 20 });
          await run.retry();
          await eventually(async () => (await run.status()).state === 'succeeded', 10_000);
        },
        verdict: expectRecovery,
      });
    },
  );
});
