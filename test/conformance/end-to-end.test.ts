import type { Batch } from '../../src/index.js';
import { jobKeys } from '../support/job-keys.js';
import { type AnyQueue, expect, type Testbed, test } from '../support/test.js';
import { job, play } from './script.js';

/* Whole lives. Each returns its outermost batch, and what ran. */

type Life = (testbed: Testbed) => Promise<{ batch: Batch<AnyQueue>; ran: string[]; told: unknown[] }>;

/** 10 members that each add one more to their own batch. */
const growing: Life = async (testbed) => {
  const told: unknown[] = [];
  const { users, ran } = play(testbed, {
    seed: async (member, queue) => (await queue.batchOf(member))?.add('grown', {}),
    'tell-one': ({ data }) => told.push(data),
    'tell-two': ({ data }) => told.push(data),
    report: ({ data }) => told.push(data),
  });
  const batch = await users.addBatch(
    {
      on: {
        success: [
          { name: 'tell-one', data: { to: 'ada' } },
          { name: 'tell-two', data: { to: 'grace' } },
        ],
        complete: { name: 'report', data: { org: 7 } },
      },
    },
    Array.from({ length: 10 }, () => job('seed')),
  );
  await batch.waitUntilFinished(20_000);
  return { batch, ran, told };
};

/** Four levels: each level's member creates the next batch, as a child of its own. */
const deepening: Life = async (testbed) => {
  const told: unknown[] = [];
  const { users, ran } = play(testbed, {
    dig: async (member, queue) => {
      const level = member.data.level + 1;
      if (level > 4) return;
      const own = await queue.batchOf(member);
      const next = await own?.createBatch({ on: { success: { name: `success ${level}` } } });
      await next?.add('dig', { level });
      await next?.seal();
    },
  });
  const on = { complete: { name: 'complete 1' }, success: { name: 'success 1' } };
  const batch = await users.addBatch({ on }, [{ name: 'dig', data: { level: 1 } }]);
  await batch.waitUntilFinished(20_000);
  return { batch, ran, told };
};

/** The nested batch has no callbacks. */
const silent: Life = async (testbed) => {
  const { users, ran } = play(testbed);
  const batch = await users.createBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } });
  const nested = await batch.createBatch();
  await nested.addBulk([job('row'), job('row')]);
  await nested.seal();
  await batch.seal();
  await batch.waitUntilFinished(20_000);
  return { batch, ran, told: [] };
};

/**
 * Each stage's success adds the next stage to the overall batch; the second adds a sibling member and a nested batch
 * too.
 */
const staged: Life = async (testbed) => {
  const stage = async (overall: Batch<AnyQueue> | undefined, n: number) => {
    const batch = await overall?.createBatch({ on: { success: { name: 'next', data: { stage: n + 1 } } } });
    if (n === 2) {
      await overall?.add('sibling', {});
      const nested = await batch?.createBatch();
      await nested?.add('nested', {});
      await nested?.seal();
    }
    await batch?.add(`step ${n}`, {});
    await batch?.seal();
  };
  const { users, ran } = play(testbed, {
    next: async (callback, queue) => {
      const overall = await (await queue.batchOf(callback))?.parent();
      if (callback.data.stage <= 3) await stage(overall, callback.data.stage);
    },
  });
  const batch = await users.createBatch({ on: { complete: { name: 'complete' }, success: { name: 'success' } } });
  await stage(batch, 1);
  await batch.seal();
  await batch.waitUntilFinished(20_000);
  return { batch, ran, told: [] };
};

test('S44 10 members that each add one more to their own batch: all callbacks run, with their data', async ({
  testbed,
}) => {
  const { batch, ran, told } = await growing(testbed);
  expect(await batch.status()).toMatchObject({ state: 'succeeded', total: 20, succeeded: 20 });
  expect(ran.filter((name) => name === 'grown')).toHaveLength(10);
  const counts = { total: 20, succeeded: 20, failed: 0, missing: 0 };
  expect(told).toHaveLength(3);
  expect(told[0]).toMatchObject({ org: 7, batch: { event: 'complete', ...counts } });
  expect(told).toContainEqual(
    expect.objectContaining({ to: 'ada', batch: expect.objectContaining({ event: 'success', ...counts }) }),
  );
  expect(told).toContainEqual(
    expect.objectContaining({ to: 'grace', batch: expect.objectContaining({ event: 'success', ...counts }) }),
  );
});

test('S45 four levels, each created by a member of the one above: the outermost complete and success both run', async ({
  testbed,
}) => {
  const { batch, ran } = await deepening(testbed);
  expect(await batch.status()).toMatchObject({ state: 'succeeded', total: 2, succeeded: 2 });
  expect(ran.filter((name) => name === 'dig')).toHaveLength(4);
  expect(ran.filter((name) => name !== 'dig')).toEqual([
    'success 4',
    'success 3',
    'success 2',
    'complete 1',
    'success 1',
  ]);
});

test('S46 a nested batch without callbacks lets the outer one complete and succeed', async ({ testbed }) => {
  const { batch, ran } = await silent(testbed);
  expect(await batch.status()).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
  expect(ran).toEqual(['row', 'row', 'complete', 'success']);
});

test('S47 stages that each add the next one to one batch: its complete and success run after everything', async ({
  testbed,
}) => {
  const { batch, ran } = await staged(testbed);
  expect(await batch.status()).toMatchObject({ state: 'succeeded', total: 4, succeeded: 4 });
  expect([...ran].sort()).toEqual(
    ['complete', 'nested', 'next', 'next', 'next', 'sibling', 'step 1', 'step 2', 'step 3', 'success'].sort(),
  );
  expect(ran.filter((name) => name.startsWith('step'))).toEqual(['step 1', 'step 2', 'step 3']);
  expect(ran.slice(-2)).toEqual(['complete', 'success']);
});

test.for([
  ['growing', growing],
  ['deepening', deepening],
  ['silent', silent],
  ['staged', staged],
] as const)('S48 after the %s life, and removal, the store holds no key of it', async ([, life], { testbed }) => {
  const { batch } = await life(testbed);
  expect((await jobKeys(testbed, 'batches')).length, 'it was there').toBeGreaterThan(0);
  await batch.remove({ members: true });
  expect(await jobKeys(testbed)).toEqual([]);
});
