import { BatchOptionsError } from '../../src/index.js';
import { expect, test } from '../support/test.js';
import { job } from './script.js';

/* Adding members, by the handle or inside of `jobs(fn)`. */

test('S5 jobs() without a function is an error of its own', async ({ testbed }) => {
  const batch = await testbed.queue('users').createBatch();
  // @ts-expect-error there is no function
  const asked = batch.jobs();
  await expect(asked).rejects.toThrow(BatchOptionsError);
  await expect(asked).rejects.toThrow('jobs() needs a function that adds the jobs');
});

test('S6 inside of jobs(fn) the current batch is this one, and afterwards there is none', async ({ testbed }) => {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  await batch.jobs(async () => {
    const member = await users.add('row', {});
    expect((await users.batchOf(member))?.id).toBe(batch.id);
    expect((await users.createBatch()).parentId).toBe(batch.id);
  });
  expect(await users.batchOf(await users.add('row', {}))).toBeUndefined();
  expect((await users.createBatch()).parentId).toBeUndefined();
  expect(await batch.status()).toMatchObject({ total: 2 });
});

test('S7 adding returns the jobs, each with the id of a member', async ({ testbed }) => {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  const first = await batch.add('row', {});
  const others = await batch.jobs(() => users.addBulk([job('row'), job('row')]));
  const ids = [first, ...others].map(({ id }) => id);
  expect(new Set(ids).size).toBe(3);
  for (const id of ids) {
    const stored = await users.getJob(id ?? '');
    expect(stored && (await users.batchOf(stored))?.id).toBe(batch.id);
  }
  expect(await batch.addBulk([job('row'), job('row'), job('row')])).toEqual({ added: 3, known: 0 });
});

test('S8 adding nothing returns nothing, and is no error', async ({ testbed }) => {
  const users = testbed.queue('users');
  const batch = await users.createBatch();
  expect(await batch.addBulk([])).toEqual({ added: 0, known: 0 });
  expect(await batch.jobs(() => users.addBulk([]))).toEqual([]);
  expect(await batch.jobs(() => {})).toBeUndefined();
  expect(await batch.status()).toMatchObject({ total: 0, pending: 0, state: 'open' });
});

test('S9 each added member raises pending by one', async ({ testbed }) => {
  const batch = await testbed.queue('users').createBatch();
  const seen: number[] = [];
  for (let i = 0; i < 3; i++) {
    await batch.add('row', {});
    seen.push((await batch.status()).pending);
  }
  expect(seen).toEqual([1, 2, 3]);
});

test('S10 each added member raises total by one, and one that is sent again does not', async ({ testbed }) => {
  const batch = await testbed.queue('users').createBatch();
  const seen: number[] = [];
  for (const jobId of ['row-1', 'row-2', 'row-2', 'row-3']) {
    await batch.add('row', {}, { jobId });
    seen.push((await batch.status()).total);
  }
  expect(seen).toEqual([1, 2, 2, 3]);
});
