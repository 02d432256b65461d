import { expect, test } from 'vitest';
import { Table } from '../../../src/surfaces/cli/table.js';

const columns = [{ title: 'ID', staysWhole: true }, { title: 'DESCRIPTION', isElastic: true }, { title: 'STATE' }];
const plain = (_: unknown, text: string) => text;

test('an id of more than half a terminal has a line of its own, and leaves the other rows their columns', () => {
  const long = 'x'.repeat(50);
  const rows = [
    ['november', 'The newsletter', 'open'],
    [long, 'A long id', 'open'],
  ];
  const table = new Table(columns, rows, 40, plain);
  expect([table.header(), ...rows.map((row) => table.row(row))].join('\n').split('\n')).toEqual([
    'ID        DESCRIPTION     STATE',
    'november  The newsletter  open',
    long,
    '          A long id       open',
  ]);
});

test('an id that comes after the first rows is not cut', () => {
  const table = new Table(columns, [['a', 'b', 'open']], 40, plain);
  expect(table.row(['november', 'x', 'open'])).toBe('november\n    x            open');
});
