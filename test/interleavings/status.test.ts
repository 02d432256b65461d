import type { BatchStatus } from '../../src/index.js';
import { heldBatchWorker, type Interleaving, interleave } from '../support/interleave.js';
import { expect, test } from '../support/test.js';
import { AN_HOUR, type AnyBatch, inBothHands, member, membersSettled, ON, type Story, tell } from './story.js';

interface Situation extends Story {
  readonly actors: AnyBatch;
  readonly others: AnyBatch;
}

type Actor = Pick<Interleaving<Situation>, 'setup' | 'actor'>;

/** What is true of every status, at any instant. */
function expectSound(status: BatchStatus): void {
  const { total, pending, succeeded, failed, cancelled, missing, state, progress } = status;
  expect(missing).toBe(0);
  expect(pending + succeeded + failed + cancelled).toBe(total);
  const isFinished = ['succeeded', 'failed', 'cancelled'].includes(state);
  expect(status.finishedAt !== undefined, state).toBe(isFinished);
  expect(progress === 100, state).toBe(isFinished);
  expect(status.sealedAt !== undefined).toBe(status.sealed);
  expect(state === 'open').toBe(!status.sealed && status.cancelReason === undefined);
  if (state === 'finishing' || isFinished) {
    expect(pending).toBe(0);
  }
  for (const callback of status.callbacks) {
    if (callback.state !== 'pending' && callback.event === 'complete') {
      expect(status.completedAt).toBeDefined();
    }
    if (isFinished) {
      expect(callback.state).not.toBe('enqueued');
    }
  }
}

const onHeldQueue = (names: readonly string[]) => async (testbed: Story['testbed'], held: Story['held']) => {
  const story = tell(testbed, held);
  testbed.batchWorker();
  const batch = await story.users.createBatch({ on: ON });
  await batch.addBulk(names.map((name) => member(name, name === 'later' ? { delay: AN_HOUR } : {})));
  return inBothHands(story, batch);
};

const ACTORS: Readonly<Record<string, Actor>> = {
  'add() and seal()': {
    setup: onHeldQueue([]),
    async actor({ actors }) {
      await actors.add('member', {});
      await actors.seal();
    },
  },
  'cancel()': {
    setup: onHeldQueue(['later', 'member', 'later']),
    actor: ({ actors }) => actors.cancel('enough'),
  },
  'the BatchWorker that finishes the batch': {
    async setup(testbed, held) {
      const story = tell(testbed, held);
      await heldBatchWorker(testbed, held);
      const batch = await story.users.createBatch({ on: ON });
      await batch.addBulk([member(), member()]);
      await membersSettled(batch);
      return { ...story, actors: batch, others: batch };
    },
    async actor({ actors }) {
      await actors.seal();
      await actors.waitUntilFinished(10_000);
    },
  },
};

test.for(Object.keys(ACTORS))('status() is sound at every step of %s', async (name, { testbed }) => {
  await interleave(testbed, {
    ...(ACTORS[name] as Actor),
    other: ({ others }) => others.status(),
    async verdict({ others }, { other }) {
      expectSound((other as PromiseFulfilledResult<BatchStatus>).value);
      await others.seal();
      const end = await others.waitUntilFinished(10_000);
      expectSound(end);
      expect(end.state).toBe(name === 'cancel()' ? 'cancelled' : 'succeeded');
    },
  });
});
