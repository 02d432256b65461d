import { contextOf } from '../../src/batch/batch-context.js';
import { type Batch, BatchError, BatchNotFoundError } from '../../src/index.js';
import { Maintainer } from '../../src/worker/maintenance/maintainer.js';
import type { MaintenanceOptions } from '../../src/worker/maintenance/services.js';
import type { HeldConnection } from '../support/held-connection.js';
import { interleave } from '../support/interleave.js';
import { type AnyQueue, describe, eventually, expect, keysOf, type Testbed, test } from '../support/test.js';
import { AN_HOUR, type AnyBatch, expectEnd, inBothHands, membersSettled, ON, type Story, tell } from './story.js';

const TIMEOUT = { timeout: 120_000 };
/** What mends damage, and nothing else, by the clock. */
const MENDS: MaintenanceOptions = { reconcileInterval: 80, sweepInterval: AN_HOUR, missingAfter: 1 };
const SWEEPS: MaintenanceOptions = { reconcileInterval: AN_HOUR, sweepInterval: 80, missingAfter: 1 };

/** A story with a BatchWorker that moves batches on, and leaves maintenance to others. */
async function tellUnmaintained(testbed: Testbed, held: HeldConnection): Promise<Story> {
  const story = tell(testbed, held);
  const worker = testbed.batchWorker({ sweepInterval: AN_HOUR });
  await worker.waitUntilReady();
  await eventually(() => testbed.redis.del(`${testbed.prefix}:batches:reconciler:leader`));
  return story;
}

/** Maintains batches, and nothing else: whoever is frozen in it holds no batch job. */
async function maintain({ testbed }: Story, users: AnyQueue, options: MaintenanceOptions): Promise<void> {
  const maintainer = new Maintainer(await contextOf(users), options, { onRepair: () => {}, onError: () => {} });
  maintainer.start();
  testbed.use(maintainer);
}

/** The one that is held; and another one, which leads as soon as the frozen one has lost the lead. */
const lead = (story: Story, options: MaintenanceOptions) => maintain(story, story.actorsUsers, options);
const leadToo = (story: Story, options: MaintenanceOptions) => maintain(story, story.users, options);

type Family = Story & { readonly parent: Batch; readonly child: Batch };

/** Two leaders, each of which maintains until something has come about. */
function eachLeads<S extends Story>(options: MaintenanceOptions, until: (story: S) => Promise<unknown>) {
  return {
    async actor(story: S) {
      await lead(story, options);
      await until(story);
    },
    async other(story: S) {
      await leadToo(story, options);
      await until(story);
    },
  };
}

const finished = (batch: Batch) => batch.waitUntilFinished(10_000);
const succeeded = (batch: Batch) => eventually(async () => (await batch.status()).state === 'succeeded');

/** A member of the batch loses its job, and nothing tells. */
async function lose({ testbed }: Story, batch: AnyBatch): Promise<void> {
  const { id } = await batch.add('lost', {}, { delay: AN_HOUR });
  await testbed.redis.del(`${testbed.prefix}:users:${id}`);
  await testbed.redis.zrem(`${testbed.prefix}:users:delayed`, id ?? '');
}

/** A parent and its child, which has failed because of one member; that was retried by hand, and has succeeded. */
async function healed(testbed: Testbed, held: HeldConnection) {
  const story = await tellUnmaintained(testbed, held);
  const parent = await story.users.createBatch({ on: { success: { name: 'parent success' } } });
  const child = await parent.createBatch({ on: ON });
  const bad = await child.add('bad', {});
  await child.seal();
  await parent.seal();
  expect(await finished(parent)).toMatchObject({ state: 'failed' });
  story.mend();
  await (await story.users.getJob(bad.id ?? ''))?.retry();
  await membersSettled(child);
  return { ...story, parent, child };
}

const HEALED = ['bad', 'bad', 'complete', 'parent success', 'success'];

describe('a leader that is frozen until another one leads', () => {
  test('has a lost member counted once, and every callback runs once', TIMEOUT, async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = await tellUnmaintained(testbed, held);
        const parent = await story.users.createBatch({ on: { complete: { name: 'parent complete' } } });
        const child = await parent.createBatch({ openTimeout: 1, on: ON });
        await lose(story, child);
        await child.add('member', {});
        await eventually(async () => (await child.status()).succeeded === 1);
        await parent.seal();
        return { ...story, parent, child };
      },
      ...eachLeads(MENDS, (story: Family) => finished(story.parent)),
      async verdict(story) {
        expect(await story.child.status()).toMatchObject({ state: 'failed', total: 2, succeeded: 1, missing: 1 });
        await expectEnd(story, story.parent, { state: 'failed', failed: 1 }, ['complete', 'member', 'parent complete']);
      },
    });
  });

  test('leaves no death untold, and complete is seen, once, while the callback runs', TIMEOUT, async ({ testbed }) => {
    const sweepTheBatch = async (story: Story & { readonly batch: Batch }) => {
      await eventually(() => story.ran.includes('held'));
      await story.batch.seal();
      await eventually(() => story.ran.includes('complete'));
    };
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = await tellUnmaintained(testbed, held);
        const batch = await story.users.createBatch({
          on: { death: { name: 'held' }, complete: { name: 'complete' } },
        });
        await batch.add('bad', {});
        await membersSettled(batch);
        return { ...story, batch };
      },
      ...eachLeads(SWEEPS, sweepTheBatch),
      async verdict(story) {
        expect(await story.batch.status()).toMatchObject({ state: 'finishing' });
        story.gate.open();
        await expectEnd(story, story.batch, { state: 'failed', failed: 1 }, ['bad', 'complete', 'held']);
      },
    });
  });

  test('lets a batch and its parent run again that were healed by hand, once', TIMEOUT, async ({ testbed }) => {
    await interleave(testbed, {
      setup: healed,
      ...eachLeads(MENDS, (story: Family) => succeeded(story.parent)),
      async verdict(story) {
        expect(await story.child.status()).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
        await expectEnd(story, story.parent, { state: 'succeeded', total: 1, succeeded: 1 }, HEALED);
      },
    });
  });
});

describe('maintenance that gives up an open batch, whose producer comes back meanwhile', () => {
  test.for(['seal()', 'add() and seal()'])(
    'with %s: the batch succeeds, complete is told once',
    TIMEOUT,
    async (how, { testbed }) => {
      await interleave(testbed, {
        async setup(testbed, held) {
          const story = await tellUnmaintained(testbed, held);
          const batch = await story.users.createBatch({ openTimeout: 1, on: ON });
          await batch.add('member', {});
          await membersSettled(batch);
          return { ...(await inBothHands(story, batch)), batch };
        },
        async actor(story) {
          await lead(story, MENDS);
          // It is given up, or its producer was faster.
          await finished(story.batch);
        },
        async other(story) {
          if (how.startsWith('add')) await story.others.add('member', {});
          // A batch that fails while it is added to runs again when maintenance has seen it: the verdict waits for
          // that.
          await story.others.seal();
        },
        async verdict(story) {
          const members = how.startsWith('add') ? ['member', 'member'] : ['member'];
          await succeeded(story.batch);
          const status = { state: 'succeeded', abandoned: false, total: members.length } as const;
          await expectEnd(story, story.batch, status, ['complete', ...members, 'success']);
        },
      });
    },
  );
});

describe('maintenance that lets a healed batch run again', () => {
  test('beside retry(): both succeed once', TIMEOUT, async ({ testbed }) => {
    await interleave(testbed, {
      setup: healed,
      async actor(story) {
        await lead(story, MENDS);
        await succeeded(story.parent);
      },
      async other(story) {
        await story.parent.retry();
      },
      async verdict(story) {
        await succeeded(story.parent);
        await expectEnd(story, story.parent, { state: 'succeeded', total: 1, succeeded: 1 }, HEALED);
      },
    });
  });

  test('beside remove(): the batch is gone whole, or remove() says why not', TIMEOUT, async ({ testbed }) => {
    await interleave(testbed, {
      setup: healed,
      async actor(story) {
        await lead(story, MENDS);
        await eventually(async () => {
          const status = await story.parent.status().catch((error: unknown) => {
            if (error instanceof BatchNotFoundError) return { state: 'gone' };
            throw error;
          });
          return status.state === 'gone' || status.state === 'succeeded';
        });
      },
      other: ({ parent }) => parent.remove(),
      refusals: { other: [BatchError] },
      async verdict(story, { other }) {
        if (other.status === 'rejected') {
          await succeeded(story.parent);
          await expectEnd(story, story.parent, { state: 'succeeded', total: 1, succeeded: 1 }, HEALED);
          return;
        }
        for (const { id } of [story.parent, story.child]) {
          const keys = () => keysOf(story.testbed.redis, `${story.testbed.prefix}:batches:${id}`);
          await eventually(async () => (await keys()).length === 0);
        }
      },
    });
  });
});
