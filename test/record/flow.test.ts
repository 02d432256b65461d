import { failedBelow } from '../../src/record/flow.js';
import { recorder } from '../support/recorder.js';
import { expect, test } from '../support/test.js';

test('the jobs that made a job fail are read page by page, however many there are', async ({ testbed }) => {
  const { redis, replies } = recorder(testbed);
  testbed.owns('videos');
  const root = `${testbed.prefix}:videos:root`;
  const below = Array.from({ length: 3000 }, (_, i) => `${testbed.prefix}:videos:part-${i}`);
  await testbed.redis.zadd(`${root}:unsuccessful`, ...below.flatMap((key, i) => [i, key]));
  expect([...(await failedBelow(redis, root))].sort()).toEqual(below.sort());
  expect(Math.max(...replies.map(({ texts }) => texts))).toBeLessThan(2 * 600);
  expect(await failedBelow(redis, `${testbed.prefix}:videos:none`)).toEqual([]);
});
