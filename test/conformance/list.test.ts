import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

/*
 * The acceptance list is S1 to S54, what users of other implementations rely on, and D1 to D12, what went wrong there.
 * Each number begins the name of at least one test of this folder; "(ours: …)" says where we mean something else.
 */

const FOLDER = new URL('.', import.meta.url);

const numbers = (letter: string, last: number) => Array.from({ length: last }, (_, i) => `${letter}${i + 1}`);

test('every number of the acceptance list has a test, and no test has another number', () => {
  const tested = new Set<string>();
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.test.ts'))) {
    const text = readFileSync(new URL(file, FOLDER), 'utf8');
    for (const [, number = ''] of text.matchAll(/\(\s*['"`]([SD]\d+) /g)) {
      tested.add(number);
    }
  }
  expect([...tested].sort()).toEqual([...numbers('S', 54), ...numbers('D', 12)].sort());
});
