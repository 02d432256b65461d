import { parse } from 'csv-parse/sync';
import { expect, test } from 'vitest';
import { csvLine } from '../../../src/surfaces/cli/csv.js';

test('what was written is read back by a CSV parser, line breaks and quotes included', () => {
  const values = ['a,b', 'he said "no"', 'two\nlines', 'two\r\nlines', ' spaces ', 'é日本'];
  expect(parse(csvLine(values), { record_delimiter: '\r\n' })).toEqual([values]);
});

test.each([
  ['=1+1', "'=1+1"],
  ['+SUM(A1)', "'+SUM(A1)"],
  ['-cmd', "'-cmd"],
  ['@import', "'@import"],
  ['\tx', "'\tx"],
  ['\rx', '"\'\rx"'],
  ['\nx', '"\'\nx"'],
  ['＝1+1', "'＝1+1"],
  ['＋49301234', "'＋49301234"],
  ['－cmd', "'－cmd"],
  ['＠import', "'＠import"],
  ['=HYPERLINK("http://x","y")', '"\'=HYPERLINK(""http://x"",""y"")"'],
])('a text that begins like a formula gets an apostrophe: %j', (text, cell) => {
  expect(csvLine([text])).toBe(`${cell}\r\n`);
});

test('numbers stay numbers, also negative ones and those in texts', () => {
  expect(csvLine([-5, 1.5e-7, '-5', '+49301234', '-1.5e3'])).toBe('-5,1.5e-7,-5,+49301234,-1.5e3\r\n');
});

test('objects are JSON in a cell, what is not there is an empty one', () => {
  expect(csvLine([{ to: 'ada', n: 1 }, [1], true, null, undefined])).toBe('"{""to"":""ada"",""n"":1}",[1],true,,\r\n');
});
