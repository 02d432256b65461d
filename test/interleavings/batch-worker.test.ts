import type { Batch, BatchStatus } from '../../src/index.js';
import type { HeldConnection } from '../support/held-connection.js';
import { heldBatchWorker, interleave } from '../support/interleave.js';
import { describe, expect, type Testbed, test } from '../support/test.js';
import { expectEnd, loseLock, member, membersSettled, ON, type Story, takeOver, tell } from './story.js';

/** A batch whose members have run, and a BatchWorker that will find it when it is sealed. */
async function settled(testbed: Testbed, held: HeldConnection, names: readonly string[], on: object = ON) {
  const story = tell(testbed, held);
  await heldBatchWorker(testbed, held);
  const batch = await story.users.createBatch({ on });
  await batch.addBulk(names.map((name) => member(name)));
  await membersSettled(batch);
  return { story, batch };
}

async function finish({ batch }: { readonly story: Story; readonly batch: Batch }): Promise<void> {
  await batch.seal();
  await batch.waitUntilFinished(10_000);
}

/** What a BatchWorker has decided about a batch. */
const decided = ({ completedAt, callbacks }: BatchStatus) => ({
  completedAt,
  enqueued: callbacks.filter(({ state }) => state !== 'pending').map(({ name }) => name),
});

describe('a BatchWorker that is frozen until its lock has run out', () => {
  test('leaves the batch to another one, and does nothing twice when it goes on', async ({ testbed }) => {
    await interleave(testbed, {
      setup: (testbed, held) => settled(testbed, held, ['member', 'member']),
      actor: finish,
      async other({ story, batch }) {
        await loseLock(story, batch);
        takeOver(story);
        await batch.waitUntilFinished(10_000);
      },
      async verdict({ story, batch }) {
        await story.held.idle();
        await expectEnd(story, batch, { state: 'succeeded' }, ['complete', 'member', 'member', 'success']);
      },
    });
  });

  test('leaves a child batch that fails, and its parent, to another one: each callback runs once', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        await heldBatchWorker(testbed, held);
        const parent = await story.users.createBatch({ on: { ...ON, death: { name: 'death' } } });
        const child = await parent.createBatch({ on: { death: { name: 'child death' } } });
        await child.add('bad', {});
        await membersSettled(child);
        await parent.seal();
        return { story, parent, child };
      },
      async actor({ child, parent }) {
        await child.seal();
        await parent.waitUntilFinished(10_000);
      },
      async other({ story, child, parent }) {
        await loseLock(story, child);
        await loseLock(story, parent);
        takeOver(story);
        await parent.waitUntilFinished(10_000);
      },
      async verdict({ story, parent }) {
        await story.held.idle();
        const names = ['bad', 'child death', 'complete', 'death'];
        await expectEnd(story, parent, { state: 'failed', total: 1, failed: 1 }, names);
      },
    });
  });

  test('decides and enqueues nothing any more: that is for who holds the batch', async ({ testbed }) => {
    const lost = { undecided: 0, decided: 0 };
    await interleave(testbed, {
      async setup(testbed, held) {
        const { story, batch } = await settled(testbed, held, ['member'], { complete: ON.complete });
        return { story, batch, before: undefined as BatchStatus | undefined };
      },
      // The BatchWorker has ended what follows when it waits again.
      actor: ({ batch }) => batch.seal(),
      async other(situation) {
        if (await loseLock(situation.story, situation.batch)) {
          situation.before = await situation.batch.status();
        }
      },
      async verdict({ story, batch, before }) {
        await story.held.idle();
        if (before !== undefined) {
          lost[before.completedAt === undefined ? 'undecided' : 'decided'] += 1;
          expect(decided(await batch.status())).toEqual(decided(before));
        }
        takeOver(story);
        await expectEnd(story, batch, { state: 'succeeded' }, ['complete', 'member']);
      },
    });
    expect(lost.undecided).toBeGreaterThan(0);
    expect(lost.decided).toBeGreaterThan(0);
  });

  test('what it has decided stays: complete is told the counts of that moment, whatever is retried since', async ({
    testbed,
  }) => {
    const seen = new Set<number>();
    await interleave(testbed, {
      setup: (testbed, held) => settled(testbed, held, ['bad', 'member']),
      actor: finish,
      async other({ story, batch }) {
        const { completedAt, finishedAt } = await batch.status();
        if (finishedAt === undefined) {
          seen.add(completedAt === undefined ? 0 : 1);
          await loseLock(story, batch);
          story.mend();
          const [bad] = await story.users.getFailed();
          await bad?.retry();
          takeOver(story);
          await batch.waitUntilFinished(10_000);
        }
        return finishedAt === undefined && completedAt === undefined ? 0 : 1;
      },
      async verdict({ story, batch }, { other }) {
        await story.held.idle();
        const failed = (other as PromiseFulfilledResult<number>).value;
        expect(story.told.complete).toMatchObject([{ total: 2, failed, succeeded: 2 - failed }]);
        const end = await batch.status();
        expect(story.told.success ?? []).toHaveLength(end.state === 'succeeded' ? 1 : 0);
      },
    });
    expect([...seen].sort(), 'before and after the decision').toEqual([0, 1]);
  });
});
