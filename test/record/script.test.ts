import { isClosed } from '../../src/model/rules.js';
import { scriptClientOf } from '../../src/record/client.js';
import { FIELD } from '../../src/record/keys.js';
import { LUA_IS_CLOSED, run, script } from '../../src/record/script.js';
import { describe, expect, test } from '../support/test.js';

describe('whether a batch is closed', () => {
  const IS_CLOSED = script('isClosedInTest', 1, `${LUA_IS_CLOSED} return isClosed(KEYS[1]) and 1 or 0`);
  const TIMES = ['sealedAt', 'abandonedAt', 'cancelledAt'] as const;
  const combinations = Array.from({ length: 2 ** TIMES.length }, (_, bits) => TIMES.filter((_, i) => bits & (1 << i)));

  test.for(combinations.map((times) => [times] as const))(
    'the scripts say as the rules do with %j',
    async ([times], { testbed }) => {
      const key = `${testbed.prefix}:batches:one`;
      await testbed.redis.hset(key, { timestamp: 1, ...Object.fromEntries(times.map((time) => [FIELD[time], 1])) });
      const standing = { sealedAt: undefined, abandonedAt: undefined, cancelledAt: undefined };
      const byRules = isClosed({ ...standing, ...Object.fromEntries(times.map((time) => [time, 1])) });
      expect(await run(scriptClientOf(testbed.redis), IS_CLOSED, [key])).toBe(byRules ? 1 : 0);
      expect(byRules).toBe(times.length > 0);
    },
  );

  test('without a batch it is not', async ({ testbed }) => {
    expect(await run(scriptClientOf(testbed.redis), IS_CLOSED, [`${testbed.prefix}:batches:none`])).toBe(0);
  });
});
