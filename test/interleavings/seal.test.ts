import { heldBatchWorker, interleave } from '../support/interleave.js';
import { describe, expect, test } from '../support/test.js';
import { AN_HOUR, expectEnd, inBothHands, member, ON, promoteAndPutBack, readyToFinish, tell } from './story.js';

describe('seal()', () => {
  test('beside another seal(): the batch finishes once', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker();
        const batch = await story.users.createBatch({ on: ON });
        await batch.add('member', {});
        return inBothHands(story, batch);
      },
      actor: ({ actors }) => actors.seal(),
      other: ({ others }) => others.seal(),
      verdict: (story) => expectEnd(story, story.others, { state: 'succeeded' }, ['member', 'complete', 'success']),
    });
  });

  test('beside cancel(): the batch ends cancelled, and complete is told so once', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker();
        const batch = await story.users.createBatch({ on: ON });
        await batch.addBulk([member('later', { delay: AN_HOUR }), member('later', { priority: 3, delay: AN_HOUR })]);
        return inBothHands(story, batch);
      },
      actor: ({ actors }) => actors.cancel('enough'),
      other: ({ others }) => others.seal(),
      async verdict(story) {
        await expectEnd(story, story.others, { state: 'cancelled', total: 2, cancelled: 2 }, ['complete']);
        expect(story.told.complete).toMatchObject([{ total: 2, cancelled: 2, cancelReason: 'enough' }]);
      },
    });
  });

  test.for([
    ['an empty batch', []],
    ['a batch whose members have run', ['member', 'member']],
  ] as const)(
    'while a BatchWorker puts %s back that was promoted by hand: it is not forgotten',
    async ([, names], { testbed }) => {
      await interleave(testbed, {
        setup: (testbed, held) => readyToFinish(testbed, held, { jobs: names.map((name) => member(name)) }),
        actor: promoteAndPutBack,
        other: ({ batch }) => batch.seal(),
        verdict: (story) => expectEnd(story, story.batch, { state: 'succeeded' }, [...names, 'complete', 'success']),
      });
    },
  );

  test('while a BatchWorker finishes the batch: it changes nothing', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        await heldBatchWorker(testbed, held);
        const batch = await story.users.createBatch({ on: ON });
        await batch.add('member', {});
        return { ...story, batch };
      },
      async actor({ batch }) {
        await batch.seal();
        await batch.waitUntilFinished();
      },
      other: ({ batch }) => batch.seal(),
      verdict: (story) => expectEnd(story, story.batch, { state: 'succeeded' }, ['member', 'complete', 'success']),
    });
  });
});
