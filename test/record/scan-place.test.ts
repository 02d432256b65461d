import { Emptying } from '../../src/batch/emptying.js';
import { BatchRedis } from '../../src/record/batch-redis.js';
import { markCancelled } from '../../src/record/cancel.js';
import { scriptClientOf } from '../../src/record/client.js';
import { nextPlace, SCAN_START, type ScanPlace } from '../../src/record/scan-place.js';
import { beginSearch, continueSearch, type NotRunSearch } from '../../src/record/search-not-run.js';
import { searchForStrangers } from '../../src/record/search-strangers.js';
import { sortCancelled } from '../../src/record/sort-cancelled.js';
import { secondServer } from '../support/second-server.js';
import { describe, expect, keysOf, type Testbed, test } from '../support/test.js';

const MEMBERS = 3000;
const AN_HOUR = 3_600_000;
/** After how many scripts the second server takes over. */
const TOOK_OVER = [1, 3];

/** A second server, and how to reach the first one until it takes over with a copy of everything. */
async function successor(testbed: Testbed) {
  const second = await secondServer(testbed);
  const copyKey = async (key: string) => {
    await second.restore(key, 0, (await testbed.redis.dumpBuffer(key)) as Buffer, 'REPLACE');
  };
  const copy = async () => Promise.all((await keysOf(testbed.redis, testbed.prefix)).map(copyKey));
  const takesOverAfter = (scripts: number) => {
    const [before, after] = [testbed.redis, second].map(scriptClientOf);
    let run = 0;
    return new BatchRedis(
      {
        defineCommand: (name, definition) =>
          [before, after].forEach((one) => void one?.defineCommand(name, definition)),
        async runCommand(name, args) {
          run += 1;
          if (run === scripts + 1) {
            await copy();
          }
          return (run <= scripts ? before : after)?.runCommand(name, args);
        },
      },
      testbed.prefix,
      'batches',
    );
  };
  return { second, copyKey, takesOverAfter };
}

/** A batch with many members, all of them delayed. */
async function largeBatch(testbed: Testbed) {
  const batch = await testbed.queue('users').createBatch();
  await batch.addBulk(Array.from({ length: MEMBERS }, () => ({ name: 'row', data: {}, opts: { delay: AN_HOUR } })));
  await batch.seal();
  const key = `${testbed.prefix}:batches:${batch.id}`;
  return { batchId: batch.id, key, nonce: (await testbed.redis.hget(key, 'b:nonce')) ?? '' };
}

describe('where another Redis server takes over, with all data, between two commands', () => {
  test('a cancel takes all members out', async ({ testbed }) => {
    const { second, takesOverAfter } = await successor(testbed);
    for (const scripts of TOOK_OVER) {
      const { batchId, key, nonce } = await largeBatch(testbed);
      const redis = takesOverAfter(scripts);
      await markCancelled(redis, batchId, { nonce });
      const emptying = new Emptying(redis, { batchId, nonce }, {});
      while (!emptying.isDone) {
        await emptying.step();
      }
      expect(await second.scard(`${key}:dependencies`)).toBe(0);
      expect(await second.hget(key, 'b:cancelled')).toBe(String(MEMBERS));
    }
  });

  test('all members that have failed because of a cancel are told from those that failed by themselves', async ({
    testbed,
  }) => {
    const { second, takesOverAfter } = await successor(testbed);
    for (const scripts of TOOK_OVER) {
      const { batchId, key, nonce } = await largeBatch(testbed);
      await markCancelled(takesOverAfter(Number.POSITIVE_INFINITY), batchId, { nonce });
      const members = await testbed.redis.smembers(`${key}:dependencies`);
      await testbed.redis.hset(`${key}:failed`, ...members.flatMap((member) => [member, `cancelled (${nonce})`]));
      await testbed.redis.del(`${key}:dependencies`);
      expect(await sortCancelled(takesOverAfter(scripts), batchId)).toBe(0);
      expect(await second.hlen(`${key}:failed`)).toBe(0);
      expect(await second.hget(key, 'b:cancelled')).toBe(String(MEMBERS));
    }
  });

  test('no member that has not run is passed over', async ({ testbed }) => {
    const { second, copyKey, takesOverAfter } = await successor(testbed);
    const { batchId, key } = await largeBatch(testbed);
    const members = await testbed.redis.smembers(`${key}:dependencies`);
    await Promise.all(members.map((member) => testbed.redis.hset(member, 'atm', 1)));
    // The first script begins the search.
    const redis = takesOverAfter(2);
    let search: NotRunSearch | 'all have run' | undefined = await beginSearch(redis, batchId);
    search = search && (await continueSearch(redis, batchId, search));
    // The second server would have returned this one before the place at which the search goes on.
    await copyKey(`${key}:dependencies`);
    const [, firstThere] = await second.sscan(`${key}:dependencies`, 0, 'COUNT', 500);
    const [, firstHere] = await testbed.redis.sscan(`${key}:dependencies`, 0, 'COUNT', 500);
    const notRun = firstThere.find((member) => !firstHere.includes(member)) ?? '';
    await testbed.redis.hdel(notRun, 'atm');
    while (search !== undefined && search !== 'all have run' && search.notRun === undefined) {
      search = await continueSearch(redis, batchId, search);
    }
    expect(search).toMatchObject({ notRun });
  });

  test('all jobs that were attached by hand are found among the settled members', async ({ testbed }) => {
    const { second, takesOverAfter } = await successor(testbed);
    for (const scripts of TOOK_OVER) {
      const { batchId, key } = await largeBatch(testbed);
      const members = await testbed.redis.smembers(`${key}:dependencies`);
      const strangers = Array.from({ length: 50 }, (_, i) => `${testbed.prefix}:users:by-hand-${i}`);
      await Promise.all(strangers.map((stranger) => testbed.redis.hset(stranger, 'parentKey', key)));
      await testbed.redis.hset(`${key}:processed`, ...[...members, ...strangers].flatMap((member) => [member, '1']));
      await testbed.redis.del(`${key}:dependencies`);
      // The first script reads the batch.
      await searchForStrangers(takesOverAfter(scripts + 1), batchId);
      expect((await second.hget(key, 'b:strangers'))?.split('\n').sort()).toEqual(strangers.sort());
    }
  });
});

test('a reading comes to an end where each command goes to another server', () => {
  let place: ScanPlace | undefined = SCAN_START;
  let pages = 0;
  for (; place !== undefined; pages++) {
    place = nextPlace(place, { cursor: pages < 20 ? '5' : '0', server: String(pages) });
  }
  expect(pages).toBe(21);
});
