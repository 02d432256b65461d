import { BatchError } from '../../src/index.js';
import { interleave } from '../support/interleave.js';
import { describe, eventually, expect, test } from '../support/test.js';
import {
  AN_HOUR,
  expectEnd,
  inBothHands,
  member,
  ON,
  openBatch,
  promoteAndPutBack,
  readyToFinish,
  sealAndFinish,
  tell,
} from './story.js';

describe('cancel()', () => {
  test('beside another cancel(): each member is counted once, and one reason is told', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker();
        const batch = await story.users.createBatch({ on: ON });
        const child = await batch.createBatch({ on: { complete: { name: 'child complete' } } });
        await child.addBulk([member('later', { delay: AN_HOUR }), member('later', { delay: AN_HOUR })]);
        await batch.addBulk([member('later', { delay: AN_HOUR }), member('later', { priority: 2, delay: AN_HOUR })]);
        return { ...(await inBothHands(story, batch)), child };
      },
      actor: ({ actors }) => actors.cancel('one'),
      other: ({ others }) => others.cancel('two'),
      refusals: { other: [BatchError] },
      async verdict(story, { position }) {
        await expectEnd(story, story.others, { state: 'cancelled', total: 3, cancelled: 2, failed: 1 }, [
          'child complete',
          'complete',
        ]);
        expect(await story.child.status()).toMatchObject({ state: 'cancelled', total: 2, cancelled: 2 });
        expect(story.told.complete).toMatchObject([{ cancelReason: position === 1 ? 'two' : 'one' }]);
      },
    });
  });

  test('while members run and fail: what was running ends, nothing else runs', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const bad = member('bad', { attempts: 2, backoff: AN_HOUR });
        const jobs = [member('held'), bad, member('later', { delay: AN_HOUR })];
        const story = await openBatch(testbed, held, { jobs, sweepInterval: 20 });
        await story.others.seal();
        await eventually(async () => story.ran.length === 2 && (await story.users.getDelayedCount()) === 2);
        return story;
      },
      actor: ({ actors }) => actors.cancel(),
      async other({ gate, others }) {
        gate.open();
        await eventually(async () => (await others.status()).succeeded === 1);
      },
      verdict: (story) =>
        expectEnd(story, story.others, { state: 'cancelled', total: 3, succeeded: 1, cancelled: 2 }, [
          'bad',
          'complete',
          'held',
        ]),
    });
  });

  test('at any step of the BatchWorker that finishes the batch: it wins, or says that there is nothing left', async ({
    testbed,
  }) => {
    const ends = new Set<string>();
    await interleave(testbed, {
      setup: (testbed, held) => readyToFinish(testbed, held),
      actor: sealAndFinish,
      other: ({ batch }) => batch.cancel('late'),
      refusals: { other: [BatchError] },
      async verdict(story, { other }) {
        if (other.status === 'fulfilled') {
          await expectEnd(story, story.batch, { state: 'cancelled', succeeded: 1 }, ['member', 'complete']);
          expect(story.told.complete).toMatchObject([{ cancelReason: 'late' }]);
        } else {
          expect(String(other.reason)).toContain('has nothing left to cancel');
          await expectEnd(story, story.batch, { state: 'succeeded' }, ['member', 'complete', 'success']);
        }
        ends.add((await story.batch.status()).state);
      },
    });
    expect([...ends].sort()).toEqual(['cancelled', 'succeeded']);
  });

  test('while a BatchWorker puts an open batch back that was promoted by hand: it ends cancelled', async ({
    testbed,
  }) => {
    await interleave(testbed, {
      setup: (testbed, held) => readyToFinish(testbed, held),
      actor: promoteAndPutBack,
      other: ({ batch }) => batch.cancel(),
      verdict: (story) =>
        expectEnd(story, story.batch, { state: 'cancelled', total: 1, succeeded: 1 }, ['complete', 'member']),
    });
  });
});
