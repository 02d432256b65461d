import { runChild } from '../support/child.js';
import { describe, expect, test } from '../support/test.js';

/** Enough for one batch; BullMQ's own scripts on timers count too, so how many it takes differs. */
const MOST_SCRIPTS = 90;
const AT_ONCE = 6;
const LOCK_MS = 500;

describe('a BatchWorker that is killed', () => {
  test('between any two of its commands leaves a batch that another one finishes, with each callback run once', {
    timeout: 300_000,
  }, async ({ bench }) => {
    const ends: (number | string)[] = [];
    const live = async (n: number) => {
      // A prefix per life: each has its own batches queue, and so its own doomed worker.
      const own = { ...bench, prefix: `${bench.prefix}-${n}` };
      const users = bench.queue('users', { prefix: own.prefix });
      const ran: string[] = [];
      bench.worker('users', async (job) => void ran.push(job.name), { prefix: own.prefix, concurrency: 4 });
      const batch = await users.addBatch(
        {
          on: {
            complete: [{ name: 'complete 0' }, { name: 'complete 1' }],
            success: [{ name: 'success 0' }, { name: 'success 1' }],
          },
        },
        [
          { name: 'member', data: {} },
          { name: 'member', data: {} },
        ],
      );
      const doomed = runChild('./doomed-batch-worker.ts', own, { n, lockDuration: LOCK_MS });
      ends.push(await doomed.ended);
      bench.batchWorker({ prefix: own.prefix, lockDuration: LOCK_MS, stalledInterval: 200 });
      const status = await batch.waitUntilFinished(20_000);
      expect(status, `killed before script ${n}`).toMatchObject({
        state: 'succeeded',
        total: 2,
        succeeded: 2,
        missing: 0,
      });
      expect(ran.sort(), `killed before script ${n}`).toEqual([
        'complete 0',
        'complete 1',
        'member',
        'member',
        'success 0',
        'success 1',
      ]);
    };
    for (let n = 1; n < MOST_SCRIPTS && !ends.includes(0); n += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => live(n + i)));
    }
    expect(ends.filter((end) => end === 'SIGKILL').length).toBeGreaterThan(10);
    expect(ends, 'the series reaches the end of a batch').toContain(0);
  });
});
