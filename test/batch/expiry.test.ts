import { contextOf } from '../../src/batch/batch-context.js';
import { removeInTurn } from '../../src/batch/remove.js';
import { Remover } from '../../src/batch/remover.js';
import { type Batch, BatchNotFoundError } from '../../src/index.js';
import { expiredBatches } from '../../src/record/expiry.js';
import { beginRemoval, releaseRemoval } from '../../src/record/removal.js';
import { FIRST_PLACE, takeApart } from '../../src/record/take-apart.js';
import { monitorRedis } from '../support/monitor.js';
import { describe, eventually, expect, keysOf, type Testbed, test } from '../support/test.js';

const AN_HOUR = 3_600_000;
const isGone = (batch: Batch) =>
  batch.status().then(
    () => false,
    (error: unknown) => error instanceof BatchNotFoundError,
  );

/**
 * Resolves when the reconcilers have gone round: a batch that is not to be kept has been created, has finished, and is
 * gone.
 */
async function aRound(testbed: Testbed): Promise<void> {
  const batch = await testbed.queue('users').addBatch({ keep: { age: 0 } }, []);
  await eventually(() => isGone(batch));
}

describe('the age of a finished batch', () => {
  test('is told by Redis: a BatchWorker whose clock is 70 minutes slow expires nothing early', async ({ testbed }) => {
    const slowWorker = testbed.batchWorker();
    const batch = await testbed.queue('users').addBatch({ keep: { age: 3600 } }, []);
    const { finishedAt = 0 } = await batch.waitUntilFinished(10_000);
    await slowWorker.close();
    // What such a BatchWorker writes, and where BullMQ sorts it.
    const slow = finishedAt - 70 * 60_000;
    await testbed.redis.hset(`${testbed.prefix}:batches:${batch.id}`, 'finishedOn', slow);
    await testbed.redis.zadd(`${testbed.prefix}:batches:completed`, slow, batch.id);
    testbed.batchWorker({ reconcileInterval: 10 });
    for (let rounds = 0; rounds < 3; rounds++) await aRound(testbed);
    expect(await batch.status()).toMatchObject({ state: 'succeeded' });
    // Two hours later.
    const [seen, at] =
      (await testbed.redis.hget(`${testbed.prefix}:batches:${batch.id}`, 'b:finishedAt'))?.split(':') ?? [];
    await testbed.redis.hset(
      `${testbed.prefix}:batches:${batch.id}`,
      'b:finishedAt',
      `${seen}:${Number(at) - 2 * AN_HOUR}`,
    );
    await eventually(() => isGone(batch));
  });

  test('counts anew when it was retried and has finished again', async ({ testbed }) => {
    const users = testbed.queue('users');
    let isMended = false;
    testbed.worker('users', async () => {
      if (!isMended) throw new Error('no');
    });
    testbed.batchWorker({ reconcileInterval: 10 });
    const batch = await users.addBatch({ keep: { age: 3600 } }, [{ name: 'bad', data: {} }]);
    await batch.waitUntilFinished(10_000);
    const key = `${testbed.prefix}:batches:${batch.id}`;
    const seen = await eventually(() => testbed.redis.hget(key, 'b:finishedAt'));
    const before = Number(seen.split(':')[1]) - 2 * AN_HOUR;
    isMended = true;
    await batch.retry();
    await testbed.redis.hset(key, 'b:finishedAt', `${seen.split(':')[0]}:${before}`);
    await eventually(async () => (await batch.status()).state === 'succeeded');
    for (let rounds = 0; rounds < 3; rounds++) await aRound(testbed);
    expect(await batch.status()).toMatchObject({ state: 'succeeded', recovered: true });
  });
});

test('what expiry reads of a batch does not grow with its definition', async ({ testbed }) => {
  const users = testbed.queue('users');
  testbed.batchWorker();
  const { redis } = await contextOf(users);
  const data = { text: 'x'.repeat(50_000) };
  for (let i = 0; i < 12; i++) {
    await users.addBatch({ on: { death: { name: 'death', data } } }, []);
  }
  const finished = () => users.getBatchCounts().then(({ succeeded }) => succeeded === 12);
  await eventually(finished);
  const calls = await monitor(testbed);
  expect((await expiredBatches(redis, { cursor: '0', count: 100, round: 1 })).due).toEqual([]);
  const looks = await calls();
  expect(looks.length).toBeGreaterThan(12);
  expect(looks.filter((call) => /"(b:definition|data)"/.test(call))).toEqual([]);
});

/** Redis tells what it executes; returns what did since the last call, in this prefix. */
async function monitor(testbed: Testbed): Promise<() => Promise<string[]>> {
  const calls: string[] = [];
  await monitorRedis(testbed, ({ args, isOfScript }) => {
    // Other tests run beside this one.
    const isOwn = args.some((arg) => arg.startsWith(`${testbed.prefix}:`));
    if (isOfScript && isOwn) calls.push(args.map((arg) => `"${arg}"`).join(' '));
    if (args[1] === testbed.prefix) calls.push(testbed.prefix);
  });
  return async () => {
    await testbed.redis.echo(testbed.prefix);
    await eventually(() => calls.at(-1) === testbed.prefix);
    return calls.splice(0, calls.length).slice(0, -1);
  };
}

describe('maintenance', () => {
  /** A finished batch of so many members, whose jobs are gone. */
  async function large(testbed: Testbed, id: string, keep: { age: number }): Promise<Batch> {
    const batch = await testbed.queue('users').addBatch({ id, keep }, []);
    await batch.waitUntilFinished(10_000);
    for (let from = 0; from < 60_000; from += 5000) {
      const members = Array.from({ length: 5000 }, (_, i) => [`${testbed.prefix}:users:${id}-${from + i}`, 'null']);
      await testbed.redis.hset(`${testbed.prefix}:batches:${id}:processed`, ...members.flat());
    }
    return batch;
  }

  test('removes one batch in turns of bounded length, and beside it nobody else does', async ({ testbed }) => {
    testbed.batchWorker();
    const held = await testbed.heldConnection();
    const context = await contextOf(testbed.queue('users'));
    const heldContext = await contextOf(testbed.queue('users', { connection: held.connection }));
    await large(testbed, 'large', { age: 0 });
    await held.idle();
    held.countFrom();
    expect(await new Remover(heldContext, 5).remove('large', { how: 'expire' })).toBe('more');
    expect(held.commands).toEqual(['beginRemoval', ...Array(5).fill('takeApart'), 'beginRemoval']);
    // A leader that is frozen in the middle of its next turn, and the one who has taken the lead.
    held.countFrom();
    held.holdBefore(5);
    const turn = removeInTurn(heldContext, 'large', 'continue');
    await held.heldOrEnded(turn);
    const before = await testbed.redis.hlen(`${testbed.prefix}:batches:large:processed`);
    expect(await removeInTurn(context, 'large', 'continue')).toBe('held');
    expect(await testbed.redis.hlen(`${testbed.prefix}:batches:large:processed`)).toBe(before);
    // When its lease has ended, and another one holds the removal, it does nothing more, whatever it had begun.
    const key = `${testbed.prefix}:batches:large`;
    const mark = (await testbed.redis.hget(key, 'b:removal')) ?? '';
    await testbed.redis.hset(key, 'b:removal', mark.replace(/^(\S+) \d+/, '$1 0'));
    const begun = await beginRemoval(context.redis, 'large', { how: 'continue', holder: 'other' });
    held.release();
    expect(await turn).toBe('held');
    expect(await testbed.redis.hlen(`${key}:processed`)).toBe(before);
    // Nor would it take anything of another life of the batch, if it were the holder.
    const hold = { batchId: 'large', nonce: 'another', holder: 'other' };
    expect(await takeApart(context.redis, hold, FIRST_PLACE, [])).toMatchObject({ outcome: 'lost' });
    await releaseRemoval(context.redis, { ...hold, nonce: 'nonce' in begun ? begun.nonce : '' });
    const isGone = async () => ['done', 'not found'].includes(await removeInTurn(context, 'large', 'continue'));
    await eventually(isGone);
    expect((await keysOf(testbed.redis, testbed.prefix)).filter((key) => key.includes(':large'))).toEqual([]);
    expect(await removeInTurn(context, 'large', 'continue')).toBe('not found');
  });

  test('of batches that expire at the same time, a large one does not keep the others waiting', async ({ testbed }) => {
    const worker = testbed.batchWorker();
    const context = await contextOf(testbed.queue('users'));
    await large(testbed, 'large', { age: 0 });
    const small = await testbed.queue('users').addBatch({ keep: { age: 0 } }, []);
    await small.waitUntilFinished(10_000);
    await worker.close();
    const { due: ids } = await expiredBatches(context.redis, { cursor: '0', count: 100, round: 1 });
    expect(ids).toEqual(['large', small.id]);
    const ended = [];
    for (const id of ids ?? []) ended.push(await new Remover(context, 5).remove(id, { how: 'expire' }));
    expect(ended).toEqual(['more', 'done']);
  });

  test('finds batches whose removal was cut short in the index of what batches need', async ({ testbed }) => {
    const context = await contextOf(testbed.queue('users'));
    const batch = await testbed.queue('users').createBatch();
    expect(await removeInTurn(context, batch.id, 'continue')).toBe('not removed');
    expect(await removeInTurn(context, batch.id, 'expire')).toBe('not finished');
    const held = await testbed.heldConnection();
    const actors = await testbed.queue('users', { connection: held.connection }).getBatch(batch.id);
    await held.idle();
    held.countFrom();
    held.holdBefore(3);
    const removing = actors.remove({ force: true });
    await held.heldOrEnded(removing);
    const needs = `${testbed.prefix}:batches:reconciler:needs:removals`;
    expect(await testbed.redis.zrange(needs, '0', '-1')).toEqual([batch.id]);
    held.release();
    await removing;
    expect(await testbed.redis.exists(needs)).toBe(0);
  });
});

test('a batch that is retried does not expire, and is not removed without force, until the retry has died', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  const worker = testbed.worker('users', async () => {
    throw new Error('no');
  });
  testbed.batchWorker();
  const context = await contextOf(users);
  const batch = await users.addBatch({ keep: { age: 0 } }, [{ name: 'bad', data: {} }]);
  await batch.waitUntilFinished(10_000);
  await worker.close();
  const held = await testbed.heldConnection();
  const actors = await testbed.queue('users', { connection: held.connection }).getBatch(batch.id);
  await held.idle();
  held.countFrom();
  held.holdBefore(3);
  const retrying = actors.retry();
  await held.heldOrEnded(retrying);
  expect(await removeInTurn(context, batch.id, 'expire')).toBe('not finished');
  await expect(batch.remove()).rejects.toThrow('has not finished');
  // A minute later.
  const claim = (await testbed.redis.hget(`${testbed.prefix}:batches:${batch.id}`, 'b:retrying')) ?? '';
  await testbed.redis.hset(`${testbed.prefix}:batches:${batch.id}`, 'b:retrying', `${claim.split(' ')[0]} 0`);
  expect(await removeInTurn(context, batch.id, 'expire')).toBe('done');
  held.release();
  await expect(retrying).rejects.toThrow(BatchNotFoundError);
});

test('20,000 members are gone when remove({ members: true }) resolves, beside BatchWorkers that remove', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  testbed.batchWorker({ reconcileInterval: 5 });
  testbed.batchWorker({ reconcileInterval: 5 });
  const batch = await users.createBatch();
  await batch.addBulk(Array.from({ length: 20_000 }, (_, n) => ({ name: 'member', data: n })));
  await batch.seal();
  await settleAll(testbed, batch);
  expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', total: 20_000 });
  await batch.remove({ members: true });
  const left = (await keysOf(testbed.redis, testbed.prefix)).filter((key) =>
    /:users:[A-Za-z0-9]{8}-|:batches:[A-Za-z0-9]{12}/.test(key),
  );
  expect(left).toEqual([]);
  expect(await users.getJobCountByTypes('completed', 'waiting', 'failed')).toBe(0);
});

/** What workers do to the members that wait, without the minute that they would take. */
async function settleAll(testbed: Testbed, batch: Batch): Promise<void> {
  const settle = `
    local ids = redis.call('LPOP', KEYS[1], 500) or {}
    for _, id in ipairs(ids) do
      local key = ARGV[1] .. id
      redis.call('ZADD', KEYS[2], 1, id)
      redis.call('HSET', key, 'finishedOn', 1, 'returnvalue', 'null')
      redis.call('SREM', KEYS[3], key)
      redis.call('HSET', KEYS[4], key, 'null')
    end
    return #ids`;
  const [users, key] = [`${testbed.prefix}:users:`, `${testbed.prefix}:batches:${batch.id}`];
  const last = (await testbed.redis.rpop(`${users}wait`)) ?? '';
  const keys = [`${users}wait`, `${users}completed`, `${key}:dependencies`, `${key}:processed`];
  while ((await testbed.redis.eval(settle, 4, ...keys, users)) !== 0);
  // The last one is run by a worker, which tells the batch.
  await testbed.redis.rpush(`${users}wait`, last);
  testbed.worker('users', async () => {});
}
