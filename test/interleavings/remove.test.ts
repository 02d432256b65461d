import { contextOf } from '../../src/batch/batch-context.js';
import { removeInTurn } from '../../src/batch/remove.js';
import { Remover } from '../../src/batch/remover.js';
import { type Batch, BatchError, BatchNotFoundError } from '../../src/index.js';
import type { HeldConnection } from '../support/held-connection.js';
import { interleave, withLostReplies } from '../support/interleave.js';
import { endLeases } from '../support/leases.js';
import { describe, eventually, expect, keysOf, type Testbed, test } from '../support/test.js';
import {
  AN_HOUR,
  expectEnd,
  inBothHands,
  loseLock,
  member,
  ON,
  readyToFinish,
  type Story,
  sealAndFinish,
  takeOver,
  tell,
} from './story.js';

/** The ids of a family: they are used again as soon as they are free. */
const IDS = ['nightly', 'nightly-child'];
const NIGHTLY = { id: 'nightly', jobs: [member('member', { jobId: 'nightly-member' })] };

interface Family {
  readonly parent: Batch;
  readonly child: Batch;
}

/** A batch and a child batch, with a settled and a pending member each. */
async function create({ users }: Story, { pending = true } = {}): Promise<Family> {
  const jobs = pending ? [member(), member('later', { delay: AN_HOUR })] : [member(), member()];
  const parent = await users.createBatch({ id: 'nightly', on: ON });
  const child = await parent.createBatch({ id: 'nightly-child', on: ON });
  for (const batch of [child, parent]) {
    await batch.addBulk(jobs.map((job, n) => ({ ...job, opts: { ...job.opts, jobId: `${batch.id}-${n}` } })));
    await batch.seal();
  }
  return { parent, child };
}

/** One life has been, and has finished unless it has pending members; whoever removes it has a handle of it. */
async function lived(testbed: Testbed, held: HeldConnection, options: { pending: boolean }) {
  const story = tell(testbed, held);
  testbed.batchWorker();
  const { parent, child } = await create(story, options);
  if (options.pending) {
    await eventually(async () => (await parent.status()).succeeded === 1 && (await child.status()).succeeded === 1);
  } else {
    await parent.waitUntilFinished(10_000);
  }
  return {
    ...(await inBothHands(story, parent)),
    contexts: [await contextOf(story.actorsUsers), await contextOf(story.users)] as const,
  };
}

type Lived = Awaited<ReturnType<typeof lived>>;

/** The keys of the family and of its jobs. */
async function keysOfFamily({ testbed }: Pick<Story, 'testbed'>): Promise<string[]> {
  return (await keysOf(testbed.redis, testbed.prefix)).filter((key) => /:nightly/.test(key));
}

/** Removes what is there, and uses the ids again: the settled members' jobs are gone, so their ids may be, too. */
async function removeAndCreate(story: Lived): Promise<Family> {
  await endLeases(story.testbed, IDS);
  await story.others.remove({ members: true, force: true }).catch((error) => {
    // Only the one who came when all was over may say so.
    if (!(error instanceof BatchNotFoundError)) throw error;
  });
  expect(await keysOfFamily(story)).toEqual([]);
  return create(story, { pending: false });
}

/** The later life is whole: all of its members run, and it calls back. */
async function expectLaterLife(story: Story, { parent, child }: Family): Promise<void> {
  expect(await parent.waitUntilFinished(10_000)).toMatchObject({
    state: 'succeeded',
    total: 3,
    succeeded: 3,
    missing: 0,
  });
  expect(await child.status()).toMatchObject({ state: 'succeeded', total: 2, succeeded: 2, missing: 0 });
  expect(await story.users.getJobCountByTypes('completed')).toBe(8);
}

describe('remove()', () => {
  test.for([true, false])(
    'beside another remove(), after which the ids are used again: both resolve, the new batch stays (pending: %s)',
    async (pending, { testbed }) => {
      const { commands } = await interleave(testbed, {
        setup: (testbed, held) => lived(testbed, held, { pending }),
        actor: ({ actors }) => actors.remove({ members: true, force: pending }),
        other: removeAndCreate,
        // When it came after the other one had removed the batch.
        refusals: { actor: [BatchNotFoundError] },
        async verdict(story, { position, actor, other }) {
          expect(actor.status).toBe(position === 1 ? 'rejected' : 'fulfilled');
          if (other.status === 'fulfilled') await expectLaterLife(story, other.value as Family);
        },
      });
      expect(commands.length).toBeGreaterThan(5);
    },
  );

  test('resolves when another remove() was faster, and takes what both asked for', async ({ testbed }) => {
    await interleave(testbed, {
      setup: (testbed, held) => lived(testbed, held, { pending: true }),
      actor: ({ actors }) => actors.remove({ force: true }),
      async other({ testbed, others }) {
        await endLeases(testbed, IDS);
        await others.remove({ force: true });
      },
      // The one who came when all was over says so.
      refusals: { actor: [BatchNotFoundError], other: [BatchNotFoundError] },
      async verdict({ users, testbed }, { position, actor, other }) {
        expect(actor.status).toBe(position === 1 ? 'rejected' : 'fulfilled');
        expect(other.status).toBe(position === undefined ? 'rejected' : 'fulfilled');
        const left = (await keysOf(testbed.redis, testbed.prefix)).filter((key) => /:batches:nightly|~/.test(key));
        expect(left).toEqual([]);
        expect(await users.getJobCountByTypes('completed', 'delayed')).toBe(2);
      },
    });
  });

  test('killed anywhere: maintenance goes on with it, members and all', async ({ testbed }) => {
    await interleave(testbed, {
      setup: (testbed, held) => lived(testbed, held, { pending: true }),
      actor: ({ actors }) => actors.remove({ members: true, force: true }),
      async other({ testbed, contexts: [, context] }) {
        const turn = async () => {
          const ended = await new Remover(context, 2).remove('nightly', { how: 'continue' });
          return ended !== 'more' && ended !== 'held';
        };
        await endLeases(testbed, IDS);
        await eventually(turn);
        return keysOfFamily({ testbed });
      },
      async verdict(story, { other, position }) {
        // Before it is marked, nothing is to be gone on with.
        const isMarked = position === undefined || position > 2;
        if (isMarked) expect(other).toEqual({ status: 'fulfilled', value: [] });
        expect(await keysOfFamily(story)).toEqual([]);
      },
    });
  });

  test('while somebody creates a batch with its id: the creation fails, or the new batch stays', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      setup: (testbed, held) => lived(testbed, held, { pending: false }),
      actor: ({ actors }) => actors.remove({ members: true }),
      other: ({ users }) => users.createBatch({ id: 'nightly', on: ON }),
      refusals: { other: [BatchError] },
      async verdict(story, { other }) {
        const created = other.status === 'fulfilled' ? (other.value as Batch) : undefined;
        if (created?.created !== true) {
          expect(await keysOfFamily(story)).toEqual([]);
        }
        const { parent, child } = await create(story, { pending: false });
        await expectLaterLife(story, { parent, child });
      },
    });
  });

  test('and a creation with its id that is held anywhere: it fails, or its batch stays', async ({ testbed }) => {
    await interleave(testbed, {
      setup: (testbed, held) => lived(testbed, held, { pending: false }),
      actor: ({ actorsUsers }) => actorsUsers.createBatch({ id: 'nightly', on: ON }),
      other: ({ others }) => others.remove({ members: true }),
      refusals: { actor: [BatchError] },
      async verdict(story, { actor }) {
        const created = actor.status === 'fulfilled' ? (actor.value as Batch) : undefined;
        if (created?.created !== true) {
          expect(await keysOfFamily(story)).toEqual([]);
        }
        await expectLaterLife(story, await create(story, { pending: false }));
      },
    });
  });

  test('{ force: true } while the last member of a child ends: nothing is left, nothing calls back later', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker({ sweepInterval: 20 });
        const parent = await story.users.createBatch({ id: 'nightly', on: ON });
        const child = await parent.createBatch({ id: 'nightly-child', on: { complete: { name: 'child complete' } } });
        await child.add('held', {}, { jobId: 'nightly-held' });
        await parent.add('later', {}, { jobId: 'nightly-later', delay: AN_HOUR });
        await child.seal();
        await parent.seal();
        await eventually(() => story.ran.length === 1);
        return { ...(await inBothHands(story, parent)), child };
      },
      actor: ({ actors }) => actors.remove({ force: true }),
      async other({ gate, users, child, ran }) {
        gate.open();
        await eventually(async () => (await users.getCompletedCount()) > 0);
        // Unless it is being removed, it finishes before the removal goes on.
        const isThere = await child.status().then(
          () => true,
          () => false,
        );
        if (isThere) await eventually(() => ran.includes('child complete'));
      },
      async verdict(story, { position }) {
        const ranBefore = [...story.ran];
        // All batches are stopped before anything of them goes.
        const heldBefore = position === undefined ? undefined : story.held.commands[position - 1];
        if (heldBefore === 'takeApart') expect(ranBefore).not.toContain('child complete');
        expect(await keysOfFamily(story)).toEqual([`${story.testbed.prefix}:users:nightly-held`]);
        await expectNothingRuns(story);
        expect(story.ran).toEqual(ranBefore);
      },
    });
  });
});

/** A batch that is added afterwards runs to its end: whatever was in the queues before has had its turn. */
async function expectNothingRuns({ users, ran }: Story): Promise<void> {
  const before = ran.length;
  const probe = await users.addBatch({}, [member('probe')]);
  await probe.waitUntilFinished(10_000);
  expect(ran.slice(before)).toEqual(['probe']);
  ran.pop();
}

describe('expiry', () => {
  test('beside remove(), after which the ids are used again: the new batch stays', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = await lived(testbed, held, { pending: false });
        await testbed.redis.hset(`${testbed.prefix}:batches:nightly`, 'b:keep', '0,');
        return story;
      },
      actor: ({ contexts: [context] }) =>
        eventually(async () => (await removeInTurn(context, 'nightly', 'expire')) !== 'more'),
      async other(story) {
        // Its callbacks and child batches go, its members' jobs are left to the user.
        await endLeases(story.testbed, IDS);
        await story.others.remove({ members: true }).catch(() => {});
        for (const { id } of await story.users.getJobs(['completed'])) await story.users.remove(id ?? '');
        return create(story, { pending: false });
      },
      async verdict(_, { other }) {
        if (other.status !== 'fulfilled') throw other.reason;
        const { parent, child } = other.value as Family;
        expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 3, succeeded: 3 });
        expect(await child.status()).toMatchObject({ state: 'succeeded', total: 2, succeeded: 2 });
      },
    });
  });

  test.for(['expires', 'is removed'])(
    'retry() while the batch %s: the retry wins and the batch stays, or it says that the batch is gone',
    async (how, { testbed }) => {
      const ends = new Set<string>();
      await interleave(testbed, {
        setup: (testbed, held) => failedOnce(testbed, held),
        actor: ({ actors }) => actors.retry(),
        other: ({ contexts: [, context], others }) => (how === 'expires' ? expireAll(context) : others.remove()),
        refusals: { actor: [BatchNotFoundError], other: [BatchError] },
        async verdict(story, { actor, other, position }) {
          ends.add(actor.status);
          // The first command looks at the batch, the second one claims it.
          if (position !== undefined && position > 2) expect(actor.status).toBe('fulfilled');
          if (actor.status === 'rejected') {
            await expect(story.others.status()).rejects.toThrow(BatchNotFoundError);
          } else if (other.status === 'rejected' || other.value === 'not finished') {
            expect(actor.value).toEqual({ retried: 2 });
            await expectEnd(story, story.others, { state: 'succeeded', recovered: true }, RETRIED);
          } else {
            // It came when the retried batch had finished again.
            expect([...story.ran].sort()).toEqual(RETRIED);
          }
        },
      });
      expect([...ends].sort()).toEqual(['fulfilled', 'rejected']);
    },
  );

  test.for(['expires', 'is removed'])(
    'of a batch that is retried while it %s: the retry wins and the batch stays, or it says that the batch is gone',
    async (how, { testbed }) => {
      await interleave(testbed, {
        setup: (testbed, held) => failedOnce(testbed, held),
        actor: ({ contexts: [context], actors }) => (how === 'expires' ? expireAll(context) : actors.remove()),
        other: ({ others }) => others.retry(),
        refusals: { other: [BatchNotFoundError], actor: [BatchError] },
        async verdict(story, { other }) {
          if (other.status === 'rejected') {
            await expect(story.others.status()).rejects.toThrow(BatchNotFoundError);
          } else {
            await expectEnd(story, story.others, { state: 'succeeded', recovered: true }, RETRIED);
          }
        },
      });
    },
  );

  test('of the batch above, while a child of it is retried: the retry wins, or says that the batch is gone', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      setup: (testbed, held) => failedOnce(testbed, held),
      actor: ({ actorsChild }) => actorsChild.retry(),
      other: ({ contexts: [, context] }) => expireAll(context),
      refusals: { actor: [BatchNotFoundError] },
      async verdict(story, { actor, other, position }) {
        if (position !== undefined && position > 2) expect(actor.status).toBe('fulfilled');
        if (actor.status === 'rejected') {
          await expect(story.others.status()).rejects.toThrow(BatchNotFoundError);
        } else {
          // After the retry the batch may have finished again, and had its time.
          if (position !== undefined) expect(other).toEqual({ status: 'fulfilled', value: 'not finished' });
          expect(actor.value).toEqual({ retried: 1 });
          await eventually(() => story.ran.includes('child success'));
        }
      },
    });
  });
});

describe('retry()', () => {
  test('while the batch is removed by force: it says that the batch is gone', async ({ testbed }) => {
    await interleave(testbed, {
      setup: (testbed, held) => failedOnce(testbed, held),
      actor: ({ actors }) => actors.retry(),
      other: ({ others }) => others.remove({ force: true }),
      refusals: { actor: [BatchNotFoundError] },
      async verdict(_, { actor, position }) {
        expect(actor.status).toBe(position === undefined ? 'fulfilled' : 'rejected');
      },
    });
  });

  test('of a child batch while the one above is removed: it says that the batch is gone, or wins', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      setup: async (testbed, held) => {
        const story = await failedOnce(testbed, held);
        return { ...story, child: await story.users.getBatch('nightly-child') };
      },
      actor: ({ actors }) => actors.remove(),
      other: ({ child }) => child.retry(),
      refusals: { actor: [BatchError], other: [BatchNotFoundError] },
      async verdict(story, { actor, other }) {
        if (other.status === 'rejected') return;
        if (actor.status === 'fulfilled') {
          // All that was retried had ended, and was told, before the removal began.
          expect(story.ran).toContain('child success');
        }
        await eventually(() => story.ran.includes('child success'));
      },
    });
  });
});

const RETRIED = ['bad', 'bad', 'bad', 'bad', 'child success', 'success'];

/** A batch and a child batch, each with a failed member that would succeed now, and kept for no time. */
async function failedOnce(testbed: Testbed, held: HeldConnection) {
  const story = tell(testbed, held);
  testbed.batchWorker();
  const parent = await story.users.createBatch({
    id: 'nightly',
    keep: { age: 0 },
    on: { success: { name: 'success' } },
  });
  const child = await parent.createBatch({ id: 'nightly-child', on: { success: { name: 'child success' } } });
  await child.add('bad', {});
  await parent.add('bad', {});
  await child.seal();
  await parent.seal();
  await parent.waitUntilFinished(10_000);
  story.mend();
  const actorsChild = await story.actorsUsers.getBatch(child.id);
  return {
    ...(await inBothHands(story, parent)),
    actorsChild,
    contexts: [await contextOf(story.actorsUsers), await contextOf(story.users)] as const,
  };
}

async function expireAll(context: Parameters<typeof removeInTurn>[0]): Promise<unknown> {
  for (;;) {
    const ended = await removeInTurn(context, 'nightly', 'expire');
    if (ended !== 'more') return ended;
  }
}

describe('remove({ force: true })', () => {
  test('at any step of the BatchWorker that finishes the batch: nothing is left, nothing calls back any more', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      setup: (testbed, held) => readyToFinish(testbed, held, NIGHTLY),
      actor: sealAndFinish,
      async other(story) {
        await loseLock(story, story.batch);
        await story.batch.remove({ force: true });
      },
      refusals: { actor: [BatchNotFoundError] },
      async verdict(story) {
        await story.held.idle();
        takeOver(story);
        await expectNothingRuns(story);
        expect(await keysOfFamily(story)).toEqual([`${story.testbed.prefix}:users:nightly-member`]);
      },
    });
  });
});

describe('when the reply to a command is lost, and it is sent again', () => {
  test.for([{}, { members: true }, { force: true }, { members: true, force: true }])(
    'remove(%o) resolves, and has done it once',
    async (options, { testbed }) => {
      await withLostReplies(testbed, {
        setup: (testbed, held) => lived(testbed, held, { pending: 'force' in options }),
        actor: ({ actors }) => actors.remove(options),
        async verdict({ testbed, users }) {
          const left = (await keysOf(testbed.redis, testbed.prefix)).filter((key) => /:batches:nightly|~/.test(key));
          expect(left).toEqual([]);
          const members = 'members' in options ? 0 : 'force' in options ? 2 : 4;
          expect(await users.getJobCountByTypes('completed', 'delayed')).toBe(members);
        },
      });
    },
  );

  test('a parent counts a removed child as missing, once, and goes on', async ({ testbed }) => {
    await withLostReplies(testbed, {
      setup: async (testbed, held) => {
        const story = await lived(testbed, held, { pending: true });
        await story.users.remove('nightly-1');
        return { ...story, child: await story.actorsUsers.getBatch('nightly-child') };
      },
      actor: ({ child }) => child.remove({ force: true }),
      async verdict({ others }) {
        const status = await others.waitUntilFinished(10_000);
        expect(status).toMatchObject({ state: 'failed', total: 3, succeeded: 1, missing: 2 });
      },
    });
  });

  test('retry() runs again what failed, once', async ({ testbed }) => {
    await withLostReplies(testbed, {
      setup: (testbed, held) => failedOnce(testbed, held),
      actor: ({ actors }) => actors.retry(),
      verdict: (story) => expectEnd(story, story.others, { state: 'succeeded', recovered: true }, RETRIED),
    });
  });

  test('expiry and continued removals take everything', async ({ testbed }) => {
    await withLostReplies(testbed, {
      setup: (testbed, held) => failedOnce(testbed, held),
      async actor({ contexts: [context] }) {
        expect(await new Remover(context, 1).remove('nightly', { how: 'expire' })).toBe('more');
        const turn = () => new Remover(context, 1).remove('nightly', { how: 'continue' });
        await eventually(async () => ['done', 'not found'].includes(await turn()));
      },
      async verdict({ testbed }) {
        expect((await keysOf(testbed.redis, testbed.prefix)).filter((key) => /:batches:nightly|~/.test(key))).toEqual(
          [],
        );
      },
    });
  });
});
