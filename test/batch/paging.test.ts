import { Queue, UnrecoverableError, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { readCursor, writeCursor } from '../../src/batch/paging.js';
import { type Batch, withBatches } from '../../src/index.js';
import { startPrivateRedis } from '../support/private-redis.js';
import { type AnyQueue, describe, eventually, expect, type Testbed, test } from '../support/test.js';

const SIZE = 1000;

async function server(testbed: Testbed) {
  const { REDIS_URL, ...env } = process.env;
  // Otherwise a server waits for further replicas before it sends its data to the first one.
  const { url, stop } = await startPrivateRedis({ env, args: ['--repl-diskless-sync-delay', '0'] });
  const connection = { host: '127.0.0.1', port: Number(new URL(url).port) };
  const users = withBatches(new Queue('users', { connection }) as AnyQueue);
  const redis = new Redis(connection);
  testbed.use({
    async close() {
      await users.close();
      await redis.quit();
      await stop();
    },
  });
  return { connection, users, redis };
}

/** A batch with as many members that have failed as members that wait. */
async function halfFailed(testbed: Testbed, first: Awaited<ReturnType<typeof server>>): Promise<Batch<AnyQueue>> {
  const before = await first.users.createBatch();
  await before.addBulk(Array.from({ length: SIZE }, (_, row) => ({ name: 'row', data: { row } })));
  const refuse = async () => {
    throw new UnrecoverableError('no');
  };
  const worker = testbed.use(new Worker('users', refuse, { connection: first.connection, concurrency: 50 }));
  await eventually(async () => (await before.status()).failed === SIZE);
  await worker.close();
  const waiting = { opts: { delay: 3_600_000 } };
  await before.addBulk(Array.from({ length: SIZE }, (_, i) => ({ name: 'row', data: { row: SIZE + i }, ...waiting })));
  return before;
}

/** Such a batch on a server, and on its replica, which then takes over. */
async function beforeAndAfterFailover(testbed: Testbed): Promise<[before: Batch<AnyQueue>, after: Batch<AnyQueue>]> {
  const [first, second] = [await server(testbed), await server(testbed)];
  const before = await halfFailed(testbed, first);
  await second.redis.replicaof(first.connection.host, first.connection.port);
  await eventually(async () => {
    const { pending, failed } = await (await second.users.getBatch(before.id)).status();
    return pending === SIZE && failed === SIZE;
  });
  await second.redis.replicaof('NO', 'ONE');
  return [before, await second.users.getBatch(before.id)];
}

interface Page {
  readonly rows: readonly number[];
  readonly cursor: string | undefined;
}
type Read = (batch: Batch<AnyQueue>, cursor: string | undefined) => Promise<Page>;

const membersOf =
  (state?: 'pending'): Read =>
  async (batch, from) => {
    const { members, cursor } = await batch.members({ state, cursor: from, count: 50 });
    return { rows: members.map(({ data }) => data.row), cursor };
  };
const failuresOf: Read = async (batch, from) => {
  const { failures, cursor } = await batch.failuresPage({ cursor: from, count: 50 });
  return { rows: failures.map(({ data }) => data.row), cursor };
};
const failuresWithReason: Read = async (batch, from) => {
  const { failures, cursor } = await batch.failuresPage({ cursor: from, count: 50, reason: 'no' });
  return { rows: failures.map(({ data }) => data.row), cursor };
};

/** All pages; those from the n-th on are read from the other server, with the cursor of the one before. */
async function readAll(read: Read, [before, after]: readonly Batch<AnyQueue>[], from: number) {
  const pages: Page[] = [];
  do {
    const batch = (pages.length < from ? before : after) as Batch<AnyQueue>;
    pages.push(await read(batch, pages.at(-1)?.cursor));
  } while (pages.at(-1)?.cursor !== undefined);
  return pages;
}

describe('a cursor that is held while another server takes over', () => {
  test('passes over no member: its page begins again', async ({ testbed }) => {
    const batches = await beforeAndAfterFailover(testbed);
    const rows = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
    const all = rows(0, 2 * SIZE);
    for (const [name, read, expected] of [
      ['members()', membersOf(), all],
      ["members({ state: 'pending' })", membersOf('pending'), rows(SIZE, 2 * SIZE)],
      ['failuresPage()', failuresOf, rows(0, SIZE)],
      ['failuresPage({ reason })', failuresWithReason, rows(0, SIZE)],
    ] as const) {
      for (const from of [1, 3, 7]) {
        const pages = await readAll(read, batches, from);
        const found = [...new Set(pages.flatMap((page) => page.rows))].sort((a, b) => a - b);
        expect({ name, from, found }).toEqual({ name, from, found: expected });
        // The page after it holds none twice.
        const { rows: next } = pages[from] as Page;
        expect(new Set(next).size).toBe(next.length);
      }
    }
  });

  test('begins with the first state again, and not where only the state has changed', async ({ testbed }) => {
    const [before, after] = await beforeAndAfterFailover(testbed);
    const pages = await readAll(membersOf(), [before], 100);
    expect(pages.flatMap(({ rows }) => rows)).toHaveLength(2 * SIZE);
    const failed = pages.find(({ cursor }) => cursor?.startsWith('failed:'))?.cursor;
    const { members } = await after.members({ cursor: failed, count: 50 });
    expect(members[0]?.state).toBe('pending');
  });

  test('of an earlier version, without a server, is read as it was', async ({ testbed }) => {
    const before = await halfFailed(testbed, await server(testbed));
    const { cursor = '' } = await before.failuresPage({ count: 50 });
    const [plain = ''] = cursor.split('-');
    expect(plain).toMatch(/^\d+$/);
    expect(await before.failuresPage({ cursor: plain, count: 50 })).toEqual(
      await before.failuresPage({ cursor, count: 50 }),
    );
    const { members } = await before.members({ cursor: `failed:${plain}` });
    expect(members[0]?.state).toBe('failed');
  });
});

describe('cursors', () => {
  test.for([
    { cursor: '0', server: undefined, beginning: 1 },
    { cursor: '17', server: '8f3b20c1a5d94e67', beginning: 1 },
    { cursor: '18446744073709551615', server: '8f3b20c1a5d94e67', beginning: 4 },
  ])('%j is read as it was written', (place) => {
    expect(readCursor(writeCursor(place))).toEqual(place);
  });

  test.for(['', '-', '17-', '17-a-', '17-a-b', '17-a-2-3', '17-a b', '-17', `17-${'a'.repeat(17)}`, 17, undefined])(
    '%j is none',
    (text) => {
      expect(readCursor(text)).toBeUndefined();
    },
  );
});
