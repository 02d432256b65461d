import { BatchNotFoundError, BatchOptionsError } from '../../src/index.js';
import { describe, expect, test } from '../support/test.js';

describe('metadata', () => {
  test('is given when the batch is created, told by status() and to callbacks, and changed', async ({ testbed }) => {
    const users = testbed.queue('users');
    const seen: unknown[] = [];
    testbed.worker('users', async (job) => seen.push(job.data.batch.metadata));
    testbed.batchWorker();
    const metadata = { file: 'acme.csv', by: { user: 7 } };
    const batch = await users.createBatch({ metadata, on: { complete: { name: 'done' } } });
    expect(await batch.status()).toMatchObject({ metadata });
    const changed = await (await users.getBatch(batch.id)).updateMetadata({ rows: 3, file: undefined });
    expect(changed).toEqual({ by: { user: 7 }, rows: 3 });
    await batch.seal();
    expect((await batch.waitUntilFinished(20_000)).metadata).toEqual(changed);
    expect(seen).toEqual([changed]);
    await batch.updateMetadata({ read: true });
    expect((await batch.status()).metadata).toEqual({ ...changed, read: true });
    await batch.remove();
    await expect(batch.updateMetadata({ read: false })).rejects.toThrow(BatchNotFoundError);
  });

  test('keeps what several processes change at the same time', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    const names = Array.from({ length: 20 }, (_, i) => `name${i}`);
    await Promise.all([
      ...names.map((name, i) => batch.updateMetadata({ [name]: i })),
      batch.on('complete', { name: 'late' }),
    ]);
    const { metadata, callbacks } = await batch.status();
    expect(metadata).toEqual(Object.fromEntries(names.map((name, i) => [name, i])));
    expect(callbacks).toHaveLength(1);
  });

  test('that is no small JSON object is refused, before anything is written', async ({ testbed }) => {
    const users = testbed.queue('users');
    const large = { text: 'x'.repeat(9_000) };
    const odd = [new Date(), { toJSON: () => undefined }, { a: { toJSON: () => 1n } }];
    for (const metadata of [[], 'x', { at: new Map() }, { n: Number.NaN }, { a: large.text, b: large.text }, ...odd]) {
      await expect(users.createBatch({ metadata: metadata as object as Record<string, unknown> })).rejects.toThrow(
        BatchOptionsError,
      );
    }
    const batch = await users.createBatch({ metadata: large });
    await expect(batch.updateMetadata({ more: 'y'.repeat(2_000) })).rejects.toThrow('and may have 10000');
    expect((await batch.status()).metadata).toEqual(large);
  });
});

describe('tags', () => {
  test('find batches, newest first in each state, whatever else there is', async ({ testbed }) => {
    const users = testbed.queue('users');
    const made: string[] = [];
    for (let i = 0; i < 120; i++) {
      const tags = i % 40 === 0 ? ['acme', `import-${i}`, 'acme'] : ['other'];
      made.push((await users.createBatch({ tags, description: 'acme' })).id);
    }
    const failed = await users.createBatch({ tags: ['acme'] });
    await failed.cancel();
    testbed.batchWorker();
    await failed.waitUntilFinished(20_000);
    const ids = async (query: Parameters<typeof find>[0]) => (await find(query)).map(({ id }) => id);
    const find = (query: { tag: string; states?: 'open' | 'failed'; start?: number; end?: number }) =>
      users.getBatches(query);
    expect((await ids({ tag: 'acme' })).sort()).toEqual([made[0], made[40], made[80], failed.id].sort());
    expect(await ids({ tag: 'acme', states: 'failed' })).toEqual([failed.id]);
    expect(await ids({ tag: 'acme', states: 'open', start: 1, end: 1 })).toEqual([made[40]]);
    expect(await ids({ tag: 'import-80' })).toEqual([made[80]]);
    expect(await ids({ tag: 'acm' })).toEqual([]);
    expect((await (await users.getBatch(made[0] ?? '')).status()).tags).toEqual(['acme', 'import-0']);
  });

  test('that are no words, and unknown parts of a query, are refused', async ({ testbed }) => {
    const users = testbed.queue('users');
    for (const tags of ['acme', [7], [''], ['x'.repeat(101)], Array.from({ length: 21 }, (_, i) => `t${i}`)]) {
      await expect(users.createBatch({ tags: tags as string[] })).rejects.toThrow('tags');
    }
    const query: object = { tags: 'acme' };
    await expect(users.getBatches(query)).rejects.toThrow("Did you mean 'tag'?");
    await expect(users.getBatches({ tag: 'a', states: 'done' as never })).rejects.toThrow("no state 'done'");
    for (const wanted of [null, 5, () => 1, 7n]) {
      await expect(users.getBatches(wanted as never)).rejects.toThrow(BatchOptionsError);
      await expect(users.getBatches({ states: wanted as never })).rejects.toThrow(BatchOptionsError);
    }
  });
});
