import { BatchNotFoundError } from '../../src/index.js';
import { heldBatchWorker, interleave } from '../support/interleave.js';
import { describe, eventually, expect, test } from '../support/test.js';
import { type AnyBatch, loseLock, ON, takeOver, tell } from './story.js';

describe('a BatchWorker that was frozen while its batch was removed, and created again', () => {
  test('does nothing to the later batch', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        await heldBatchWorker(testbed, held);
        const batch = await story.users.createBatch({ id: 'nightly', on: ON });
        await batch.add('member', {}, { jobId: 'nightly-member' });
        await eventually(async () => (await batch.status()).pending === 0);
        return { ...story, batch };
      },
      async actor({ batch }) {
        await batch.seal();
        await batch.waitUntilFinished(10_000);
      },
      async other(story) {
        await loseLock(story, story.batch);
        await story.batch.remove({ force: true, members: true });
        story.ran.length = 0;
        const again = await story.users.createBatch({ id: 'nightly', on: ON });
        await again.add('member', {}, { jobId: 'nightly-member' });
        await again.seal();
        return again;
      },
      refusals: { actor: [BatchNotFoundError] },
      async verdict(story, { other }) {
        if (other.status === 'rejected') throw other.reason;
        await story.held.idle();
        takeOver(story);
        const end = await (other.value as AnyBatch).waitUntilFinished(10_000);
        expect(end).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
        expect(story.ran.sort()).toEqual(['complete', 'member', 'success']);
      },
    });
  });
});
