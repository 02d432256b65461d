import type { HeldConnection } from '../support/held-connection.js';
import { interleave, withLostReplies } from '../support/interleave.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';
import { inBothHands, ON, tell } from './story.js';

const job = (name: string) => ({ name, queueName: 'users' });

/** A batch whose only member is a flow that has failed because of two jobs in it. */
async function failedFlow(testbed: Testbed, held: HeldConnection) {
  const story = tell(testbed, held);
  testbed.batchWorker({ sweepInterval: 20 });
  const batch = await story.users.createBatch({ on: ON });
  const middle = { ...job('middle'), children: [job('bad'), job('fine')] };
  await batch.addFlow({ ...job('root'), children: [middle, job('bad')] });
  await batch.seal();
  await batch.waitUntilFinished(10_000);
  await eventually(() => story.ran.includes('fine'));
  story.ran.length = 0;
  return inBothHands(story, batch);
}

type Failed = Awaited<ReturnType<typeof failedFlow>>;

async function failedAndMended(testbed: Testbed, held: HeldConnection): Promise<Failed> {
  const story = await failedFlow(testbed, held);
  story.mend();
  return story;
}

/** What had failed has run once more, and then what waits for it; nothing has run beside that. */
async function expectHealed({ others, ran }: Failed): Promise<void> {
  await eventually(async () => (await others.status()).state === 'succeeded', 8000);
  expect([...ran].sort()).toEqual(['bad', 'bad', 'middle', 'root', 'success']);
}

describe('retry() of a failed flow', () => {
  test('does once what it does, whichever reply was lost', async ({ testbed }) => {
    await withLostReplies(testbed, {
      setup: failedAndMended,
      actor: ({ actors }) => actors.retry(),
      verdict: expectHealed,
    });
  });

  test('beside another retry(): each job runs once more, and none before those below it', async ({ testbed }) => {
    await interleave(testbed, {
      setup: failedAndMended,
      actor: ({ actors }) => actors.retry(),
      other: ({ others }) => others.retry(),
      verdict: expectHealed,
    });
  });

  test('whose jobs fail again while it is under way leaves a flow that the next one heals', async ({ testbed }) => {
    await interleave(testbed, {
      setup: failedFlow,
      actor: ({ actors }) => actors.retry(),
      async other({ users }) {
        for (const failed of await users.getFailed()) {
          if (failed.name === 'bad') await failed.retry();
        }
        await eventually(async () => (await users.getJobCountByTypes('active', 'waiting')) === 0);
      },
      async verdict(story) {
        await eventually(async () => {
          expect((await story.others.status()).state).toBe('failed');
          return (await story.users.getFailed()).filter(({ name }) => name !== 'fine').length === 4;
        });
        expect(story.ran.filter((name) => name !== 'bad')).toEqual([]);
        story.mend();
        story.ran.length = 0;
        await story.others.retry();
        await expectHealed(story);
      },
    });
  });
});
