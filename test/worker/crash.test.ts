import type { Batch, BatchQueue, BatchStatus } from '../../src/index.js';
import { runChild } from '../support/child.js';
import { crashSeries } from '../support/crash-series.js';
import type { AnyQueue, Testbed } from '../support/test.js';
import { describe, expect, test } from '../support/test.js';

/** Enough for one life; BullMQ's own scripts on timers count too, so how many it takes differs. */
const MOST_SCRIPTS = 240;
const LOCK_MS = 500;

type Users = BatchQueue<AnyQueue>;

interface Life {
  /** Creates what the BatchWorkers are to finish; the batch that finishes last is returned. */
  start(users: Users): Promise<Batch>;
  readonly status: Partial<BatchStatus>;
  /** The names of all jobs that run, sorted: each once. */
  readonly ran: readonly string[];
}

const job = (name: string, opts = {}) => ({ name, data: {}, opts });

const LIVES: Readonly<Record<string, Life>> = {
  'a batch that succeeds': {
    start: (users) =>
      users.addBatch(
        {
          on: {
            complete: [{ name: 'complete 0' }, { name: 'complete 1' }],
            success: [{ name: 'success 0' }, { name: 'success 1' }],
          },
        },
        [job('member'), job('member')],
      ),
    status: { state: 'succeeded', total: 2, succeeded: 2, missing: 0 },
    ran: ['complete 0', 'complete 1', 'member', 'member', 'success 0', 'success 1'],
  },
  'a child batch that fails': {
    async start(users) {
      const top = await users.createBatch({ on: { death: { name: 'top death' }, complete: { name: 'top complete' } } });
      const child = await top.createBatch({
        on: { death: [{ name: 'death 0' }, { name: 'death 1' }], complete: { name: 'complete' } },
      });
      await child.addBulk([job('bad'), job('member')]);
      await child.seal();
      await top.seal();
      return top;
    },
    status: { state: 'failed', total: 1, failed: 1, missing: 0 },
    ran: ['bad', 'complete', 'death 0', 'death 1', 'member', 'top complete', 'top death'],
  },
  'a batch that cancels itself': {
    async start(users) {
      const batch = await users.createBatch({ onFailure: 'cancel', on: { complete: { name: 'complete' } } });
      const child = await batch.createBatch({ on: { complete: { name: 'child complete' } } });
      await child.addBulk([job('later', { delay: 3_600_000 }), job('later', { delay: 3_600_000 })]);
      await batch.addBulk([job('bad'), job('later', { delay: 3_600_000 })]);
      await child.seal();
      await batch.seal();
      return batch;
    },
    status: { state: 'cancelled', total: 3, failed: 2, cancelled: 1, missing: 0 },
    ran: ['bad', 'child complete', 'complete'],
  },
};

describe('a BatchWorker that is killed between any two of its commands', () => {
  test.for(Object.keys(LIVES))(
    'leaves %s, and another one finishes it: each callback runs once',
    {
      timeout: 600_000,
    },
    async (name, { testbed }) => {
      const life = LIVES[name] as Life;
      const places = Array.from({ length: MOST_SCRIPTS }, (_, i) => i + 1);
      // A prefix per life: each has its own batches queue, and so its own doomed BatchWorker.
      await crashSeries(places, 11, (n) => testbed.within(n, (own) => live(own, life, n)));
    },
  );
});

/** One life, in which the first BatchWorker is killed before its n-th script. */
async function live(testbed: Testbed, { start, status, ran: expected }: Life, n: number): Promise<number | string> {
  const users = testbed.queue('users');
  const ran: string[] = [];
  testbed.worker(
    'users',
    async ({ name }) => {
      ran.push(name);
      if (name === 'bad') throw new Error('bad');
    },
    { concurrency: 4 },
  );
  const batch = await start(users);
  const end = await runChild('doomedBatchWorker', testbed, { n, lockDuration: LOCK_MS, last: batch.id }).ended;
  testbed.batchWorker({ lockDuration: LOCK_MS, stalledInterval: 200, sweepInterval: 50 });
  expect(await batch.waitUntilFinished(20_000), `killed before script ${n}`).toMatchObject(status);
  expect(ran.sort(), `killed before script ${n}`).toEqual(expected);
  return end;
}
