import type { Sample } from './pace.js';

/** A slice of time: how many members were settled in it per second, and how many of those failed. */
export interface Bucket {
  readonly settledPerSecond: number;
  readonly failedPerSecond: number;
}

export interface Chart {
  readonly from: number;
  readonly until: number;
  readonly buckets: readonly Bucket[];
  /** The highest throughput of a bucket: what the height of the chart stands for. */
  readonly most: number;
  /** How many failed between `from` and `until`. */
  readonly failed: number;
}

/** With fewer intervals there is a pace, but no course of it. */
const LEAST_INTERVALS = 3;
const MOST_BUCKETS = 48;

/** Throughput and failures over the time in which a batch was looked at; undefined when that was not often enough. */
export function chartOf(samples: readonly Sample[]): Chart | undefined {
  const seen = watched(samples);
  const [first, last] = [seen[0], seen.at(-1)];
  if (first === undefined || last === undefined || seen.length <= LEAST_INTERVALS) {
    return undefined;
  }
  const count = Math.min(MOST_BUCKETS, seen.length - 1);
  const width = (last.at - first.at) / count;
  const edges = Array.from({ length: count + 1 }, (_, i) => between(seen, first.at + i * width));
  const buckets = edges.slice(1).map((edge, i) => ({
    settledPerSecond: (1000 * (edge.settled - (edges[i]?.settled ?? 0))) / width,
    failedPerSecond: (1000 * (edge.failed - (edges[i]?.failed ?? 0))) / width,
  }));
  const most = Math.max(...buckets.map(({ settledPerSecond }) => settledPerSecond));
  const chart = { from: first.at, until: last.at, buckets, most, failed: last.failed - first.failed };
  return most > 0 ? chart : undefined;
}

/**
 * Leaves out the creation of the batch, which is the first sample, when the batch was not looked at for longer than it
 * has been watched since: an average over that time would take most of the chart.
 */
function watched(samples: readonly Sample[]): readonly Sample[] {
  const [created, first, last] = [samples[0], samples[1], samples.at(-1)];
  const isLate = created && first && last && first.at - created.at > last.at - first.at;
  return isLate ? samples.slice(1) : samples;
}

/** What would have been seen at a time between two samples. */
function between(samples: readonly Sample[], at: number): Pick<Sample, 'settled' | 'failed'> {
  const found = samples.findIndex((sample) => sample.at >= at);
  const next = found < 0 ? samples.length - 1 : Math.max(1, found);
  const [a, b] = [samples[next - 1], samples[next]];
  if (a === undefined || b === undefined || b.at === a.at) {
    return b ?? { settled: 0, failed: 0 };
  }
  const part = Math.min(1, (at - a.at) / (b.at - a.at));
  return { settled: a.settled + part * (b.settled - a.settled), failed: a.failed + part * (b.failed - a.failed) };
}
