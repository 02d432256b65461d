import { BatchConflictError, BatchError, BatchNotFoundError } from '../../src/index.js';
import { interleave } from '../support/interleave.js';
import { describe, eventually, expect, test } from '../support/test.js';
import { AN_HOUR, member, ON, openBatch, tell } from './story.js';

const REPLACE = { id: 'mine', ifExists: 'replace', on: ON } as const;

describe('removeMember()', () => {
  test('while a worker takes the member: it runs and counts, or does neither, and the batch finishes', async ({
    testbed,
  }) => {
    const totals: number[] = [];
    await interleave(testbed, {
      setup: (testbed, held) =>
        openBatch(testbed, held, { jobs: [member('member', { jobId: 'row-7', delay: AN_HOUR })], sweepInterval: 20 }),
      actor: ({ actors }) => actors.removeMember('row-7'),
      async other({ others, users }) {
        await others.seal();
        await (await users.getJob('row-7'))?.promote().catch(() => {});
        const { pending } = await others.status();
        if (pending > 0) {
          await others.waitUntilFinished(10_000);
        }
      },
      async verdict({ others, ran }, { actor }) {
        const { state, total, missing } = await others.waitUntilFinished(10_000);
        expect({ state, missing }).toEqual({ state: 'succeeded', missing: 0 });
        expect(total).toBe(actor.status === 'fulfilled' ? 0 : 1);
        expect(ran.filter((name) => name === 'member')).toHaveLength(total);
        totals.push(total);
      },
      refusals: { actor: [BatchError] },
    });
    expect(new Set(totals), 'before and after the worker has taken it').toEqual(new Set([0, 1]));
  });
});

describe("addBatch({ ifExists: 'replace' })", () => {
  test('of two at the same time: one batch is left, whole, and calls back once', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker({ sweepInterval: 20 });
        await story.users.addBatch({ id: 'mine' }, [member('before', { delay: AN_HOUR })]);
        return story;
      },
      actor: ({ actorsUsers }) => actorsUsers.addBatch(REPLACE, [member('a', { delay: AN_HOUR })]),
      other: ({ users }) => users.addBatch(REPLACE, [member('b', { delay: AN_HOUR })]),
      async verdict({ users, ran }) {
        const batch = await users.getBatch('mine');
        const jobs = await eventually(async () => {
          const waiting = await users.getJobs(['delayed']);
          return waiting.length === 1 ? waiting : undefined;
        });
        await jobs[0]?.promote();
        expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, sealed: true });
        expect(ran).toEqual([jobs[0]?.name, 'complete', 'success']);
      },
      // One that is frozen while it removes the batch before keeps the other from creating its own.
      refusals: { actor: [BatchNotFoundError], other: [BatchNotFoundError, BatchConflictError] },
    });
  });
});

test('a BatchWorker that is frozen while it keeps a deadline leaves its batch to another one, which ends once', {
  timeout: 60_000,
}, async ({ testbed }) => {
  await interleave(testbed, {
    async setup(testbed, held) {
      const story = tell(testbed, held);
      const batch = await story.users.createBatch({ on: ON, deadline: 1 });
      await batch.addBulk([member('held'), member('later', { delay: AN_HOUR }), member('later', { delay: AN_HOUR })]);
      await batch.seal();
      await eventually(() => story.ran.includes('held'));
      return { ...story, batch };
    },
    async actor({ testbed, held, batch }) {
      testbed.batchWorker({ connection: held.connection, sweepInterval: 20 }).on('error', () => {});
      await eventually(async () => (await batch.status()).cancelled === 2);
    },
    async other({ testbed, batch }) {
      testbed.batchWorker({ sweepInterval: 20 });
      await eventually(async () => (await batch.status()).cancelled === 2);
    },
    async verdict({ batch, ran, gate }) {
      gate.open();
      const { cancelReason, ...status } = await batch.waitUntilFinished(10_000);
      expect(status).toMatchObject({ state: 'cancelled', total: 3, cancelled: 2, succeeded: 1 });
      expect(cancelReason).toMatch(/^deadline: /);
      expect(ran).toEqual(['held', 'complete']);
    },
  });
});

test('a BatchWorker that is frozen while it keeps a deadline does not cancel a later batch under the id', {
  timeout: 60_000,
}, async ({ testbed }) => {
  await interleave(testbed, {
    async setup(testbed, held) {
      const story = tell(testbed, held);
      const batch = await story.users.addBatch({ id: 'nightly', deadline: 1 }, [member('old', { delay: AN_HOUR })]);
      return { ...story, batch };
    },
    async actor({ testbed, held, batch }) {
      testbed.batchWorker({ connection: held.connection, sweepInterval: 20 }).on('error', () => {});
      await eventually(() => batch.isCancelled().catch(() => true));
    },
    async other({ users, batch }) {
      await batch.remove({ force: true, members: true });
      await users.addBatch({ id: 'nightly', deadline: AN_HOUR }, [member('new', { delay: AN_HOUR })]);
    },
    async verdict({ users, gate }) {
      gate.open();
      const next = await users.addBatch({ deadline: 1 }, [member('next', { delay: AN_HOUR })]);
      await eventually(() => next.isCancelled());
      expect(await (await users.getBatch('nightly')).status()).toMatchObject({
        total: 1,
        pending: 1,
        state: 'running',
      });
    },
  });
});
