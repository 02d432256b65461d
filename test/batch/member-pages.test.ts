import type { Batch } from '../../src/index.js';
import { BatchError, BatchNotFoundError, BatchOptionsError } from '../../src/index.js';
import { type AnyJob, type AnyQueue, describe, eventually, expect, gate, type Testbed, test } from '../support/test.js';

async function allMembers(batch: Batch<AnyQueue>, options: Parameters<typeof batch.members>[0] = {}) {
  const found: Awaited<ReturnType<typeof batch.members>>['members'][number][] = [];
  let cursor: string | undefined;
  do {
    const page = await batch.members({ ...options, cursor });
    found.push(...page.members);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return found;
}

/** A batch with 300 members that wait, one that has succeeded and one that has failed, and a child batch. */
async function mixed(testbed: Testbed) {
  const users = testbed.queue('users');
  const other = testbed.queue('other');
  testbed.worker('other', async ({ name }) => {
    if (name === 'bad') throw new Error('no e-mail');
    return { rows: 7 };
  });
  const batch = await users.createBatch();
  await batch.addBulk(Array.from({ length: 300 }, (_, row) => ({ name: 'row', data: { row } })));
  const settled = ['good', 'bad'].map((name) => ({ name, data: { name }, queue: other }));
  await batch.addBulk(settled);
  const child = await batch.createBatch();
  await eventually(async () => (await batch.status()).pending === 301);
  return { users, other, batch, child };
}

describe('batch.members()', () => {
  test('yields every member once, page by page, with how it stands', async ({ testbed }) => {
    const { batch, child } = await mixed(testbed);
    const members = await allMembers(batch, { count: 50 });
    expect(members).toHaveLength(303);
    expect(new Set(members.map(({ queue, id }) => `${queue}:${id}`)).size).toBe(303);
    expect(members.filter(({ state }) => state === 'pending')).toHaveLength(301);
    expect(members.find(({ isBatch }) => isBatch)).toEqual({
      id: child.id,
      queue: 'batches',
      isBatch: true,
      state: 'pending',
    });
    const rows = members.flatMap(({ data }) => (data as { row?: number } | undefined)?.row ?? []);
    expect(rows.sort((a, b) => a - b)).toEqual(Array.from({ length: 300 }, (_, row) => row));
    expect(members.slice(-2)).toEqual([
      expect.objectContaining({ state: 'succeeded', queue: 'other', value: { rows: 7 }, data: { name: 'good' } }),
      expect.objectContaining({ state: 'failed', queue: 'other', reason: 'no e-mail', data: { name: 'bad' } }),
    ]);
  });

  test('yields those in one state', async ({ testbed }) => {
    const { batch } = await mixed(testbed);
    expect(await allMembers(batch, { state: 'pending', count: 200 })).toHaveLength(301);
    expect(await allMembers(batch, { state: 'succeeded' })).toHaveLength(1);
    expect(await allMembers(batch, { state: 'failed' })).toHaveLength(1);
  });

  test('refuses what is no state, count, or cursor of such a page', async ({ testbed }) => {
    const batch = await testbed.queue('users').createBatch();
    for (const options of [
      { state: 'done' },
      { count: 0 },
      { cursor: 'x' },
      { state: 'failed', cursor: 'pending:0' },
    ]) {
      await expect(batch.members(options as never)).rejects.toThrow(BatchOptionsError);
    }
    expect(await batch.members()).toEqual({ members: [], cursor: undefined });
  });
});

describe('results({ ordered: true })', () => {
  test('yields in the order of adding, whatever the order of finishing; own ids come last', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async (job) => job.data.row, { concurrency: 20 });
    testbed.batchWorker();
    const rows = Array.from({ length: 500 }, (_, row) => ({
      name: 'row',
      data: { row },
      opts: { priority: 500 - row },
    }));
    const own = { name: 'row', data: { row: 'own' }, opts: { jobId: 'own' } };
    for (const id of [undefined, 'repeatable']) {
      const batch = await users.addBatch({ ...(id === undefined ? {} : { id }) }, [own, ...rows]);
      await batch.waitUntilFinished(20_000);
      const values: unknown[] = [];
      for await (const { value } of batch.results({ ordered: true })) {
        values.push(value);
      }
      expect(values).toEqual([...rows.map(({ data }) => data.row), 'own']);
      await batch.remove({ members: true });
    }
  });
});

test('results({ ordered: true }) of a batch that was added in one step come in the order of adding', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  testbed.worker('users', async (job) => job.data, { concurrency: 20 });
  testbed.batchWorker();
  const rows = Array.from({ length: 100 }, (_, n) => ({ name: 'row', data: n, opts: { priority: 100 - n } }));
  const batch = await users.addBatch({}, rows);
  await batch.waitUntilFinished(10_000);
  const values: unknown[] = [];
  for await (const { value } of batch.results({ ordered: true })) {
    values.push(value);
  }
  expect(values).toEqual(rows.map(({ data }) => data));
});

describe('batch.removeMember()', () => {
  test('leaves callbacks, and jobs that were attached by hand, which are no members', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.worker('users', async () => {});
    testbed.batchWorker();
    const batch = await users.createBatch({ on: { complete: { name: 'done', queue: 'mails' } } });
    await batch.add('row', {});
    const parent = { id: batch.id, queue: `${testbed.prefix}:batches` };
    await testbed.plainQueue('others').add('by hand', {}, { jobId: 'by-hand', delay: 3_600_000, parent });
    expect(await batch.removeMember('by-hand', { queue: 'others' })).toBe(false);
    await testbed.plainQueue('others').remove('by-hand');
    await batch.seal();
    const [callback] = await eventually(async () => {
      const { callbacks } = await batch.status();
      return callbacks[0]?.state === 'enqueued' ? callbacks : undefined;
    });
    expect(await batch.removeMember(callback?.jobId ?? '', { queue: 'mails' })).toBe(false);
    expect(await testbed.redis.hget(`${testbed.prefix}:batches:${batch.id}`, 'b:total')).toBe('1');
    testbed.worker('mails', async () => {});
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 1 });
  });

  test('takes a waiting member out: it is not counted, does not run, and its batch does not wait for it', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch({ on: { success: { name: 'done' } } });
    const waiting = await batch.add('waiting', {}, { jobId: 'row-7' });
    const delayed = await batch.add('delayed', {}, { delay: 3_600_000 });
    const urgent = await batch.add('urgent', {}, { priority: 1 });
    await batch.add('stays', {});
    expect(await batch.removeMember(waiting.id ?? '')).toBe(true);
    expect(await batch.removeMember(delayed.id ?? '', { queue: 'users' })).toBe(true);
    expect(await batch.removeMember(urgent.id ?? '', { queue: users })).toBe(true);
    expect(await batch.removeMember(waiting.id ?? '')).toBe(false);
    expect(await batch.status()).toMatchObject({ total: 1, pending: 1, missing: 0, cancelled: 0 });
    expect(await users.getJobCounts('wait', 'delayed', 'prioritized')).toEqual({ wait: 1, delayed: 0, prioritized: 0 });
    expect(await users.getJob('row-7')).toBeUndefined();
    const again = await batch.add('waiting', {}, { jobId: 'row-7' });
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => ran.push(name));
    testbed.batchWorker();
    await batch.seal();
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 2 });
    expect(again.id).toBe('row-7');
    expect(ran).toEqual(['stays', 'waiting', 'done']);
  });

  test('of the last one that a sealed batch waits for lets it finish', async ({ testbed }) => {
    const users = testbed.queue('users');
    const worker = testbed.batchWorker();
    const batch = await users.addBatch({}, [{ name: 'row', data: {}, opts: { jobId: 'row-7' } }]);
    await worker.waitUntilReady();
    const batches = testbed.plainQueue('batches');
    await eventually(async () => (await batches.getJobState(batch.id)) === 'waiting-children');
    expect(await batch.removeMember('row-7')).toBe(true);
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 0 });
  });

  test('refuses members that run or have settled, flows, and child batches', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { opened, open } = gate();
    let started = 0;
    testbed.worker('users', async (job: AnyJob) => {
      started += 1;
      await (job.name === 'slow' ? opened : undefined);
    });
    const batch = await users.createBatch();
    const settled = await batch.add('fast', {});
    await eventually(async () => (await batch.status()).succeeded === 1);
    const slow = await batch.add('slow', {});
    await eventually(() => started === 2);
    const { job } = await batch.addFlow({
      name: 'root',
      queueName: 'users',
      children: [{ name: 'x', queueName: 'z' }],
    });
    testbed.owns('z');
    const child = await batch.createBatch();
    await expect(batch.removeMember(settled.id ?? '')).rejects.toThrow(BatchError);
    await expect(batch.removeMember(settled.id ?? '')).rejects.toThrow('it has settled');
    await expect(batch.removeMember(slow.id ?? '')).rejects.toThrow('it is running');
    await expect(batch.removeMember(job.id ?? '')).rejects.toThrow('it is a flow');
    await expect(batch.removeMember(child.id, { queue: 'batches' })).rejects.toThrow('remove({ force: true })');
    await expect(batch.removeMember('')).rejects.toThrow(BatchOptionsError);
    expect(await batch.status()).toMatchObject({ total: 4, pending: 3 });
    open();
    await eventually(async () => (await batch.status()).succeeded === 2);
    await batch.remove({ force: true });
    await expect(batch.removeMember('row-7')).rejects.toThrow(BatchNotFoundError);
  });

  test('leaves a job alone that is no member', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await users.add('row', {}, { jobId: 'row-7' });
    expect(await batch.removeMember('row-7')).toBe(false);
    expect(await users.getJobCounts('wait')).toEqual({ wait: 1 });
  });
});
