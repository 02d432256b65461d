import { heldBatchWorker, interleave } from '../support/interleave.js';
import { describe, eventually, expect, test } from '../support/test.js';
import { expectEnd, member, membersSettled, ON, openBatch, tell } from './story.js';

describe('the last member', () => {
  test('settles at any step of the BatchWorker that the seal has woken: the batch finishes', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        await heldBatchWorker(testbed, held);
        const batch = await story.users.createBatch({ on: ON });
        await batch.addBulk([member('held'), member()]);
        await eventually(async () => (await batch.status()).succeeded === 1 && story.ran.includes('held'));
        return { ...story, batch };
      },
      actor: ({ batch }) => batch.seal(),
      async other({ gate, batch }) {
        gate.open();
        await membersSettled(batch);
      },
      verdict: (story) =>
        expectEnd(story, story.batch, { state: 'succeeded', total: 2 }, ['held', 'member', 'complete', 'success']),
    });
  });

  test('settles while it is sealed: the batch finishes', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = await openBatch(testbed, held, { jobs: [member('held')] });
        await eventually(() => story.ran.includes('held'));
        return story;
      },
      actor: ({ actors }) => actors.seal(),
      async other({ gate, others }) {
        gate.open();
        await membersSettled(others);
      },
      verdict: (story) =>
        expectEnd(story, story.others, { state: 'succeeded', total: 1 }, ['held', 'complete', 'success']),
    });
  });
});

describe('a child batch', () => {
  test('is sealed and finishes at any step of the BatchWorker that runs its parent, and the other way round', async ({
    testbed,
  }) => {
    for (const first of ['parent', 'child'] as const) {
      await interleave(testbed, {
        async setup(testbed, held) {
          const story = tell(testbed, held);
          await heldBatchWorker(testbed, held);
          const parent = await story.users.createBatch({ on: ON });
          const child = await parent.createBatch({ on: { complete: { name: 'child complete' } } });
          await child.add('member', {});
          await membersSettled(child);
          return {
            ...story,
            sooner: first === 'parent' ? parent : child,
            later: first === 'parent' ? child : parent,
            parent,
          };
        },
        actor: ({ sooner }) => sooner.seal(),
        other: ({ later }) => later.seal(),
        async verdict(story) {
          await expectEnd(story, story.parent, { state: 'succeeded', total: 1 }, [
            'member',
            'child complete',
            'complete',
            'success',
          ]);
          // A parent's callbacks come after those of its children.
          expect(story.ran.indexOf('child complete')).toBeLessThan(story.ran.indexOf('complete'));
        },
      });
    }
  });
});
