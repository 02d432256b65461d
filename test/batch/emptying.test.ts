import { type BatchContext, contextOf } from '../../src/batch/batch-context.js';
import { type CancelState, cancelSlice } from '../../src/batch/cancel.js';
import { markCancelled } from '../../src/record/cancel.js';
import { gateOf } from '../conformance/script.js';
import { describe, eventually, expect, type Testbed, test } from '../support/test.js';

const AN_HOUR = 3_600_000;
const later = { name: 'later', data: {}, opts: { delay: AN_HOUR } };

/** What maintenance does with a cancelled batch; returns in how many slices. */
async function slices(context: BatchContext, batchId: string): Promise<number> {
  let state: CancelState | undefined;
  for (let count = 1; ; count++) {
    const next = await cancelSlice(context, batchId, state);
    if (next === 'done') {
      return count;
    }
    state = next;
  }
}

const needs = (testbed: Testbed, batchId: string) =>
  testbed.redis.hget(`${testbed.prefix}:batches:${batchId}`, 'b:needs');

describe('a cancelled batch that is emptied in slices', () => {
  test('needs many small ones, and nothing more when its last member is gone', async ({ testbed }) => {
    const users = testbed.queue('users');
    const context = await contextOf(users);
    const batch = await users.createBatch();
    await batch.addBulk(Array.from({ length: 1000 }, () => later));
    await markCancelled(context.redis, batch.id, {});
    expect(await needs(testbed, batch.id)).toBe('cancel');
    expect(await slices(context, batch.id)).toBeGreaterThan(8);
    expect(await batch.status()).toMatchObject({ pending: 0, cancelled: 1000 });
    expect(await needs(testbed, batch.id)).toBeNull();
  });

  test('keeps its need while a member runs, at the cost of one look, and takes it out when it waits again', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const context = await contextOf(users);
    const held = gateOf(testbed);
    let runs = 0;
    testbed.worker('users', async () => {
      runs += 1;
      await held.opened;
      throw new Error('no');
    });
    const batch = await users.createBatch();
    await batch.addBulk([{ name: 'row', data: {}, opts: { attempts: 2, backoff: AN_HOUR } }, later]);
    await batch.seal();
    await eventually(() => runs === 1);
    await batch.cancel();
    expect(await batch.status()).toMatchObject({ pending: 1, cancelled: 1 });
    expect(await needs(testbed, batch.id)).toBe('cancel');
    expect(await slices(context, batch.id)).toBe(1);
    held.open();
    await eventually(async () => (await users.getDelayedCount()) === 1);
    expect(await slices(context, batch.id)).toBeGreaterThan(1);
    expect(await batch.status()).toMatchObject({ pending: 0, cancelled: 2, failed: 0 });
    expect(await users.getDelayedCount()).toBe(0);
    expect(await needs(testbed, batch.id)).toBeNull();
  });

  test('has its child batches marked, which are emptied by themselves', async ({ testbed }) => {
    const users = testbed.queue('users');
    const context = await contextOf(users);
    const batch = await users.createBatch();
    const child = await batch.createBatch();
    const grandchild = await child.createBatch();
    for (const one of [batch, child, grandchild]) await one.addBulk([later, later]);
    await markCancelled(context.redis, batch.id, { reason: 'enough' });
    await slices(context, batch.id);
    expect(await batch.status()).toMatchObject({ pending: 1, cancelled: 2 });
    expect(await needs(testbed, batch.id)).toBeNull();
    expect(await child.status()).toMatchObject({ pending: 3, cancelled: 0, cancelReason: 'enough' });
    expect([await needs(testbed, child.id), await needs(testbed, grandchild.id)]).toEqual(['cancel', null]);
    await slices(context, child.id);
    await slices(context, grandchild.id);
    expect(await child.status()).toMatchObject({ pending: 1, cancelled: 2 });
    expect(await grandchild.status()).toMatchObject({ pending: 0, cancelled: 2, cancelReason: 'enough' });
  });

  test('is left alone when it is not cancelled any more: a later batch has its id', async ({ testbed }) => {
    const users = testbed.queue('users');
    const context = await contextOf(users);
    const first = await users.createBatch({ id: 'nightly' });
    await first.addBulk([later]);
    await markCancelled(context.redis, first.id, {});
    const state = await cancelSlice(context, first.id);
    await first.remove({ force: true });
    const second = await users.createBatch({ id: 'nightly' });
    await second.addBulk([later]);
    for (let next = state; next !== 'done'; ) {
      next = await cancelSlice(context, first.id, next);
    }
    expect(await second.status()).toMatchObject({ state: 'open', pending: 1, cancelled: 0 });
  });
});
