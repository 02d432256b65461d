import { heldBatchWorker, interleave } from '../support/interleave.js';
import { describe, eventually, expect, test } from '../support/test.js';
import {
  AN_HOUR,
  type AnyBatch,
  expectEnd,
  inBothHands,
  member,
  ON,
  openBatch,
  promoteAndPutBack,
  readyToFinish,
  tell,
} from './story.js';

describe('seal()', () => {
  test('beside another seal(): the batch finishes once', async ({ testbed }) => {
    await interleave(testbed, {
      setup: (testbed, held) => openBatch(testbed, held, { jobs: [member()] }),
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

  test.for([
    ['seal() alone', async (batch: AnyBatch) => batch.seal()],
    [
      'a last member, and seal(),',
      async (batch: AnyBatch) => {
        await batch.add('member', {});
        await batch.seal();
      },
    ],
  ] as const)(
    '%s at any step of the BatchWorker that fails the batch as abandoned: once sealed, it does not fail',
    async ([, goOn], { testbed }) => {
      const states: string[] = [];
      for (let position = 1; ; position++) {
        const isHeld = await testbed.within(position, async (own) => {
          const [held, producers] = [await own.heldConnection(), await own.heldConnection()];
          const { users, actorsUsers } = tell(own, producers);
          await heldBatchWorker(own, held);
          held.countFrom();
          held.holdBefore(position);
          const batch = await users.createBatch({ openTimeout: 1 });
          const producersBatch = (await actorsUsers.getBatch(batch.id)) as AnyBatch;
          const abandoned = eventually(async () => (await batch.status()).finishedAt !== undefined);
          const found = await held.heldOrEnded(abandoned);
          await producers.idle();
          producers.countFrom();
          // The producer has asked once, and is told to wait, or it has ended.
          producers.holdBefore(2);
          const sealing = goOn(producersBatch);
          await producers.heldOrEnded(sealing);
          held.release();
          producers.release();
          await sealing;
          states.push((await batch.status()).state);
          expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', abandoned: false });
          return found !== undefined;
        });
        if (!isHeld) {
          break;
        }
      }
      expect(states.length).toBeGreaterThan(3);
      expect(states).not.toContain('failed');
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
