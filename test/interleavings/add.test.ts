import { BatchFinishedError, BatchSealedError } from '../../src/index.js';
import type { HeldConnection } from '../support/held-connection.js';
import { interleave } from '../support/interleave.js';
import { type AnyJob, describe, expect, gate, type Testbed, test } from '../support/test.js';
import { AN_HOUR, type AnyBatch, expectEnd, member, ON, openBatch, tell } from './story.js';

/** A member that runs, with its batch in its hand, until it is told to end. */
async function running(testbed: Testbed, held: HeldConnection) {
  const story = tell(testbed, held);
  testbed.batchWorker();
  const batch = await story.users.createBatch({ on: ON });
  const end = gate();
  testbed.use({ close: async () => end.open() });
  let begun: (job: AnyJob) => void = () => {};
  const job = new Promise<AnyJob>((resolve) => {
    begun = resolve;
  });
  testbed.worker('adders', async (job) => {
    begun(job);
    await end.opened;
  });
  await batch.addBulk([{ ...member('adder'), queue: testbed.queue('adders') }]);
  const actors = (await story.actorsUsers.batchOf(await job)) as AnyBatch;
  return { ...story, actors, others: await story.users.getBatch(batch.id), end };
}

describe('a running member adds', () => {
  test('while its batch is sealed: what it adds runs', async ({ testbed }) => {
    await interleave(testbed, {
      setup: running,
      actor: ({ actors }) => actors.addBulk([member('a'), member('b')]),
      other: ({ others }) => others.seal(),
      async verdict(story) {
        story.end.open();
        await expectEnd(story, story.others, { state: 'succeeded', total: 3 }, ['a', 'b', 'complete', 'success']);
      },
    });
  });

  test('while its batch is cancelled: what it adds is refused, or cancelled', async ({ testbed }) => {
    await interleave(testbed, {
      setup: running,
      actor: ({ actors }) => actors.addBulk([member('a', { delay: AN_HOUR }), member('b', { delay: AN_HOUR })]),
      other: ({ others }) => others.cancel(),
      refusals: { actor: [BatchFinishedError] },
      async verdict(story, { actor }) {
        story.end.open();
        const cancelled = actor.status === 'fulfilled' ? 2 : 0;
        const end = { state: 'cancelled', total: 1 + cancelled, succeeded: 1, cancelled, missing: 0 } as const;
        await expectEnd(story, story.others, end, ['complete']);
        expect(await story.users.getDelayedCount()).toBe(0);
      },
    });
  });
});

describe('a producer adds', () => {
  test('while its batch is sealed: what it adds is refused, or runs', async ({ testbed }) => {
    await interleave(testbed, {
      setup: openBatch,
      actor: ({ actors }) => actors.add('member', {}),
      other: ({ others }) => others.seal(),
      refusals: { actor: [BatchSealedError, BatchFinishedError] },
      async verdict(story, { actor }) {
        const names = actor.status === 'fulfilled' ? ['member'] : [];
        const end = { state: 'succeeded', total: names.length, missing: 0 } as const;
        await expectEnd(story, story.others, end, [...names, 'complete', 'success']);
      },
    });
  });
});
