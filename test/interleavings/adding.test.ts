import { BatchFinishedError, BatchSealedError } from '../../src/index.js';
import { heldBatchWorker, interleave, withLostReplies } from '../support/interleave.js';
import { describe, eventually, expect, test } from '../support/test.js';
import { type AnyBatch, expectEnd, member, membersSettled, ON, openBatch, tell } from './story.js';

const gone = { removeOnComplete: true };

/** Members with ids of their own, whose jobs go as soon as they have run. */
const named = ['a', 'b', 'c'].map((name) => member(name, { jobId: `row-${name}`, ...gone }));

describe('adding', () => {
  test('by two producers, with the same ids: each member runs once and is counted once', async ({ testbed }) => {
    await interleave(testbed, {
      setup: openBatch,
      actor: ({ actors }) => actors.addBulk(named),
      async other({ others, ran }) {
        await others.addBulk(named);
        await eventually(() => ran.length === 3);
        await membersSettled(others);
      },
      async verdict(story) {
        await story.others.seal();
        const names = ['a', 'b', 'c', 'complete', 'success'];
        await expectEnd(story, story.others, { state: 'succeeded', total: 3, succeeded: 3 }, names);
      },
    });
  });

  test('by two producers that run the same addBatch({ id }, source): no row runs twice', async ({ testbed }) => {
    const rows = Array.from({ length: 600 }, (_, i) => member(`row ${i}`, gone));
    const names = [...rows.map(({ name }) => name), 'complete', 'success'];
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker();
        await story.actorsUsers.getBatchCounts();
        return story;
      },
      actor: ({ actorsUsers }) => actorsUsers.addBatch({ id: 'import', on: ON }, rows),
      other: ({ users }) => users.addBatch({ id: 'import', on: ON }, rows),
      async verdict(story) {
        const batch = await story.users.getBatch('import');
        await expectEnd(story, batch, { state: 'succeeded', total: 600, succeeded: 600 }, names);
      },
    });
  });

  test('a flow, by two producers: it is added once', async ({ testbed }) => {
    const flow = {
      name: 'root',
      queueName: 'users',
      opts: { jobId: 'root' },
      children: [{ name: 'leaf', queueName: 'users', opts: { jobId: 'leaf', ...gone } }],
    };
    await interleave(testbed, {
      setup: openBatch,
      actor: ({ actors }) => actors.addFlow(flow),
      async other({ others }) {
        await others.addFlow(flow);
        await membersSettled(others);
      },
      async verdict(story) {
        await story.others.seal();
        const names = ['leaf', 'root', 'complete', 'success'];
        await expectEnd(story, story.others, { state: 'succeeded', total: 1, succeeded: 1 }, names);
      },
    });
  });

  test('from outside, beside seal(): in or refused, and what is in has run before complete', async ({ testbed }) => {
    await interleave(testbed, {
      setup: openBatch,
      actor: ({ actors }) => actors.addBulk([member('a'), member('b')]),
      async other({ others }) {
        await others.seal();
        await others.waitUntilFinished(10_000);
      },
      refusals: { actor: [BatchSealedError, BatchFinishedError] },
      async verdict(story, { actor }) {
        const isIn = actor.status === 'fulfilled';
        const names = [...(isIn ? ['a', 'b'] : []), 'complete', 'success'];
        await expectEnd(story, story.others, { state: 'succeeded', total: isIn ? 2 : 0 }, names);
      },
    });
  });

  test('from a member, beside cancel(): refused, or counted', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker();
        const batch = await story.users.createBatch({ on: ON });
        const job = await batch.add('held', {});
        await batch.seal();
        await eventually(() => story.ran.length === 1);
        const own = await story.actorsUsers.batchOf(job);
        return { ...story, own: own as AnyBatch, others: await story.users.getBatch(batch.id) };
      },
      actor: ({ own }) => own.addBulk([member('a'), member('b')]),
      async other({ others, gate }) {
        await others.cancel();
        gate.open();
      },
      refusals: { actor: [BatchFinishedError] },
      async verdict({ others, ran }, { actor }) {
        const end = await others.waitUntilFinished(10_000);
        expect(end).toMatchObject({ state: 'cancelled', missing: 0, failed: 0 });
        expect(end.total).toBe(actor.status === 'fulfilled' ? 3 : 1);
        expect(end.succeeded + end.cancelled).toBe(end.total);
        expect(ran.filter((name) => name === 'complete')).toHaveLength(1);
      },
    });
  });
});

describe('createBatch({ id })', () => {
  test('by two producers: one creates it, and it calls back once', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        testbed.batchWorker();
        await story.actorsUsers.getBatchCounts();
        return { ...story, parent: await story.users.createBatch({ on: ON }) };
      },
      actor: async ({ actorsUsers, parent }) =>
        actorsUsers.createBatch({ id: 'mine', parent: await actorsUsers.getBatch(parent.id) }),
      other: ({ users, parent }) => users.createBatch({ id: 'mine', parent }),
      async verdict(story, { actor, other }) {
        const batches = [actor, other].flatMap((one) => (one.status === 'fulfilled' ? [one.value as AnyBatch] : []));
        expect(batches.filter(({ created }) => created)).toHaveLength(1);
        await batches[0]?.seal();
        await story.parent.seal();
        await expectEnd(story, story.parent, { state: 'succeeded', total: 1 }, ['complete', 'success']);
      },
    });
  });
});

describe('a callback', () => {
  test('is enqueued once by a BatchWorker that was frozen, although its job was trimmed', async ({ testbed }) => {
    await interleave(testbed, {
      async setup(testbed, held) {
        const story = tell(testbed, held);
        await heldBatchWorker(testbed, held);
        const batch = await story.users.createBatch({ on: { complete: { name: 'complete' } } });
        await batch.add('member', {});
        await membersSettled(batch);
        return { ...story, batch };
      },
      actor: ({ batch }) => batch.seal(),
      async other({ testbed, batch, users, ran }) {
        // Another BatchWorker takes over when the lock of the frozen one has run out.
        await testbed.redis.del(
          `${testbed.prefix}:batches:${batch.id}:lock`,
          `${testbed.prefix}:batches:stalled-check`,
        );
        testbed.batchWorker({ stalledInterval: 20 });
        await batch.waitUntilFinished(10_000);
        await eventually(() => ran.includes('complete'));
        // What the removeOnComplete: { count } of another job in the queue does.
        await users.clean(0, 100, 'completed');
      },
      async verdict({ batch, ran }) {
        expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
        expect(ran.filter((name) => name === 'complete')).toHaveLength(1);
      },
    });
  });
});

describe('a lost reply', () => {
  test('to addBulk() with ids of the caller: every member is in the batch once', async ({ testbed }) => {
    await withLostReplies(testbed, {
      setup: openBatch,
      actor: ({ actors }) => actors.addBulk(named),
      async verdict(story) {
        await story.others.seal();
        const names = ['a', 'b', 'c', 'complete', 'success'];
        await expectEnd(story, story.others, { state: 'succeeded', total: 3 }, names);
      },
    });
  });
});
