import type { WorkflowRun } from '../../src/index.js';
import { runChild } from '../support/child.js';
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

const AT_ONCE = 6;
const LOCK_MS = 500;
/** Every place in the beginning, then ever fewer: each wake of a batch job is several scripts of BullMQ's. */
const PLACES = [
  ...Array.from({ length: 60 }, (_, i) => i + 1),
  ...Array.from({ length: 12 }, (_, i) => Math.ceil(61 * 1.12 ** i)),
];

/** Lives in which a process is killed before its n-th script, until one lives on. */
async function series(live: (n: number) => Promise<number | string>): Promise<void> {
  const ends: (number | string)[] = [];
  for (let i = 0; i < PLACES.length && !ends.includes(0); i += AT_ONCE) {
    ends.push(...(await Promise.all(PLACES.slice(i, i + AT_ONCE).map(live))));
  }
  expect(ends.filter((end) => end === 'SIGKILL').length).toBeGreaterThan(5);
  expect(ends, 'the series reaches one that lives').toContain(0);
}

/** A prefix per life: each has its own batches queue, and so its own doomed process. */
function lifeIn(testbed: Testbed, n: number) {
  const own = { ...testbed, prefix: `${testbed.prefix}-${n}` };
  const queue = testbed.queue('work', { prefix: own.prefix });
  const ran: string[] = [];
  const worker = testbed.worker('work', processor(ran), { prefix: own.prefix, concurrency: 4 });
  const settings = { prefix: own.prefix, lockDuration: LOCK_MS, stalledInterval: 200 };
  return {
    own,
    workflow: everyKindOfStage(queue),
    ran,
    async expectEnd(run: WorkflowRun) {
      const batchWorker = testbed.batchWorker(settings);
      // It takes over from one that was killed, and may lose a lock of half a second itself.
      batchWorker.on('error', () => {});
      const status = await run.waitUntilFinished(25_000);
      expect(statesOf(status), `killed before script ${n}`).toEqual(STATES);
      expect(status).toMatchObject({ state: 'failed', total: 7, failed: 1, missing: 0 });
      expect(ran.sort(), `killed before script ${n}`).toEqual(RAN);
      await Promise.all([worker.close(), batchWorker.close(), queue.close()]);
    },
  };
}

describe('that is killed between any two of its commands: each stage starts once, and the run finishes', () => {
  test('a BatchWorker', { timeout: 600_000 }, async ({ testbed }) => {
    await series(async (n) => {
      const life = lifeIn(testbed, n);
      const run = await life.workflow.start();
      const end = await runChild('doomedBatchWorker', life.own, { n, lockDuration: LOCK_MS, last: run.id }).ended;
      await life.expectEnd(run);
      return end;
    });
  });

  test('a producer that starts a run, and starts it again', { timeout: 600_000 }, async ({ testbed }) => {
    await series(async (n) => {
      const life = lifeIn(testbed, n);
      const end = await runChild('doomedStarter', life.own, { n, id: 'run' }).ended;
      await life.expectEnd(await life.workflow.start({}, { id: 'run' }));
      return end;
    });
  });
});

/** A run that has failed, and whose members would succeed now; no BatchWorker is left. */
async function failedLife(testbed: Testbed, n: number) {
  const own = { ...testbed, prefix: `${testbed.prefix}-${n}` };
  const settings = { prefix: own.prefix, lockDuration: LOCK_MS, stalledInterval: 200 };
  const queue = testbed.queue('work', { prefix: own.prefix });
  const ran: string[] = [];
  const { heal, processor } = sickness(ran);
  const worker = testbed.worker('work', processor, { prefix: own.prefix, concurrency: 4 });
  const before = testbed.batchWorker(settings);
  const run = await recovering(queue).start({}, { id: 'run', on: RECOVERING_ON });
  expect(statesOf(await run.waitUntilFinished(20_000))).toEqual(FAILED_STATES);
  expect([...ran].sort()).toEqual(RAN_BEFORE);
  await before.close();
  heal();
  return {
    own,
    run,
    async expectRecovery() {
      const batchWorker = testbed.batchWorker(settings);
      batchWorker.on('error', () => {});
      const status = await eventually(async () => {
        const now = await run.status();
        return now.state === 'succeeded' ? now : undefined;
      }, 25_000);
      expect(statesOf(status), `killed before script ${n}`).toEqual(RECOVERED_STATES);
      expect(status).toMatchObject({ recovered: true, total: 11, succeeded: 11, missing: 0 });
      expect([...ran].sort(), `killed before script ${n}`).toEqual(RAN_IN_ALL);
      await Promise.all([worker.close(), batchWorker.close(), queue.close()]);
    },
  };
}

describe('that is killed between any two commands of a retry: after another retry the run recovers', () => {
  test('a process that retries the run', { timeout: 600_000 }, async ({ testbed }) => {
    await series(async (n) => {
      const life = await failedLife(testbed, n);
      const end = await runChild('doomedRetrier', life.own, { n, id: life.run.id }).ended;
      await life.run.retry();
      await life.expectRecovery();
      return end;
    });
  });

  test('a BatchWorker that goes on with the run', { timeout: 600_000 }, async ({ testbed }) => {
    await series(async (n) => {
      const life = await failedLife(testbed, n);
      await life.run.retry();
      const args = { n, lockDuration: LOCK_MS, last: life.run.id };
      const end = await runChild('doomedBatchWorker', life.own, args).ended;
      await life.run.retry();
      await life.expectRecovery();
      return end;
    });
  });
});
