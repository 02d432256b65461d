import { FlowProducer } from 'bullmq';
import { type Batch, BatchError, BatchFinishedError, BatchNotFoundError } from '../../src/index.js';
import { gateOf } from '../conformance/script.js';
import { heldBatchWorker, interleave } from '../support/interleave.js';
import { describe, eventually, expect, keysOf, type Testbed, test } from '../support/test.js';
import { AN_HOUR, expectEnd, inBothHands, member, ON, type Story, tell } from './story.js';

const children = [
  { name: 'leaf', queueName: 'users' },
  { name: 'leaf', queueName: 'users', opts: { delay: AN_HOUR } },
];
const flow = { name: 'root', queueName: 'users', children: [{ name: 'middle', queueName: 'users', children }] };

/**
 * A batch with members in each state in which they can wait, in itself, in a child batch and in a flow; nothing runs
 * yet.
 */
async function waitingTree(story: Story) {
  await story.users.pause();
  const batch = await story.users.createBatch({ on: ON });
  const child = await batch.createBatch();
  for (const one of [batch, child]) {
    await one.addBulk([member(), member('later', { delay: AN_HOUR }), member('later', { priority: 3 })]);
    await one.addFlow(flow);
  }
  await child.seal();
  await batch.seal();
  return { batch, child };
}

/** Members in the queue `long` wait for the release, and fail then. */
function failing(testbed: Testbed) {
  const release = gateOf(testbed);
  const began: string[] = [];
  testbed.worker('long', async ({ name }) => {
    began.push(name);
    await release.opened;
    throw new Error('no');
  });
  return { began, release };
}

/** The keys of jobs that are no callbacks. */
async function jobsLeft({ testbed }: Story): Promise<string[]> {
  const keys = await keysOf(testbed.redis, testbed.prefix);
  return keys.filter((key) => /:users:m\w+-/.test(key));
}

/** How many jobs are in the lists of the queue, paused or not. */
async function listed({ testbed }: Story): Promise<number> {
  const lengths = await Promise.all(
    ['wait', 'paused'].map((list) => testbed.redis.llen(`${testbed.prefix}:users:${list}`)),
  );
  return lengths.reduce((sum, length) => sum + length, 0);
}

async function expectCancelled(story: Story, batch: Batch, ran: readonly string[] = ['complete']): Promise<void> {
  await story.users.resume();
  await expectEnd(story, batch, { state: 'cancelled', total: 5, failed: 1, cancelled: 4 }, ran);
  expect(story.told.complete).toMatchObject([{ total: 5, cancelled: 4, failed: 1 }]);
  await eventually(async () => (await jobsLeft(story)).length === 0);
}

describe('cancel() of a tree', () => {
  test('that dies at any of its commands is finished by a BatchWorker', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        const { batch, child } = await waitingTree(story);
        return { ...(await inBothHands(story, batch)), child };
      },
      actor: ({ actors }) => actors.cancel('enough'),
      async other(story) {
        story.testbed.batchWorker({ sweepInterval: 20 });
        if (await story.others.isCancelled()) {
          // Callbacks do not run yet; the queue is paused, so that no worker helps.
          await eventually(async () => (await story.others.status()).pending === 0);
          await eventually(async () => (await listed(story)) <= 1);
        }
      },
      verdict: (story) => expectCancelled(story, story.others),
    });
  });

  test('beside another cancel(): each member is counted once, wherever it waits', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        const { batch } = await waitingTree(story);
        return inBothHands(story, batch);
      },
      actor: ({ actors }) => actors.cancel('one'),
      other: ({ others }) => others.cancel('two'),
      async verdict(story) {
        story.testbed.batchWorker();
        await expectCancelled(story, story.others);
      },
    });
  });

  test('beside the cancel() of another batch in the same queue: both are gone from its list', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        await story.users.pause();
        const one = await story.actorsUsers.createBatch();
        const two = await story.users.createBatch();
        for (let i = 0; i < 3; i++) {
          await one.addBulk([member(), member()]);
          await story.users.add('other', {});
          await two.addBulk([member(), member()]);
        }
        return { ...story, one, two };
      },
      actor: ({ one }) => one.cancel(),
      other: ({ two }) => two.cancel(),
      async verdict({ one, two, ...story }) {
        expect([await one.status(), await two.status()]).toMatchObject([{ cancelled: 6 }, { cancelled: 6 }]);
        expect(await listed(story)).toBe(3);
        await story.users.resume();
        await eventually(() => story.ran.length === 3);
        expect(story.ran).toEqual(['other', 'other', 'other']);
      },
    });
  });

  test('while a worker takes the jobs: each has run or is cancelled, and none begins afterwards', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker({ sweepInterval: AN_HOUR });
        await story.users.pause();
        const batch = await story.users.createBatch();
        const child = await batch.createBatch();
        for (const one of [batch, child]) {
          await one.addBulk([member(), member('bad', { attempts: 2 }), member('later', { delay: AN_HOUR })]);
        }
        await child.seal();
        await batch.seal();
        return { ...(await inBothHands(story, batch)), child, before: [] as string[] };
      },
      async actor({ actors, ran, before }) {
        await actors.cancel();
        before.push(...ran);
      },
      async other(story) {
        await story.users.resume();
        await eventually(async () => (await listed(story)) + (await story.users.getActiveCount()) === 0);
      },
      async verdict({ others, child, ran, before, users }) {
        for (const batch of [child, others]) {
          const end = await batch.waitUntilFinished(10_000);
          const childFailed = batch === others ? 1 : 0;
          expect(end).toMatchObject({ state: 'cancelled', pending: 0, missing: 0, total: 3 + childFailed });
          expect(end.cancelled).toBeGreaterThan(0);
        }
        expect(ran).toEqual(before);
        expect(await users.getJobCountByTypes('waiting', 'delayed', 'active')).toBe(0);
      },
    });
  });

  test('while a member fails with attempts left: it does not begin again when cancel() has resolved', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker({ sweepInterval: AN_HOUR });
        const { began, release } = failing(testbed);
        const batch = await story.users.createBatch({ on: ON });
        await batch.addBulk([
          { ...member('bad', { attempts: 3 }), queue: 'long' },
          member('later', { delay: AN_HOUR }),
        ]);
        await batch.seal();
        await eventually(() => began.length === 1);
        return { ...(await inBothHands(story, batch)), began, release, long: testbed.plainQueue('long'), before: 0 };
      },
      async actor(story) {
        await story.actors.cancel();
        story.before = story.began.length;
      },
      async other({ release, long }) {
        release.open();
        await eventually(async () => (await long.getJobCountByTypes('waiting', 'active')) === 0);
      },
      async verdict(story, { position }) {
        // Until the mark it is tried as often as it may be; then it has failed.
        const failed = story.began.length === 3 ? 1 : 0;
        await expectEnd(story, story.others, { state: 'cancelled', total: 2, failed, cancelled: 2 - failed }, [
          'complete',
        ]);
        expect(story.told.complete).toMatchObject([{ failed, cancelled: 2 - failed }]);
        expect(story.began).toHaveLength(position === undefined ? 1 : story.before);
      },
    });
  });

  test('while a running member adds: what it adds is refused, or cancelled', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker({ sweepInterval: 20 });
        const added = gateOf(testbed);
        const outcomes: string[] = [];
        testbed.worker('adding', async (job) => {
          outcomes.push('began');
          await added.opened;
          const own = await story.users.batchOf(job);
          await own?.add('later', {}, { delay: AN_HOUR }).then(
            () => outcomes.push('added'),
            (error) => outcomes.push(error.name),
          );
        });
        const batch = await story.users.createBatch({ on: ON });
        await batch.addBulk([{ ...member(), queue: 'adding' }]);
        await batch.seal();
        await eventually(() => outcomes.length === 1);
        return { ...(await inBothHands(story, batch)), added, outcomes };
      },
      actor: ({ actors }) => actors.cancel(),
      async other({ added, outcomes }) {
        added.open();
        await eventually(() => outcomes.length === 2);
      },
      async verdict(story) {
        const total = story.outcomes[1] === 'added' ? 2 : 1;
        expect(['added', BatchFinishedError.name]).toContain(story.outcomes[1]);
        await expectEnd(
          story,
          story.others,
          { state: 'cancelled', total, succeeded: 1, cancelled: total - 1, missing: 0 },
          ['complete'],
        );
      },
    });
  });

  test.for([false, true])(
    'of an earlier life of its id touches nothing of the later one (which is cancelled too: %s)',
    async (isCancelledToo, { testbed }) => {
      await interleave(testbed, {
        async setup(testbed, held) {
          const story = tell(testbed, held);
          await story.users.pause();
          const { began, release } = failing(testbed);
          const first = await story.actorsUsers.createBatch({ id: 'nightly' });
          await first.addBulk([member(), member('later', { delay: AN_HOUR })]);
          return { ...story, first, began, release };
        },
        actor: ({ first }) => first.cancel(),
        async other({ users, began }) {
          await (await users.getBatch('nightly')).remove({ force: true });
          const second = await users.createBatch({ id: 'nightly', on: ON });
          await second.addBulk([
            { ...member('running', { attempts: 2 }), queue: 'long' },
            member('later', { delay: AN_HOUR }),
          ]);
          await second.addFlow(flow);
          await eventually(() => began.length === 1);
          if (isCancelledToo) {
            await second.cancel('second');
          }
        },
        refusals: { actor: [BatchNotFoundError] },
        async verdict(story) {
          const second = await story.users.getBatch('nightly');
          if (!isCancelledToo) {
            expect(await second.status()).toMatchObject({ state: 'open', total: 3, pending: 3, cancelled: 0 });
            expect(await second.isCancelled()).toBe(false);
            await second.cancel('second');
          }
          await story.users.resume();
          story.testbed.batchWorker({ sweepInterval: 20 });
          story.release.open();
          await expectEnd(
            story,
            second,
            { state: 'cancelled', total: 3, failed: 0, cancelled: 3, cancelReason: 'second' },
            ['complete'],
          );
        },
      });
    },
  );
});

describe('cancel() of a flow', () => {
  test('leaves its jobs in a state of their queue at every step', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        await story.users.pause();
        const batch = await story.users.createBatch({ on: ON });
        await batch.addFlow(flow);
        await batch.seal();
        return { ...(await inBothHands(story, batch)), unknown: [] as string[] };
      },
      actor: ({ actors }) => actors.cancel(),
      async other(story) {
        for (const key of await jobsLeft(story)) {
          const id = key.split(':').at(-1) ?? '';
          if (/^m\w+-\w+$/.test(id) && (await story.users.getJobState(id)) === 'unknown') {
            story.unknown.push(id);
          }
        }
      },
      async verdict(story) {
        expect(story.unknown).toEqual([]);
        story.testbed.batchWorker();
        await story.users.resume();
        await expectEnd(story, story.others, { state: 'cancelled', total: 1, cancelled: 1 }, ['complete']);
        expect(await jobsLeft(story)).toEqual([]);
      },
    });
  });

  test('that was removed by hand, and whose id is used again elsewhere meanwhile, leaves the other one alone', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        await story.users.pause();
        const batch = await story.users.createBatch();
        await batch.addFlow({ ...flow, opts: { jobId: 'root' } });
        await batch.add('member', {});
        const flows = testbed.use(new FlowProducer({ connection: testbed.connection, prefix: testbed.prefix }));
        return { ...(await inBothHands(story, batch)), flows };
      },
      actor: ({ actors }) => actors.cancel(),
      async other({ users, flows }) {
        await users.remove('root');
        await flows.add({ ...flow, opts: { jobId: 'root' } });
      },
      async verdict({ users, others }) {
        const children = await (await users.getJob('root'))?.getDependenciesCount();
        expect(children).toMatchObject({ unprocessed: 1 });
        expect(await users.getWaitingChildrenCount()).toBe(2);
        expect(await others.status()).toMatchObject({ pending: 0 });
      },
    });
  });

  test.for(['held', 'held bad'])(
    "while a job below its root runs and ends ('%s'): the root is cancelled, and does not run",
    async (name, { testbed }) => {
      await interleave(testbed, {
        async setup(testbed, held) {
          const story = tell(testbed, held);
          testbed.batchWorker({ sweepInterval: 20 });
          const leaves = gateOf(testbed);
          testbed.worker('leaves', async (job) => {
            story.ran.push('leaf');
            await leaves.opened;
            if (job.name === 'held bad') {
              throw new Error('bad');
            }
          });
          const batch = await story.users.createBatch({ on: ON });
          await batch.addFlow({
            name: 'root',
            queueName: 'users',
            children: [
              { name, queueName: 'leaves' },
              { name: 'leaf', queueName: 'leaves', opts: { delay: AN_HOUR } },
            ],
          });
          await batch.seal();
          await eventually(() => story.ran.length === 1);
          return { ...(await inBothHands(story, batch)), leaves };
        },
        actor: ({ actors }) => actors.cancel(),
        async other({ leaves, testbed }) {
          leaves.open();
          const queue = testbed.plainQueue('leaves');
          await eventually(async () => (await queue.getJobCountByTypes('active')) === 0);
        },
        refusals: { actor: [BatchError] },
        async verdict(story, { actor }) {
          if (actor.status === 'rejected') {
            // The root had failed because of the job below it before the cancel came.
            await expectEnd(story, story.others, { state: 'failed', failed: 1 }, ['leaf', 'complete']);
            return;
          }
          const end = await story.others.waitUntilFinished(10_000);
          expect(end).toMatchObject({ state: 'cancelled', total: 1, succeeded: 0, missing: 0 });
          expect(end.cancelled + end.failed).toBe(1);
          expect(end.failed === 0 || name === 'held bad').toBe(true);
          expect(story.ran).not.toContain('root');
          if (end.failed === 0) {
            await eventually(async () => (await jobsLeft(story)).length === 0);
          }
        },
      });
    },
  );
});

test('a BatchWorker that is frozen while it ends a cancelled batch: complete is told the right numbers, once', async ({
  testbed,
}) => {
  await interleave(testbed, {
    async setup(testbed, held) {
      const story = tell(testbed, held);
      await heldBatchWorker(testbed, held, { lockDuration: 1000, stalledInterval: 200 });
      const { began, release } = failing(testbed);
      const batch = await story.users.createBatch({ on: { ...ON, death: { name: 'death' } } });
      await batch.addBulk([
        { ...member('again', { attempts: 2 }), queue: 'long' },
        { ...member('once'), queue: 'users' },
      ]);
      await batch.seal();
      await eventually(async () => began.length === 1 && (await batch.status()).succeeded === 1);
      await batch.cancel();
      return { ...story, batch, release };
    },
    async actor({ release, batch }) {
      release.open();
      await batch.waitUntilFinished(10_000);
    },
    async other({ testbed, batch }) {
      if ((await batch.status()).pending === 0) {
        testbed.batchWorker({ lockDuration: 1000, stalledInterval: 200, sweepInterval: 20 });
        await batch.waitUntilFinished(10_000);
      }
    },
    async verdict(story) {
      await expectEnd(story, story.batch, { state: 'cancelled', total: 2, succeeded: 1, failed: 0, cancelled: 1 }, [
        'complete',
        'once',
      ]);
      expect(story.told.complete).toMatchObject([{ succeeded: 1, failed: 0, cancelled: 1 }]);
    },
  });
});
