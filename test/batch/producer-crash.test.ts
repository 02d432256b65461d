import { runChild } from '../support/child.js';
import { crashSeries } from '../support/crash-series.js';
import { LOADED, loader } from '../support/loader.js';
import { describe, expect, type Testbed, test } from '../support/test.js';

const MEMBERS = 3;

/** Every place in the beginning, then ever fewer: each member is a script of BullMQ's. */
const PLACES = [
  ...Array.from({ length: 18 }, (_, i) => i + 1),
  ...Array.from({ length: 24 }, (_, i) => Math.ceil(19 * 1.25 ** i)),
];

/** What has run, by batch. */
function recording(testbed: Testbed) {
  const users = testbed.queue('users');
  const ran: Record<string, string[]> = {};
  testbed.batchWorker({ missingAfter: 3_600_000 });
  testbed.worker(
    'users',
    async (job) => {
      const id = job.data.batch?.id ?? job.parent?.id ?? '';
      ran[id] ??= [];
      ran[id].push(job.name === 'member' ? `member ${job.data.n}` : job.name);
    },
    { concurrency: 50 },
  );
  return { users, ran };
}

describe('that is killed between any two of its commands resumes: every member runs once, success fires once', () => {
  test('a producer', { timeout: 600_000 }, async ({ testbed }) => {
    const { users, ran } = recording(testbed);
    const source = Array.from({ length: MEMBERS }, (_, n) => ({ name: 'member', data: { n } }));
    await crashSeries(PLACES, 1, async (n) => {
      const id = `import-${n}`;
      const end = await runChild('doomedProducer', testbed, { n, id, members: MEMBERS }).ended;
      const batch = await users.addBatch({ id, on: { success: { name: 'success' } } }, source);
      const status = await batch.waitUntilFinished(60_000);
      expect(status, `killed before script ${n}`).toMatchObject({ state: 'succeeded', total: MEMBERS, missing: 0 });
      expect(ran[id]?.sort(), `killed before script ${n}`).toEqual(['member 0', 'member 1', 'member 2', 'success']);
      return end;
    });
  });

  test('a loader job, by itself, as a stalled job', { timeout: 600_000 }, async ({ testbed }) => {
    const { users, ran } = recording(testbed);
    await crashSeries(PLACES, 1, async (n) => {
      const id = `loaded-${n}`;
      const queue = `loaders-${n}`;
      await testbed.plainQueue(queue).add('load', { id });
      const end = await runChild('doomedLoader', testbed, { n, queue, lockDuration: 500 }).ended;
      const worker = testbed.worker(queue, loader(users), {
        lockDuration: 500,
        stalledInterval: 200,
        // On a busy machine a lock of half a second is lost now and then, and the job runs again.
        maxStalledCount: 50,
      });
      const batch = await users.createBatch({ id, on: { success: { name: 'success' } } });
      const status = await batch.waitUntilFinished(60_000);
      expect(status, `killed before script ${n}`).toMatchObject({ state: 'succeeded', total: LOADED, missing: 0 });
      expect(new Set(ran[id]).size, `killed before script ${n}`).toBe(LOADED + 1);
      expect(ran[id], `killed before script ${n}`).toHaveLength(LOADED + 1);
      await worker.close();
      return end;
    });
  });
});
