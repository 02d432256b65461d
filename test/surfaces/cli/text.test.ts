import { expect, test } from 'vitest';
import {
  ago,
  duration,
  jsonLine,
  localIso,
  padded,
  printable,
  quoted,
  shortened,
  widthOf,
  wrapped,
} from '../../../src/surfaces/cli/text.js';

const HOSTILE = 'a\u001b[31mred\u001b[0m\u001b]0;title\u0007 b\u009b2J\r\n\tc\u202ed';

test('nothing that controls a terminal is left of a text', () => {
  expect(printable(HOSTILE)).toBe('ared b c d');
});

test('JSON does nothing to a terminal either, and says the same', () => {
  const line = jsonLine({ text: HOSTILE, '\u0085': '\u2028' });
  expect(line).toMatch(/^[\x20-\x7e]*$/);
  expect(JSON.parse(line)).toEqual({ text: HOSTILE, '\u0085': '\u2028' });
});

test('wide characters count as two columns, and are not cut in the middle', () => {
  expect(widthOf('日本😀e\u0301')).toBe(7);
  expect(shortened('日本語', 4)).toBe('日…');
  expect(padded('日本語', 4)).toBe('日… ');
  expect(padded('ab', 4, 'right')).toBe('  ab');
});

test('lines are broken between words, and later ones are indented', () => {
  expect(wrapped('one two three', 10, '  ')).toBe('one two\n  three');
  expect(wrapped('a b', Number.POSITIVE_INFINITY)).toBe('a b');
});

test.each([
  [0, 'just now'],
  [-5000, 'just now'],
  [42_000, '42 s ago'],
  [190_000, '3 min ago'],
  [7_300_000, '2 h ago'],
  [86_400_000, '1 day ago'],
  [400 * 86_400_000, '400 days ago'],
])('%d ms before now is %j', (ms, text) => {
  expect(ago(1e12 - ms, 1e12)).toBe(text);
});

test('times are local, with their offset, and name the same moment', () => {
  const time = Date.UTC(2026, 2, 1, 8, 5, 9);
  expect(localIso(time)).toMatch(/^2026-0\d-\d\dT\d\d:\d\d:09[+-]\d\d:\d\d$/);
  expect(Date.parse(localIso(time))).toBe(time);
});

test('durations of less than a second are no unit of their own', () => {
  expect(duration(300)).toBe('0 s');
});

test('an argument that is copied reaches the program as it is', () => {
  expect(quoted('import-7')).toBe('import-7');
  expect(quoted("it's $HOME")).toBe("'it'\\''s $HOME'");
});
