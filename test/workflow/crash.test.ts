import type { WorkflowRun } from '../../src/index.js';
import { runChild } from '../support/child.js';
import { crashSeries } from '../support/crash-series.js';
import {
  everyKindOfStage,
  FAILED_STATES,
  processor,
  RAN,
  RAN_BEFORE,
  RAN_IN_ALL,
  RECOVERED_STATES,
  RECOVERING_ON,
  recovering,
  STATES,
  sickness,
} from '../support/graph.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';
import { statesOf } from './story.js';

const LOCK_MS = 500;
const SETTINGS = { lockDuration: LOCK_MS, stalledInterval: 200 };
/** Every place in the beginning, then ever fewer: each wake of a batch job is several scripts of BullMQ's. */
const PLACES = [
  ...Array.from({ length: 60 }, (_, i) => i + 1),
  ...Array.from({ length: 12 }, (_, i) => Math.ceil(61 * 1.12 ** i)),
];

/** A prefix per life: each has its own batches queue, and so its own doomed process. */
function series(testbed: Testbed, live: (own: Testbed, n: number) => Promise<number | string>): Promise<void> {
  return crashSeries(PLACES, 6, (n) => testbed.within(n, (own) => live(own, n)));
}

function lifeIn(testbed: Testbed, n: number) {
  const ran: string[] = [];
  testbed.worker('work', processor(ran), { concurrency: 4 });
  return {
    workflow: everyKindOfStage(testbed.queue('work')),
    async expectEnd(run: WorkflowRun) {
      const batchWorker = testbed.batchWorker(SETTINGS);
      // It takes over from one that was killed, and may lose a lock of half a second itself.
      batchWorker.on('error', () => {});
      const status = await run.waitUntilFinished(25_000);
      expect(statesOf(status), `killed before script ${n}`).toEqual(STATES);
      expect(status).toMatchObject({ state: 'failed', total: 7, failed: 1, missing: 0 });
      expect(ran.sort(), `killed before script ${n}`).toEqual(RAN);
    },
  };
}

describe('that is killed between any two of its commands: each stage starts once, and the run finishes', () => {
  test('a BatchWorker', { timeout: 600_000 }, async ({ testbed }) => {
    await series(testbed, async (own, n) => {
      const life = lifeIn(own, n);
      const run = await life.workflow.start();
      const end = await runChild('doomedBatchWorker', own, { n, lockDuration: LOCK_MS, last: run.id }).ended;
      await life.expectEnd(run);
      return end;
    });
  });

  test('a producer that starts a run, and starts it again', { timeout: 600_000 }, async ({ testbed }) => {
    await series(testbed, async (own, n) => {
      const life = lifeIn(own, n);
      const end = await runChild('doomedStarter', own, { n, id: 'run' }).ended;
      await life.expectEnd(await life.workflow.start({}, { id: 'run' }));
      return end;
    });
  });
});

/** A run that has failed, and whose members would succeed now; no BatchWorker is left. */
async function failedLife(testbed: Testbed, n: number) {
  const ran: string[] = [];
  const { heal, processor } = sickness(ran);
  testbed.worker('work', processor, { concurrency: 4 });
  const before = testbed.batchWorker(SETTINGS);
  const run = await recovering(testbed.queue('work')).start({}, { id: 'run', on: RECOVERING_ON });
  expect(statesOf(await run.waitUntilFinished(20_000))).toEqual(FAILED_STATES);
  expect([...ran].sort()).toEqual(RAN_BEFORE);
  await before.close();
  heal();
  return {
    run,
    async expectRecovery() {
      const batchWorker = testbed.batchWorker(SETTINGS);
      batchWorker.on('error', () => {});
      const status = await eventually(async () => {
        const now = await run.status();
        return now.state === 'succeeded' ? now : undefined;
      }, 25_000);
      expect(statesOf(status), `killed before script ${n}`).toEqual(RECOVERED_STATES);
      expect(status).toMatchObject({ recovered: true, total: 11, succeeded: 11, missing: 0 });
      expect([...ran].sort(), `killed before script ${n}`).toEqual(RAN_IN_ALL);
    },
  };
}

describe('that is killed between any two commands of a retry: after another retry the run recovers', () => {
  test('a process that retries the run', { timeout: 600_000 }, async ({ testbed }) => {
    await series(testbed, async (own, n) => {
      const life = await failedLife(own, n);
      const end = await runChild('doomedRetrier', own, { n, id: life.run.id }).ended;
      await life.run.retry();
      await life.expectRecovery();
      return end;
    });
  });

  test('a BatchWorker that goes on with the run', { timeout: 600_000 }, async ({ testbed }) => {
    await series(testbed, async (own, n) => {
      const life = await failedLife(own, n);
      await life.run.retry();
      const args = { n, lockDuration: LOCK_MS, last: life.run.id };
      const end = await runChild('doomedBatchWorker', own, args).ended;
      await life.run.retry();
      await life.expectRecovery();
      return end;
    });
  });
});
