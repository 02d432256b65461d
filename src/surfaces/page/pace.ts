/** Where a batch stood at one time: its members, or the jobs of all batches below it. */
export interface Sample {
  /** In ms since the epoch, by the server's clock. */
  readonly at: number;
  /** How many have succeeded or failed. What was cancelled, or vanished, was not worked off. */
  readonly settled: number;
  readonly failed: number;
  readonly pending: number;
}

/** How far back "lately" reaches, and the least time that says something about a pace. */
const LATELY_MS = 60_000;
const LEAST_MS = 4000;

/** More samples are thinned out: those of the last minute stay, and `OLD_SAMPLES` of those before it. */
const MOST_SAMPLES = 150;
const OLD_SAMPLES = 60;

/** A sample that comes sooner after the last one is dropped: several people may watch one batch. */
const SAME_LOOK_MS = 500;

/**
 * Adds a sample. Answers to several readers may come out of order, so one that is not newer is dropped; but the last
 * one, in which nothing is pending any more, is kept. A retry makes settled members pending: the samples begin anew.
 */
export function withSample(samples: readonly Sample[], next: Sample): readonly Sample[] {
  const last = samples.at(-1);
  if (last === undefined) {
    return [next];
  }
  if (next.pending === 0 && next.settled > last.settled) {
    return thinned([...samples, { ...next, at: Math.max(next.at, last.at + 1) }]);
  }
  if (next.at < last.at + SAME_LOOK_MS) {
    return samples;
  }
  const isRetried = next.settled < last.settled || next.failed < last.failed;
  return isRetried ? [next] : thinned([...samples, next]);
}

function thinned(samples: readonly Sample[]): readonly Sample[] {
  const [first, last] = [samples[0], samples.at(-1)];
  if (samples.length <= MOST_SAMPLES || first === undefined || last === undefined) {
    return samples;
  }
  const recent = last.at - LATELY_MS;
  const step = (recent - first.at) / OLD_SAMPLES;
  let keptAt = Number.NEGATIVE_INFINITY;
  return samples.filter(({ at }) => {
    const isKept = at >= recent || at >= keptAt + step;
    keptAt = isKept ? at : keptAt;
    return isKept;
  });
}

export interface Pace {
  readonly perSecond: number;
  /** The time that it was measured over; undefined: all the time since the batch was created. */
  readonly overMs: number | undefined;
}

/** How fast members were settled in the last minute, as far as that is known, and else since the batch was created. */
export function latePace(samples: readonly Sample[], createdAt: number): Pace {
  const last = samples.at(-1);
  const first = samples.findLast(({ at }) => last !== undefined && at <= last.at - LATELY_MS) ?? samples[0];
  if (last === undefined || first === undefined) {
    return averagePace(samples, createdAt);
  }
  const overMs = last.at - first.at;
  return overMs < LEAST_MS || overMs > 2 * LATELY_MS
    ? averagePace(samples, createdAt)
    : { perSecond: (1000 * (last.settled - first.settled)) / overMs, overMs };
}

export function averagePace(samples: readonly Sample[], createdAt: number): Pace {
  const { at, settled } = samples.at(-1) ?? { at: createdAt, settled: 0 };
  return { perSecond: (1000 * settled) / Math.max(1, at - createdAt), overMs: undefined };
}
