import { contextOf } from '../../../src/batch/batch-context.js';
import { attempted } from '../../../src/worker/maintenance/attempted.js';
import { describe, expect, test } from '../../support/test.js';

describe('the search for a member that has not run', () => {
  test('begins again in a new batch under the id of one that it was searching', async ({ testbed }) => {
    const { redis } = testbed;
    const users = testbed.queue('users');
    const dependencies = `${testbed.prefix}:batches:nightly:dependencies`;
    const create = async () => {
      const batch = await users.createBatch({ id: 'nightly', on: { attempted: { name: 'attempted' } } });
      await batch.addBulk(Array.from({ length: 1200 }, () => ({ name: 'row', data: {} })));
      await batch.seal();
      return batch;
    };
    const haveRun = (keys: readonly string[]) => Promise.all(keys.map((key) => redis.hset(key, 'atm', 1)));
    const isNoted = () => redis.hexists(`${testbed.prefix}:batches:nightly`, 'b:attemptedAt');
    const service = attempted(await contextOf(users), 0);
    const errors: unknown[] = [];
    const turn = { who: 'test', isOver: false, report: (error: unknown) => errors.push(error), repaired: () => {} };

    const before = await create();
    const [cursor, firstPage] = await redis.sscan(dependencies, '0', 'COUNT', 500);
    await haveRun(firstPage);
    await service.slice(turn);
    await before.remove({ force: true, members: true });

    await create();
    const [, laterPages] = await redis.sscan(dependencies, cursor, 'COUNT', 5000);
    await haveRun(laterPages);
    await service.slice(turn);
    await service.slice(turn);
    expect(errors).toEqual([]);
    expect(laterPages.length).toBeLessThan(1200);
    expect(await isNoted()).toBe(0);

    await haveRun(await redis.smembers(dependencies));
    await service.slice(turn);
    await service.slice(turn);
    expect(await isNoted()).toBe(1);
  });
});
