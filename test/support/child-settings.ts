import type { Testbed } from './test.js';

/** Reads, in the process that `runChild()` has started, what `runChild` passed. */
export function childSettings<T>(): { connection: Testbed['connection']; prefix: string; args: T } {
  const { TEST_CONNECTION = '{}', TEST_PREFIX = '' } = process.env;
  return { connection: JSON.parse(TEST_CONNECTION), prefix: TEST_PREFIX, args: JSON.parse(process.argv[2] ?? '{}') };
}
