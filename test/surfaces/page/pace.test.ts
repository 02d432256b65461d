import { averagePace, latePace, type Sample, withSample } from '../../../src/surfaces/page/pace.js';
import { describe, expect, test } from '../../support/test.js';

const sample = (at: number, settled: number, failed = 0): Sample => ({ at, settled, failed, pending: 50 });
const SECOND = 1000;

describe('the pace of a batch', () => {
  test('is that of the last minute, however slow it was before', () => {
    const samples = [sample(0, 0), sample(600 * SECOND, 10), sample(630 * SECOND, 310), sample(660 * SECOND, 610)];
    expect(latePace(samples, 0)).toEqual({ perSecond: 10, overMs: 60 * SECOND });
  });

  test('is an average where nobody has looked for long, and right after the first look', () => {
    expect(latePace([sample(0, 0), sample(500 * SECOND, 1000)], 0)).toEqual({ perSecond: 2, overMs: undefined });
    expect(latePace([sample(0, 0), sample(2 * SECOND, 10)], 0)).toEqual({ perSecond: 5, overMs: undefined });
    expect(latePace([], 0)).toEqual({ perSecond: 0, overMs: undefined });
  });

  test('of a finished batch is the average of all its time', () => {
    const samples = [sample(0, 0), sample(90 * SECOND, 10), sample(100 * SECOND, 200)];
    expect(averagePace(samples, 0)).toEqual({ perSecond: 2, overMs: undefined });
  });
});

describe('samples', () => {
  test('begin anew after a retry, which makes failed members pending again', () => {
    const before = [sample(0, 0), sample(10 * SECOND, 100, 20)];
    expect(withSample(before, sample(20 * SECOND, 80))).toEqual([sample(20 * SECOND, 80)]);
  });

  test('of readers who look at the same time are one, and an answer that was overtaken is none', () => {
    const before = [sample(0, 0), sample(10_000, 100, 5)];
    expect(withSample(before, sample(10_300, 103, 5))).toBe(before);
    expect(withSample(before, sample(9000, 90, 4))).toBe(before);
  });

  test('keep the last one, in which nothing is pending, also when it comes with the one before', () => {
    const before = [sample(0, 0), sample(10_000, 100)];
    const last = { ...sample(9900, 120), pending: 0 };
    expect(withSample(before, last)).toEqual([...before, { ...last, at: 10_001 }]);
  });

  test('stay few however long a batch is watched, with all of the last minute among them', () => {
    let samples: readonly Sample[] = [];
    for (let at = 0; at <= 4 * 3600 * SECOND; at += 2 * SECOND) {
      samples = withSample(samples, sample(at, at / SECOND));
    }
    expect(samples.length).toBeLessThanOrEqual(150);
    expect(samples[0]?.at).toBe(0);
    expect(samples.filter(({ at }) => at >= 4 * 3600 * SECOND - 60 * SECOND).length).toBe(31);
    const gaps = samples.slice(1).map(({ at }, i) => at - (samples[i]?.at ?? 0));
    expect(Math.max(...gaps)).toBeLessThan(15 * 60 * SECOND);
  });
});
