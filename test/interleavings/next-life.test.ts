import { BatchNotFoundError } from '../../src/index.js';
import { interleave } from '../support/interleave.js';
import { describe, expect, test } from '../support/test.js';
import { type AnyBatch, loseLock, member, ON, readyToFinish, sealAndFinish, takeOver } from './story.js';

const named = member('member', { jobId: 'nightly-member' });

describe('a BatchWorker that was frozen while its batch was removed, and created again', () => {
  test('does nothing to the later batch', async ({ testbed }) => {
    await interleave(testbed, {
      setup: (testbed, held) => readyToFinish(testbed, held, { id: 'nightly', jobs: [named] }),
      actor: sealAndFinish,
      async other(story) {
        await loseLock(story, story.batch);
        await story.batch.remove({ force: true, members: true });
        story.ran.length = 0;
        const again = await story.users.createBatch({ id: 'nightly', on: ON });
        await again.addBulk([named]);
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
