import { describe, expect, test } from 'vitest';
import { checkBackend } from '../../src/record/client.js';

describe('on a Redis Cluster, all keys of a batch are in one slot when the prefix has a hash tag', () => {
  const onCluster = (prefix: string) => () =>
    checkBackend({ name: 'users', opts: { prefix, connection: { isCluster: true } } });

  test.each(['{bull}', 'app-{bull}', '{bull}-app', '{a}{b}', '{a}{}', '{{bull}', 'a}{bull}', '{ }'])(
    '%s has one',
    (prefix) => {
      expect(onCluster(prefix)).not.toThrow();
    },
  );

  // Redis looks at the first '{' and the first '}' after it only; with nothing in between, it hashes the whole key.
  test.each(['bull', '{}', 'a{}{bull}', '{}bull', '{bull', 'bull}', '}bull{', 'a}{'])('%s has none', (prefix) => {
    expect(onCluster(prefix)).toThrow('the same prefix with a hash tag');
  });

  test('the prefix that is suggested has one', () => {
    expect(onCluster('a{}{bull}')).toThrow("e.g. { prefix: '{abull}' }");
    expect(onCluster('{}')).toThrow("e.g. { prefix: '{bull}' }");
  });
});
