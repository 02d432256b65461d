import type { HeldConnection } from '../support/held-connection.js';
import { heldBatchWorker, type LostReplies, withLostReplies } from '../support/interleave.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';
import {
  AN_HOUR,
  type AnyBatch,
  expectEnd,
  loseLock,
  member,
  membersSettled,
  ON,
  openBatch,
  type Story,
  takeOver,
  tell,
} from './story.js';

interface Situation extends Story {
  /** What the call is made on, and the same as anybody else has it. */
  readonly batch: AnyBatch;
  readonly others: AnyBatch;
}

/** An open batch, and a BatchWorker. */
async function open(testbed: Testbed, held: HeldConnection): Promise<Situation> {
  const { actors, ...story } = await openBatch(testbed, held, { sweepInterval: 20 });
  return { ...story, batch: actors };
}

async function failed(testbed: Testbed, held: HeldConnection): Promise<Situation> {
  const situation = await open(testbed, held);
  await situation.others.addBulk([member('bad'), member()]);
  await situation.others.seal();
  await situation.others.waitUntilFinished(10_000);
  situation.mend();
  return situation;
}

async function finish(story: Situation, total: number, names: readonly string[]): Promise<void> {
  await story.others.seal();
  await expectEnd(story, story.others, { state: 'succeeded', total, succeeded: total }, names);
}

const BOTH = ['complete', 'success'];

const CALLS: Readonly<Record<string, LostReplies<Situation>>> = {
  'createBatch({ id })': {
    setup: open,
    actor: ({ actorsUsers }) => actorsUsers.createBatch({ id: 'mine', on: ON }),
    async verdict(story, batch) {
      const created = batch as AnyBatch;
      expect(created).toMatchObject({ id: 'mine', created: true });
      await finish({ ...story, others: created }, 0, BOTH);
    },
  },
  'createBatch()': {
    setup: open,
    actor: ({ actorsUsers }) => actorsUsers.createBatch({ on: ON }),
    async verdict(story, batch) {
      await finish({ ...story, others: batch as AnyBatch }, 0, BOTH);
      expect(await story.users.getBatchCounts()).toMatchObject({ open: 1, succeeded: 1 });
    },
  },
  'createBatch() of a child': {
    setup: open,
    actor: ({ batch }) => batch.createBatch({}),
    async verdict(story, child) {
      await (child as AnyBatch).seal();
      await finish(story, 1, BOTH);
    },
  },
  'addBatch(options, jobs)': {
    setup: open,
    actor: ({ actorsUsers }) => actorsUsers.addBatch({ on: ON }, [member('a'), member('b')]),
    verdict: (story, batch) => finish({ ...story, others: batch as AnyBatch }, 2, ['a', 'b', ...BOTH]),
  },
  'add()': {
    setup: open,
    actor: ({ batch }) => batch.add('member', {}),
    verdict: (story) => finish(story, 1, ['member', ...BOTH]),
  },
  'addBulk()': {
    setup: open,
    actor: ({ batch }) => batch.addBulk([member('a'), member('b'), member('c')]),
    async verdict(story, result) {
      expect(result).toEqual({ added: 3, known: 0 });
      await finish(story, 3, ['a', 'b', 'c', ...BOTH]);
    },
  },
  'addFlow()': {
    setup: open,
    actor: ({ batch }) =>
      batch.addFlow({ name: 'root', queueName: 'users', children: [{ name: 'leaf', queueName: 'users' }] }),
    verdict: (story) => finish(story, 1, ['leaf', 'root', ...BOTH]),
  },
  'seal()': {
    setup: open,
    actor: ({ batch }) => batch.seal(),
    verdict: (story) => expectEnd(story, story.others, { state: 'succeeded' }, BOTH),
  },
  'cancel()': {
    async setup(testbed, held) {
      const situation = await open(testbed, held);
      await situation.others.addBulk([member('later', { delay: AN_HOUR }), member('later', { delay: AN_HOUR })]);
      return situation;
    },
    actor: ({ batch }) => batch.cancel('enough'),
    async verdict(story) {
      await expectEnd(story, story.others, { state: 'cancelled', total: 2, cancelled: 2 }, ['complete']);
    },
  },
  'retry()': {
    setup: failed,
    actor: ({ batch }) => batch.retry(),
    async verdict(story, result) {
      expect(result).toEqual({ retried: 1 });
      await eventually(async () => (await story.others.status()).state === 'succeeded');
      expect([...story.ran].sort()).toEqual(['bad', 'bad', 'complete', 'member', 'success']);
    },
  },
  "on('complete')": {
    setup: open,
    actor: ({ batch }) => batch.on('complete', { name: 'late' }),
    verdict: (story) => finish(story, 0, ['late', ...BOTH]),
  },
  "addBatch({ ifExists: 'reject' })": {
    setup: open,
    actor: ({ actorsUsers }) => actorsUsers.addBatch({ id: 'mine', ifExists: 'reject', on: ON }, [member('a')]),
    verdict: (story, batch) => finish({ ...story, others: batch as AnyBatch }, 1, ['a', ...BOTH]),
  },
  "addBatch({ ifExists: 'replace' })": {
    async setup(testbed, held) {
      const situation = await open(testbed, held);
      const before = await situation.users.createBatch({ id: 'mine', on: ON });
      await before.add('before', {}, { delay: AN_HOUR });
      return situation;
    },
    actor: ({ actorsUsers }) => actorsUsers.addBatch({ id: 'mine', ifExists: 'replace', on: ON }, [member('a')]),
    async verdict(story, batch) {
      expect(batch).toMatchObject({ id: 'mine', created: true });
      await finish({ ...story, others: batch as AnyBatch }, 1, ['a', ...BOTH]);
      expect(await story.users.getJobCounts('delayed')).toEqual({ delayed: 0 });
    },
  },
  'updateMetadata()': {
    setup: open,
    actor: ({ batch }) => batch.updateMetadata({ rows: 3 }),
    async verdict(story, metadata) {
      expect(metadata).toEqual({ rows: 3 });
      expect(await story.others.status()).toMatchObject({ metadata: { rows: 3 } });
    },
  },
  'removeMember()': {
    async setup(testbed, held) {
      const situation = await open(testbed, held);
      await situation.others.add('later', {}, { delay: AN_HOUR, jobId: 'row-7' });
      await situation.others.add('member', {});
      return situation;
    },
    actor: ({ batch }) => batch.removeMember('row-7'),
    async verdict(story) {
      await finish(story, 1, ['member', ...BOTH]);
      expect(await story.users.getJob('row-7')).toBeUndefined();
    },
  },
  'remove()': {
    setup: failed,
    actor: ({ batch }) => batch.remove({ members: true }),
    async verdict({ others, users }) {
      await expect(others.status()).rejects.toThrow('There is no batch');
      expect(await users.getJobCountByTypes('completed', 'failed', 'waiting', 'delayed')).toBe(0);
    },
  },
  'a BatchWorker that finishes a batch': {
    async setup(testbed, held) {
      const story = tell(testbed, held);
      await heldBatchWorker(testbed, held);
      const batch = await story.users.createBatch({ on: ON });
      await batch.addBulk([member('bad'), member()]);
      await membersSettled(batch);
      return { ...story, batch, others: batch };
    },
    actor: ({ batch }) => batch.seal(),
    async verdict(story) {
      // A batch whose BatchWorker does not know that it has taken it waits for the end of the lock.
      await loseLock(story, story.others);
      takeOver(story);
      await expectEnd(story, story.others, { state: 'failed', failed: 1 }, ['bad', 'complete', 'member']);
    },
  },
};

describe('when the connection is lost with the reply to any of its commands', () => {
  for (const [name, call] of Object.entries(CALLS)) {
    test(`${name} does what it should, once`, async ({ testbed }) => {
      await withLostReplies(testbed, call);
    });
  }
});
