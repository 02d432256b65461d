import { BatchRedis } from '../../src/record/batch-redis.js';
import { scriptClientOf } from '../../src/record/client.js';
import { type MembersToRead, memberPages, type PagedMember, readMemberPage } from '../../src/record/member-pages.js';
import { SCAN_START } from '../../src/record/scan-place.js';
import { BYTES_PER_COMMAND } from '../../src/record/script.js';
import { recorder } from '../support/recorder.js';
import { secondServer } from '../support/second-server.js';
import { describe, expect, type Testbed, test } from '../support/test.js';

/** The failures of a batch, as BullMQ keeps them, with the data of their jobs. */
async function store(testbed: Testbed, members: readonly { readonly id: string; reason: string; data?: string }[]) {
  testbed.owns('rows');
  const failed = `${testbed.prefix}:batches:one:failed`;
  for (let from = 0; from < members.length; from += 100) {
    const some = members.slice(from, from + 100);
    await testbed.redis.hset(failed, ...some.flatMap(({ id, reason }) => [`${testbed.prefix}:rows:${id}`, reason]));
    const withData = some.filter(({ data }) => data !== undefined);
    await Promise.all(
      withData.map(({ id, data }) => testbed.redis.hset(`${testbed.prefix}:rows:${id}`, 'data', data ?? '')),
    );
  }
}

async function allPages(redis: BatchRedis, wanted: MembersToRead): Promise<PagedMember[][]> {
  const pages: PagedMember[][] = [];
  for await (const page of memberPages(redis, 'one', wanted)) {
    pages.push([...page]);
  }
  return pages;
}

const WANTED = { which: 'failed', count: 500, withData: true } as const;
const largest = (replies: readonly { readonly bytes: number }[]) => Math.max(...replies.map(({ bytes }) => bytes));
const idsOf = (pages: readonly (readonly PagedMember[])[]) => pages.flat().map(({ key }) => key.split(':').at(-1));

describe('a page of members', () => {
  test('of 500 with much data is read in several commands of bounded size', async ({ testbed }) => {
    const { redis, replies } = recorder(testbed);
    const members = Array.from({ length: 500 }, (_, i) => ({
      id: `r${i}`,
      reason: 'no',
      data: `"${i}${'d'.repeat(20_000)}"`,
    }));
    await store(testbed, members);
    const pages = await allPages(redis, WANTED);
    expect(idsOf(pages).sort()).toEqual(members.map(({ id }) => id).sort());
    for (const { key, data } of pages.flat()) {
      expect(data).toBe(members.find(({ id }) => key.endsWith(`:${id}`))?.data);
    }
    expect(largest(replies)).toBeLessThan(BYTES_PER_COMMAND * 1.2);
    // 10 MB in commands of a quarter of a MB.
    expect(replies.length).toBeLessThan(60);
  });

  test('with long reasons is smaller, and goes on where it ended', async ({ testbed }) => {
    const { redis, replies } = recorder(testbed);
    const members = Array.from({ length: 300 }, (_, i) => ({ id: `r${i}`, reason: `${i}${'x'.repeat(20_000)}` }));
    await store(testbed, members);
    const pages = await allPages(redis, WANTED);
    expect(idsOf(pages).sort()).toEqual(members.map(({ id }) => id).sort());
    expect(pages.length).toBeGreaterThan(15);
    // A step of ten, or a chain in Redis's hash table, more than was asked for.
    expect(largest(replies)).toBeLessThan(BYTES_PER_COMMAND + 20 * 20_010);
  });

  test('with a reason of a megabyte holds few of them', async ({ testbed }) => {
    const { redis, replies } = recorder(testbed);
    await store(
      testbed,
      Array.from({ length: 20 }, (_, i) => ({ id: `r${i}`, reason: 'x'.repeat(1_000_000) })),
    );
    const pages = await allPages(redis, WANTED);
    expect(idsOf(pages)).toHaveLength(20);
    // HSCAN returns whole buckets of the hash, and Redis hashes with another seed each time that it starts.
    expect(largest(replies)).toBeLessThan(9_000_000);
  });

  test('of small ones is about as large as asked for', async ({ testbed }) => {
    const { redis, replies } = recorder(testbed);
    await store(
      testbed,
      Array.from({ length: 3000 }, (_, i) => ({ id: `r${i}`, reason: 'no' })),
    );
    const wanted = { ...WANTED, count: 1000, withData: false };
    const { members, next } = await readMemberPage(redis, 'one', { ...wanted, place: SCAN_START });
    expect(next).toBeDefined();
    expect(members.length).toBeGreaterThan(990);
    expect(members.length).toBeLessThan(1100);
    expect(replies).toHaveLength(1);
    expect(new Set(idsOf(await allPages(redis, { ...WANTED, withData: false }))).size).toBe(3000);
  });

  test('has the data of each job that exists, however long, and none for the others', async ({ testbed }) => {
    const { redis } = recorder(testbed);
    await store(testbed, [
      { id: 'long', reason: 'no', data: `"${'d'.repeat(2_000_000)}"` },
      { id: 'gone', reason: 'no' },
      { id: 'longer', reason: 'no', data: `"${'d'.repeat(3_000_000)}"` },
      { id: 'short', reason: 'no', data: '{}' },
    ]);
    const found = (await allPages(redis, WANTED)).flat();
    expect(Object.fromEntries(found.map(({ key, data }) => [key.split(':').at(-1), data?.length]))).toEqual({
      long: 2_000_002,
      gone: undefined,
      longer: 3_000_002,
      short: 2,
    });
  });
});

describe('the pages of members', () => {
  test('hold all of them when another server takes over between two pages', async ({ testbed }) => {
    const second = await secondServer(testbed);
    const members = Array.from({ length: 2000 }, (_, i) => ({ id: `r${i}`, reason: 'no' }));
    await store(testbed, members);
    await store({ ...testbed, redis: second }, members);
    for (const tookOver of [1, 2, 3]) {
      let pages = 0;
      const clients = [testbed.redis, second].map(scriptClientOf);
      const redis = new BatchRedis(
        {
          defineCommand: (name, definition) => clients.forEach((client) => void client.defineCommand(name, definition)),
          runCommand: async (name, args) => clients[pages++ < tookOver ? 0 : 1]?.runCommand(name, args),
        },
        testbed.prefix,
        'batches',
      );
      const read = await allPages(redis, { which: 'failed', count: 300, withData: false });
      expect(new Set(idsOf(read)).size).toBe(2000);
    }
  });
});
