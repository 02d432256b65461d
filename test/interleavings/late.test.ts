import type { Batch, BatchEvent, BatchStatus } from '../../src/index.js';
import type { HeldConnection } from '../support/held-connection.js';
import { heldBatchWorker, interleave } from '../support/interleave.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';
import { member, ON, openBatch, type Story, sweepsPass, tell } from './story.js';

const EVENTS: readonly BatchEvent[] = ['complete', 'success', 'death', 'attempted'];

/** A batch in which every event but those of the other outcome happens. */
const membersFor = (event: BatchEvent) => [event === 'death' ? 'bad' : 'member', 'member'];

const hasLate = ({ callbacks }: BatchStatus) => callbacks.some(({ name }) => name === 'late');

/** The callback that was given late ran once, as did the others, and the batch says so. */
async function expectLate({ ran }: Story, batch: Batch, event: BatchEvent): Promise<void> {
  await eventually(() => ran.includes('late'));
  const status = await eventually(async () => {
    const now = await batch.status();
    return now.finishedAt !== undefined && now.callbacks.every(({ state }) => state !== 'enqueued') ? now : undefined;
  });
  expect(status).toMatchObject({ state: event === 'death' ? 'failed' : 'succeeded', total: 2, pending: 0 });
  expect(status.callbacks.find(({ name }) => name === 'late')).toMatchObject({ event, state: 'succeeded' });
  const expected = event === 'death' ? ['bad', 'complete'] : ['complete', 'member', 'success'];
  expect([...ran].sort()).toEqual([...expected, 'late', 'member'].sort());
}

/** An open batch, whose members bring about the event. */
function openBatchFor(event: BatchEvent, testbed: Testbed, held: HeldConnection) {
  return openBatch(testbed, held, { jobs: membersFor(event).map((name) => member(name)), sweepInterval: 20 });
}

describe.for(EVENTS)("on('%s')", (event) => {
  test('while the batch is sealed, settles and finishes: the callback runs once', async ({ testbed }) => {
    await interleave(testbed, {
      setup: (testbed, held) => openBatchFor(event, testbed, held),
      actor: ({ actors }) => actors.on(event, { name: 'late' }),
      async other({ others }) {
        await others.seal();
        await others.waitUntilFinished(10_000);
      },
      verdict: (story) => expectLate(story, story.others, event),
    });
  });

  test('on an open batch, by a process that is frozen at any step: once the batch has the callback, it runs', async ({
    testbed,
  }) => {
    const had: boolean[] = [];
    await interleave(testbed, {
      setup: (testbed, held) => openBatchFor(event, testbed, held),
      actor: ({ actors }) => actors.on(event, { name: 'late' }),
      async other(story) {
        await story.others.seal();
        had.push(hasLate(await story.others.waitUntilFinished(10_000)));
        if (had.at(-1)) {
          await expectLate(story, story.others, event);
        }
      },
      verdict: (story) => expectLate(story, story.others, event),
    });
    expect(new Set(had), 'before and after it was given').toEqual(new Set([true, false]));
  });

  test('on a finished batch, by a slow process that is frozen at any step: the callback runs if registered', async ({
    testbed,
  }) => {
    const had: boolean[] = [];
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = await openBatchFor(event, testbed, held);
        await story.others.seal();
        await story.others.waitUntilFinished(10_000);
        return story;
      },
      actor: ({ actors }) => actors.on(event, { name: 'late' }),
      between: (story) => sweepsPass(story),
      async other(story) {
        had.push(hasLate(await story.others.status()));
        await sweepsPass(story);
        const { callbacks } = await story.others.status();
        return callbacks.find(({ name }) => name === 'late')?.state ?? 'not given';
      },
      async verdict(story, { other }) {
        expect((other as PromiseFulfilledResult<string>).value, 'while it was frozen').not.toBe('pending');
        await expectLate(story, story.others, event);
      },
    });
    expect(new Set(had), 'before and after it was given').toEqual(new Set([true, false]));
  });

  test('at any step of the BatchWorker that finishes the batch: the callback runs once', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        const batchWorker = await heldBatchWorker(testbed, held);
        const batch = await story.users.createBatch({ on: ON });
        await batch.addBulk(membersFor(event).map((name) => member(name)));
        return { ...story, batch, batchWorker };
      },
      async actor({ batch }) {
        await batch.seal();
        await batch.waitUntilFinished(10_000);
      },
      other: ({ batch }) => batch.on(event, { name: 'late' }),
      verdict: (story) => expectLate(story, story.batch, event),
    });
  });
});
