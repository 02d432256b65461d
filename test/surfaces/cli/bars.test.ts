import { expect, test } from 'vitest';
import { barLines, type Look } from '../../../src/surfaces/cli/bars.js';
import { Pace } from '../../../src/surfaces/cli/pace.js';
import { widthOf } from '../../../src/surfaces/cli/text.js';

const plain = (_: unknown, text: string) => text;

type Tree = Look['tree'];

function tree(id: string, [succeeded, failed, total]: [number, number, number], more: Partial<Tree> = {}): Tree {
  const pending = total - succeeded - failed;
  const state = pending > 0 ? 'running' : failed > 0 ? 'failed' : 'succeeded';
  const progress = total === 0 ? 0 : Math.floor((100 * (total - pending)) / total);
  const jobs = { total, pending, succeeded, failed, cancelled: 0, missing: 0, progress };
  const times = { createdAt: 1, sealedAt: 1, completedAt: undefined, finishedAt: undefined };
  const what = {
    id,
    description: undefined,
    state,
    sealed: true,
    progress,
    parentId: undefined,
    failedReason: undefined,
  } as const;
  return { ...what, ...times, jobs, children: [], ...more };
}

const lookAt = (of: Tree): Look => ({
  tree: of,
  status: {
    ...of,
    ...of.jobs,
    callbacks: [],
    abandoned: false,
    cancelReason: undefined,
    deadline: undefined,
    metadata: undefined,
    tags: [],
    recovered: false,
  },
});

test('a batch is a line with its name, bar, percent, counts, state and failures', () => {
  const [line] = barLines(lookAt(tree('import', [45, 5, 100])), { columns: 60, rows: 5 }, plain);
  expect(line).toMatch(/^import {2}█+▓+░+ {2}50 % {2}50\/100 {2}running, 5 failed$/);
});

test('one failure of a thousand is seen in the bar', () => {
  expect(barLines(lookAt(tree('a', [998, 1, 1000])), { columns: 80, rows: 5 }, plain)[0]).toMatch(/▓/);
});

test('a running batch is never at 100 %', () => {
  const done = tree('a', [10, 0, 10]);
  const look = lookAt({ ...done, state: 'finishing' });
  expect(barLines(look, { columns: 80, rows: 5 }, plain)[0]).toMatch(/ 99 % {2}10\/10 {2}finishing$/);
});

const many = tree('all', [300, 0, 2000], {
  children: Array.from({ length: 20 }, (_, i) =>
    tree(`child-${i}`, i < 10 ? [100, 0, 100] : [0, 0, 100], { description: `日本語 ${'long '.repeat(i)}` }),
  ),
});

test.each([20, 30, 40, 60, 80, 200])('no line is wider than a terminal of %d columns', (columns) => {
  for (const line of barLines(lookAt(many), { columns, rows: 10 }, plain)) {
    expect(widthOf(line)).toBeLessThanOrEqual(columns);
  }
});

test.each([2, 3, 10, 20, 21, 50])('there are not more lines than the %d rows', (rows) => {
  expect(barLines(lookAt(many), { columns: 80, rows }, plain).length).toBeLessThanOrEqual(rows);
});

test('where there is no room for all, those that are under way are shown, and the others counted', () => {
  const lines = barLines(lookAt(many), { columns: 120, rows: 8 }, plain);
  expect(lines.slice(1, -1).every((line) => line.includes('running'))).toBe(true);
  expect(lines.at(-1)).toBe('  … 14 more child batches: 10 succeeded, 4 running');
});

test('descriptions do not control the terminal', () => {
  const [line] = barLines(
    lookAt(tree('a', [1, 0, 2], { description: 'x\u001b[2J\ny' })),
    { columns: 80, rows: 5 },
    plain,
  );
  expect(line).toMatch(/^x y {2}/);
});

test('a chain of 20,000 child batches is drawn', () => {
  let chain = tree('last', [0, 0, 1]);
  for (let i = 0; i < 20_000; i++) {
    chain = tree(`b${i}`, [0, 0, 1], { children: [chain] });
  }
  expect(barLines(lookAt(chain), { columns: 80, rows: 5 }, plain)).toHaveLength(5);
});

test('the time left follows the pace of the last half minute', () => {
  const pace = new Pace();
  expect(pace.millisecondsFor(10)).toBeUndefined();
  for (let second = 0; second <= 100; second++) {
    pace.add(second * 1000, second < 60 ? second : 60 + (second - 60) * 10);
  }
  expect(pace.millisecondsFor(100)).toBeCloseTo(10_000, -2);
  pace.add(101_000, 5);
  expect(pace.millisecondsFor(100)).toBeUndefined();
});

test('nothing is said about the time left while nothing goes on', () => {
  const pace = new Pace();
  pace.add(0, 5);
  pace.add(10_000, 5);
  expect(pace.millisecondsFor(100)).toBeUndefined();
});
