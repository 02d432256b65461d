import type { CallbackBatch } from '../../src/index.js';
import { type AnyJob, eventually, expect, type Testbed, test } from '../support/test.js';
import { fail, gateOf, job, play } from './script.js';

/*
 * The events that come before the end: `death`, the first failure for good, and `attempted`, every member has run once.
 */

/** Members named `bad` fail, those named `held` wait for the gate; what callbacks are told is kept by their name. */
function playing(testbed: Testbed) {
  const held = gateOf(testbed);
  const told: Record<string, CallbackBatch[]> = {};
  const tell = ({ name, data }: AnyJob) => {
    told[name] = [...(told[name] ?? []), data.batch];
  };
  const script = {
    bad: fail,
    held: () => held.opened,
    flaky: ({ attemptsMade }: AnyJob) => (attemptsMade === 0 ? fail() : undefined),
    ...Object.fromEntries(['top death', 'death', 'attempted', 'complete', 'success'].map((name) => [name, tell])),
  };
  return { ...play(testbed, script), held, told };
}

const AN_HOUR = 3_600_000;
const ON = { attempted: { name: 'attempted' }, complete: { name: 'complete' }, success: { name: 'success' } };

test('S19 (ours: attempted) the only outstanding member fails an attempt: attempted fires, and complete waits', async ({
  testbed,
}) => {
  const { users, told } = playing(testbed);
  const batch = await users.addBatch({ on: ON }, [job('good'), job('flaky', { attempts: 2, backoff: AN_HOUR })]);
  await eventually(() => told.attempted);
  expect(told.attempted).toMatchObject([{ event: 'attempted', total: 2, pending: 1, succeeded: 1, failed: 0 }]);
  const { state, callbacks } = await batch.status();
  expect(state).toBe('running');
  expect(callbacks.filter(({ event }) => event !== 'attempted').map(({ state }) => state)).toEqual([
    'pending',
    'pending',
  ]);
});

test('S19 (ours: attempted) attempted does not fire while a member has not run', async ({ testbed }) => {
  const { users, told, ran } = playing(testbed);
  const batch = await users.createBatch({ on: ON });
  await batch.add('flaky', {}, { attempts: 2, backoff: AN_HOUR });
  const later = await batch.add('later', {}, { delay: AN_HOUR });
  await batch.seal();
  await eventually(() => ran.includes('flaky'));
  // Batches are looked at in turn: when two that were created one after the other have been told, this one has been
  // looked at.
  for (const name of ['witness 1', 'witness 2']) {
    await users.addBatch({ on: { attempted: { name } } }, [job('flaky', { attempts: 2, backoff: AN_HOUR })]);
    await eventually(() => ran.includes(name));
  }
  expect(told.attempted).toBeUndefined();
  await (await users.getJob(later.id ?? ''))?.promote();
  await eventually(() => told.attempted);
  expect(await batch.status()).toMatchObject({ pending: 1, succeeded: 1 });
});

test('S21 (ours: attempted) complete and success follow when the member succeeds later, attempted does not', async ({
  testbed,
}) => {
  const { users, told } = playing(testbed);
  const batch = await users.addBatch({ on: ON }, [job('flaky', { attempts: 2, backoff: AN_HOUR })]);
  await eventually(() => told.attempted);
  const [waiting] = await users.getDelayed();
  await waiting?.promote();
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1, succeeded: 1 });
  expect(told.attempted).toHaveLength(1);
  expect(told.complete).toMatchObject([{ event: 'complete', pending: 0, succeeded: 1 }]);
  expect(told.success).toMatchObject([{ event: 'success', pending: 0, succeeded: 1 }]);
});

test('S52 death is delivered once, to the batch and to each one above that asked, however many members die', async ({
  testbed,
}) => {
  const { users, told, held } = playing(testbed);
  const top = await users.createBatch({ on: { death: { name: 'top death', data: { org: 7 } } } });
  const middle = await top.createBatch();
  const leaf = await middle.createBatch({ on: { death: { name: 'death' } } });
  const other = await middle.createBatch();
  await leaf.addBulk([job('bad'), job('bad', { attempts: 3 }), job('held')]);
  for (const batch of [leaf, middle, top]) await batch.seal();
  await eventually(() => told.death && told['top death']);
  expect(told.death).toMatchObject([{ event: 'death', id: leaf.id, parentId: middle.id, total: 3 }]);
  expect(told['top death']).toMatchObject([{ event: 'death', id: top.id, total: 1, pending: 1 }]);
  await other.add('bad', {});
  await other.seal();
  held.open();
  expect(await top.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', total: 1, failed: 1 });
  expect(told.death).toHaveLength(1);
  expect(told['top death']).toHaveLength(1);
});

test('D12 a dead member is told while others run, and does not keep its batch and those above from ending', async ({
  testbed,
}) => {
  const { users, told, held } = playing(testbed);
  const on = { death: { name: 'death' }, complete: { name: 'complete' }, success: { name: 'success' } };
  const top = await users.createBatch();
  const batch = await top.createBatch({ on });
  await batch.addBulk([job('bad'), job('held')]);
  await batch.seal();
  await top.seal();
  await eventually(() => told.death);
  expect(told.death).toMatchObject([{ total: 2, pending: 1, failed: 1 }]);
  expect(await batch.status()).toMatchObject({ state: 'running', pending: 1, failed: 1, finishedAt: undefined });
  held.open();
  expect(await top.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', pending: 0, failed: 1 });
  expect(await batch.status()).toMatchObject({ state: 'failed', pending: 0, succeeded: 1, failed: 1 });
  expect(told.complete).toMatchObject([{ event: 'complete', pending: 0, succeeded: 1, failed: 1 }]);
  expect(told.success).toBeUndefined();
});
