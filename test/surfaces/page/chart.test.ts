import { chartOf } from '../../../src/surfaces/page/chart.js';
import type { Sample } from '../../../src/surfaces/page/pace.js';
import { expect, test } from '../../support/test.js';

const sample = (at: number, settled: number, failed = 0): Sample => ({ at, settled, failed, pending: 0 });

test('the chart tells how many were settled and failed per second between two looks', () => {
  const chart = chartOf([sample(0, 0), sample(2000, 20), sample(4000, 20), sample(6000, 60, 10), sample(8000, 61, 10)]);
  expect(chart).toMatchObject({ from: 0, until: 8000, most: 20, failed: 10 });
  expect(chart?.buckets).toEqual([
    { settledPerSecond: 10, failedPerSecond: 0 },
    { settledPerSecond: 0, failedPerSecond: 0 },
    { settledPerSecond: 20, failedPerSecond: 5 },
    { settledPerSecond: 0.5, failedPerSecond: 0 },
  ]);
});

test('the chart adds up to what was settled, whenever it was looked at', () => {
  const samples = Array.from({ length: 140 }, (_, i) => sample(i * 1000 + (i % 7) * 100, i * i, i));
  const chart = chartOf(samples);
  const width = ((chart?.until ?? 0) - (chart?.from ?? 0)) / (chart?.buckets.length ?? 1) / 1000;
  const sum = chart?.buckets.reduce((total, { settledPerSecond }) => total + settledPerSecond * width, 0);
  expect(chart?.buckets.length).toBe(48);
  expect(sum).toBeCloseTo(139 * 139);
});

test('the chart of a batch that had run for long begins with the first look at it', () => {
  const late = [sample(0, 0), sample(3_600_000, 5000)];
  const looks = [1, 2, 3].map((i) => sample(3_600_000 + i * 2000, 5000 + i));
  expect(chartOf([...late, ...looks])).toMatchObject({ from: 3_600_000, until: 3_606_000, most: 0.5 });
});

test('without several looks, or without anything settled, there is no chart', () => {
  expect(chartOf([])).toBeUndefined();
  expect(chartOf([sample(0, 0), sample(5000, 100)])).toBeUndefined();
  expect(chartOf([sample(0, 0), sample(1000, 0), sample(2000, 0), sample(3000, 0)])).toBeUndefined();
});
