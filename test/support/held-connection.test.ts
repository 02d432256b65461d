import { createHash } from 'node:crypto';
import { BatchError } from '../../src/index.js';
import type { HeldConnection } from './held-connection.js';
import { heldBatchWorker, type Interleaving, interleave, type LostReplies, withLostReplies } from './interleave.js';
import { describe, eventually, expect, type Testbed, test } from './test.js';

/** A key that the test may leave behind. */
function counter(testbed: Testbed, name: string): string {
  testbed.owns('counters');
  return `${testbed.prefix}:counters:${name}`;
}

describe('a held connection', () => {
  test('holds its actor before the command that is asked for, until it is released', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const [a, b, c] = ['a', 'b', 'c'].map((name) => counter(testbed, name)) as [string, string, string];
    held.holdBefore(2);
    const actor = Promise.all([held.connection.incr(a), held.connection.incr(b), held.connection.incr(c)]);
    expect(await held.heldOrEnded(actor)).toEqual({ position: 2, name: 'incr' });
    expect(await testbed.redis.mget(a, b, c)).toEqual(['1', null, null]);
    held.release();
    expect(await actor).toEqual([1, 1, 1]);
    expect(held.commands).toEqual(['incr', 'incr', 'incr']);
  });

  test('holds a command of what is under way when it is asked to go on and stop again', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const [a, b] = [counter(testbed, 'a'), counter(testbed, 'b')];
    const actor = async () => {
      await held.connection.incr(a);
      await held.connection.incr(b);
    };
    held.holdBefore(1);
    const acting = actor();
    await held.heldOrEnded(acting);
    held.holdBefore(2);
    expect(await held.heldOrEnded(acting)).toEqual({ position: 2, name: 'incr' });
    expect(await testbed.redis.mget(a, b)).toEqual(['1', null]);
    held.release();
    await acting;
  });

  test('tells when the actor has ended without coming so far', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    held.holdBefore(2);
    expect(await held.heldOrEnded(held.connection.incr(counter(testbed, 'a')))).toBeUndefined();
    held.holdBefore(2);
    expect(await held.heldOrEnded(Promise.reject(new Error('no')))).toBeUndefined();
  });

  test('counts a script that Redis did not know once, and a transaction once', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const key = counter(testbed, 'a');
    const lua = `return redis.call('INCR', '${key}')`;
    const sha = createHash('sha1').update(lua).digest('hex');
    await expect(held.connection.evalsha(sha, 0)).rejects.toThrow('NOSCRIPT');
    await held.connection.eval(lua, 0);
    await held.connection.evalsha(sha, 0);
    await held.connection.multi().incr(key).incr(key).exec();
    await held.connection.incr(key);
    expect(held.commands).toEqual([sha, sha, 'multi', 'incr']);
    held.countFrom();
    held.holdBefore(2);
    const actor = Promise.all([held.connection.multi().incr(key).exec(), held.connection.multi().incr(key).exec()]);
    expect(await held.heldOrEnded(actor)).toEqual({ position: 2, name: 'multi' });
    expect(await testbed.redis.get(key)).toBe('6');
    held.release();
    await actor;
  });

  test('loses the reply of a command that Redis has executed: the client sends it again', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const key = counter(testbed, 'a');
    held.loseReply(2);
    await held.connection.incr(counter(testbed, 'b'));
    expect(await held.connection.incr(key)).toBe(2);
    expect(held.hasLost).toBe(true);
    expect(await held.connection.incr(key), 'only one reply is lost').toBe(3);
    held.countFrom();
    held.loseReply(1);
    await expect(held.connection.multi().incr(key).exec(), 'a client does not send it again').rejects.toThrow();
    expect(await testbed.redis.get(key)).toBe('4');
  });

  test('loses the reply of the script, and not that Redis did not know it', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const lua = `return redis.call('INCR', '${counter(testbed, 'a')}')`;
    const sha = createHash('sha1').update(lua).digest('hex');
    held.loseReply(1);
    await expect(held.connection.evalsha(sha, 0)).rejects.toThrow('NOSCRIPT');
    expect(held.hasLost).toBe(false);
    expect(await held.connection.eval(lua, 0)).toBe(2);
    expect(held.hasLost).toBe(true);
  });

  test("does not count a worker's waiting, and names the scripts of what it does", async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const worker = await heldBatchWorker(testbed, held);
    held.countFrom();
    await held.idle();
    expect(held.commands).toEqual([]);
    await testbed.queue('users').addBatch({}, []);
    await eventually(() => worker.repairs && held.commands.includes('moveToFinished'));
    expect(held.commands.join()).not.toMatch(/pop|multi|[0-9a-f]{40}/);
  });

  test("counts a worker's waiting when it is asked to", async ({ testbed }) => {
    const held = await testbed.heldConnection({ blocking: true });
    await heldBatchWorker(testbed, held);
    held.countFrom();
    await testbed.queue('users').addBatch({}, []);
    await eventually(() => held.commands.includes('bzpopmin'));
  });

  test('what waits beside the held command gets nothing before the release', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    const key = counter(testbed, 'marker');
    const waiter = held.connection.duplicate();
    testbed.use({ close: async () => waiter.disconnect() });
    const popped = waiter.bzpopmin(key, 0);
    await held.waiting();
    held.holdBefore(1);
    const actor = held.connection.incr(counter(testbed, 'a'));
    expect(await held.heldOrEnded(actor)).toEqual({ position: 1, name: 'incr' });
    await testbed.redis.zadd(key, 7, 'job');
    expect(await testbed.redis.zcard(key), 'a frozen worker would keep it from the others').toBe(1);
    held.release();
    expect(await popped).toEqual([key, 'job', '7']);
    await actor;
  });

  test('a BatchWorker goes on where it was held', async ({ testbed }) => {
    const held = await testbed.heldConnection();
    await heldBatchWorker(testbed, held);
    const users = testbed.queue('users');
    held.countFrom();
    held.holdBefore(3);
    const batch = await users.addBatch({}, []);
    expect(await held.heldOrEnded(batch.waitUntilFinished())).toMatchObject({ position: 3 });
    const other = await users.addBatch({}, []);
    testbed.batchWorker();
    expect(await other.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
    expect((await batch.status()).finishedAt).toBeUndefined();
    held.release();
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded' });
  });
});

describe('interleave()', () => {
  /** The actor reads a counter and writes what it read, plus one, in two commands; the other one does it in one. */
  const careless: Interleaving<{ testbed: Testbed; held: HeldConnection; key: string }> = {
    async setup(testbed, held) {
      return { testbed, held, key: counter(testbed, 'a') };
    },
    async actor({ held, key }) {
      const seen = Number(await held.connection.get(key));
      await held.connection.set(key, seen + 1);
    },
    other: ({ testbed, key }) => testbed.redis.incr(key),
    async verdict({ testbed, key }) {
      expect(await testbed.redis.get(key)).toBe('2');
    },
  };

  test('plays every position, and tells where it failed', async ({ testbed }) => {
    await expect(interleave(testbed, careless)).rejects.toThrow(
      /^held before command 2 \(set\): expected '1' to be '2'/,
    );
  });

  test('plays each position in a fresh situation, and tells how many there were', async ({ testbed }) => {
    const seen: (number | undefined)[] = [];
    const prefixes = new Set<string>();
    const played = await interleave(testbed, {
      ...careless,
      actor: async ({ held, key }) => {
        await held.connection.incr(key);
        await held.connection.get(key);
        await held.connection.get(key);
      },
      verdict: async (situation, outcome) => {
        seen.push(outcome.position);
        prefixes.add(situation.testbed.prefix);
        await careless.verdict(situation, outcome);
      },
    });
    expect(played).toEqual({ positions: 3, commands: ['incr', 'get', 'get'] });
    expect(seen.sort()).toEqual([1, 2, 3, undefined]);
    expect(prefixes.size).toBe(4);
  });

  test('lets the others have their turn before each earlier command, for an actor that is slow', async ({
    testbed,
  }) => {
    const turns: string[] = [];
    await interleave(testbed, {
      ...careless,
      actor: async ({ held, key }) => {
        await held.connection.get(key);
        await held.connection.get(key);
        await held.connection.incr(key);
      },
      async between({ held }) {
        turns.push(`turn after ${held.commands.length}`);
      },
      async other(situation) {
        await careless.other(situation);
        turns.push(`other after ${situation.held.commands.length}`);
      },
    });
    const expected = [
      ...['other after 3', 'other after 0', 'turn after 0', 'other after 1'],
      ...['turn after 0', 'turn after 1', 'other after 2'],
    ];
    expect(turns.sort()).toEqual(expected.sort());
  });

  test('either may be refused, with the errors that are named', async ({ testbed }) => {
    class Refused extends Error {}
    const refused: typeof careless = {
      ...careless,
      async actor({ held, key }) {
        if ((await held.connection.incr(key)) > 1) throw new Refused('later than the other one');
      },
      async other({ testbed, key }) {
        if ((await testbed.redis.incr(key)) > 1) throw new Refused('later than the actor');
      },
      async verdict(_, { actor, other, position }) {
        expect([actor.status, other.status]).toEqual(
          position === undefined ? ['fulfilled', 'rejected'] : ['rejected', 'fulfilled'],
        );
      },
    };
    await interleave(testbed, { ...refused, refusals: { actor: [Refused], other: [Refused] } });
    await expect(interleave(testbed, { ...refused, refusals: { other: [BatchError] } })).rejects.toThrow(
      'the other one after the actor: the other one ended with Error: later than the actor',
    );
    await expect(interleave(testbed, { ...refused, refusals: { other: [Refused] } })).rejects.toThrow(
      'held before command 1 (incr): the actor ended with Error: later than the other one',
    );
  });
});

describe('withLostReplies()', () => {
  test('loses the reply of each command in turn, and tells which one was missed', async ({ testbed }) => {
    const call: LostReplies<{ testbed: Testbed; held: HeldConnection; key: string }> = {
      async setup(testbed, held) {
        return { testbed, held, key: counter(testbed, 'a') };
      },
      async actor({ held, key }) {
        await held.connection.set(key, 1);
        return held.connection.get(key);
      },
      async verdict({ testbed, key }, result) {
        expect([result, await testbed.redis.get(key)]).toEqual(['1', '1']);
      },
    };
    expect(await withLostReplies(testbed, call)).toEqual({ positions: 2, commands: ['set', 'get'] });
    const careless: typeof call = {
      ...call,
      async actor({ held, key }) {
        await held.connection.incr(key);
        return held.connection.get(key);
      },
    };
    await expect(withLostReplies(testbed, careless)).rejects.toThrow('reply lost of command 1 (incr)');
  });
});
