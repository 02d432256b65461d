import { contextOf } from '../../../src/batch/batch-context.js';
import { firstFailures } from '../../../src/record/first-failures.js';
import { describe, eventually, expect, type Testbed, test } from '../../support/test.js';

const AN_HOUR = 3_600_000;
const failures = ({ prefix }: Testbed) => `${prefix}:batches:reconciler:needs:failures`;

/** Ids in the set of those that wait for failures. */
async function watch(testbed: Testbed, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, i) => `watched-${i}`);
  for (let i = 0; i < count; i += 10_000) {
    await testbed.redis.zadd(failures(testbed), ...ids.slice(i, i + 10_000).flatMap((id) => [0, id]));
  }
  return ids;
}

describe('a first failure', () => {
  test('is told within one sweep, however many batches wait for one', async ({ testbed }) => {
    const users = testbed.queue('users');
    const ran: string[] = [];
    testbed.worker('users', async ({ name }) => {
      ran.push(name);
      if (name === 'bad') throw new Error('bad');
    });
    await watch(testbed, 30_000);
    const batches = await Promise.all(
      ['a', 'b', 'c', 'd', 'e'].map((name) => users.createBatch({ on: { death: { name: `death ${name}` } } })),
    );
    for (const batch of batches) await batch.add('bad', {});
    await eventually(async () => (await users.getFailedCount()) === 5);
    // There is one sweep, and then none for an hour.
    testbed.batchWorker({ sweepInterval: AN_HOUR });
    await eventually(() => ran.length === 10);
    expect(ran.sort()).toEqual([...Array(5).fill('bad'), 'death a', 'death b', 'death c', 'death d', 'death e']);
  });

  test('is asked for in many batches together: only those with one are looked at', async ({ testbed }) => {
    const { redis } = await contextOf(testbed.queue('users'));
    const ids = await watch(testbed, 2000);
    const batchKey = (id?: string) => `${testbed.prefix}:batches:${id}`;
    for (const id of ids.slice(0, 1000)) await testbed.redis.hset(batchKey(id), 'timestamp', 1, 'b:needs', 'death');
    await testbed.redis.hset(`${batchKey(ids[10])}:failed`, 'some job', 'no');
    // One that fails only because of a cancel is no first failure.
    await testbed.redis.hset(batchKey(ids[11]), 'b:cancelledChildren', 1);
    await testbed.redis.hset(`${batchKey(ids[11])}:failed`, 'some child', 'no');
    await testbed.redis.set(`${batchKey(ids[12])}:failed`, 'not a hash');
    const due: string[] = [];
    const broken: string[] = [];
    let rounds = 0;
    const goRound = async () => {
      let cursor = '0';
      rounds += 1;
      do {
        const page = await firstFailures(redis, { cursor, count: 500, round: rounds });
        due.push(...page.due);
        broken.push(...page.broken.keys());
        ({ cursor } = page);
      } while (cursor !== '0');
    };
    await goRound();
    expect(due).toEqual([ids[10]]);
    expect(broken).toEqual([ids[12]]);
    // Those that are gone leave the set a few at a time.
    const left = await testbed.redis.zcard(failures(testbed));
    expect(left).toBeLessThan(2000);
    expect(left).toBeGreaterThan(1000);
    while (rounds < 200 && (await testbed.redis.zcard(failures(testbed))) > 1000) await goRound();
    expect((await testbed.redis.zrange(failures(testbed), '0', '-1')).sort()).toEqual(ids.slice(0, 1000).sort());
  });
});
