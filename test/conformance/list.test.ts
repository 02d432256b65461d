import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

/* The acceptance list is README.md of this folder; each of its numbers begins the name of at least one test here. */

const FOLDER = new URL('.', import.meta.url);
const textOf = (file: string) => readFileSync(new URL(file, FOLDER), 'utf8');

const list = [...textOf('README.md').matchAll(/^- \*\*([SD]\d+)\*\* /gm)].map(([, number = '']) => number);

function testedIn(file: string): string[] {
  return [...textOf(file).matchAll(/\(\s*['"`]([SD]\d+) /g)].map(([, number = '']) => number);
}

test('the list counts S1 to S54 and D1 to D12, without a gap', () => {
  const numbers = (letter: string, last: number) => Array.from({ length: last }, (_, i) => `${letter}${i + 1}`);
  expect(list).toEqual([...numbers('S', 54), ...numbers('D', 12)]);
});

test('every number of the list has a test, and no test has another number', () => {
  const tested = new Set(
    readdirSync(FOLDER)
      .filter((name) => name.endsWith('.test.ts'))
      .flatMap(testedIn),
  );
  expect([...tested].sort()).toEqual([...list].sort());
});
