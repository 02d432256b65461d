import type { BatchStatus, TreeJobs } from '../../index.js';
import { type Chart, chartOf } from './chart.js';
import { type Html, html } from './html.js';
import { averagePace, latePace, type Pace, type Sample } from './pace.js';
import { bar, isUnfinished, PARTS, settledOf, time } from './parts.js';
import { ago, duration, number, plural, rate, timeLeft } from './text.js';

/** What the card shows. The server renders it, and the script of the page renders it again when numbers move. */
export interface Progress {
  readonly status: BatchStatus;
  /** How the batch, or the jobs below it, came here. */
  readonly samples: readonly Sample[];
  /**
   * Of a batch with child batches: all jobs below it, which the samples count too. A child counts as one member of its
   * parent, and only when it ends, which says nothing about how far the work is.
   */
  readonly jobs: TreeJobs | undefined;
  readonly now: number;
}

/** How far a batch is, how fast it goes, and since when. */
export function progressCard({ status, samples, jobs, now }: Progress): Html {
  const { createdAt, sealedAt, completedAt, finishedAt, state } = status;
  const isSettled = completedAt !== undefined && status.pending === 0;
  const pace = isUnfinished(state) ? latePace(samples, createdAt) : averagePace(samples, createdAt);
  return html`<section aria-labelledby="h-progress" class="card" data-progress data-now="${now}" data-state="${state}"
data-samples="${JSON.stringify(samples.map(({ at, ...counts }) => [at, ...Object.values(counts)]))}"${
    jobs !== undefined && html` data-jobs="${JSON.stringify(jobs)}"`
  }>
<h2 id="h-progress"><span class="unseen">Progress: </span>${(jobs ?? status).progress} %</h2>
${bar(jobs ?? status, 'Progress')}
${legend(jobs ?? status, jobs === undefined ? 'member' : 'job')}
${chartView(chartOf(samples), jobs !== undefined, now)}
<dl>
${fact('Throughput', throughput(samples, pace, jobs !== undefined))}
${state === 'running' && fact('Time left', left(samples, pace))}
${jobs !== undefined && fact('Members', settledOf(status))}
${fact('Created', time(createdAt, now))}
${fact('Sealed', sealedAt === undefined ? 'not yet' : time(sealedAt, now))}
${isSettled && fact('Members settled', time(completedAt, now))}
${finishedAt !== undefined && fact('Finished', time(finishedAt, now))}
${fact(isUnfinished(state) ? 'Took so far' : 'Took', duration((finishedAt ?? now) - createdAt))}
</dl>
</section>`;
}

const fact = (name: string, value: Html | string): Html =>
  html`<div data-key="${name}"><dt>${name}</dt><dd>${value}</dd></div>`;

function legend(counts: TreeJobs, what: 'member' | 'job'): Html {
  const { total } = counts;
  return html`<ul class="legend">${PARTS.map(
    (part) => html`<li class="${part}${counts[part] === 0 && ' none'}"><b>${number(counts[part])}</b> ${part}</li>`,
  )}<li class="total"><b>${number(total)}</b> ${what}${total !== 1 && 's'} in all</li></ul>`;
}

function throughput(samples: readonly Sample[], { perSecond, overMs }: Pace, hasJobsBelow: boolean): string {
  if ((samples.at(-1)?.settled ?? 0) === 0) {
    return 'nothing worked off yet';
  }
  const pace = perSecond === 0 ? 'nothing worked off' : rate(perSecond);
  return `${pace}${hasJobsBelow ? ', with the jobs of child batches,' : ','} ${over(overMs)}`;
}

function over(ms: number | undefined): string {
  if (ms === undefined) {
    return 'on average';
  }
  return ms >= 55_000 && ms < 65_000 ? 'in the last minute' : `in the last ${duration(ms)}`;
}

/** Fewer settled members tell nothing about the others. */
const ENOUGH = 5;

function left(samples: readonly Sample[], { perSecond }: Pace): string {
  const { settled = 0, pending = 0 } = samples.at(-1) ?? {};
  if (settled < ENOUGH) {
    return 'too early to say';
  }
  return perSecond === 0 ? 'unknown: nothing moves' : timeLeft((1000 * pending) / perSecond);
}

/** The units of the drawing, which is stretched to the width of the card. */
const WIDTH = 480;
const HEIGHT = 64;

function chartView(chart: Chart | undefined, hasJobsBelow: boolean, now: number): Html | false {
  if (chart === undefined) {
    return false;
  }
  const { from, until, buckets, most, failed } = chart;
  const what = hasJobsBelow ? 'job' : 'member';
  const failures = failed === 0 ? `no ${what} failed` : `${plural(failed, what)} failed`;
  const isLive = now - until < 60_000;
  const [begin, end] = [ago(from, now), isLive ? 'now' : ago(until, now)];
  return html`<figure class="chart" data-key="chart">
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" focusable="false"
aria-label="Throughput over time, from ${begin} to ${end}: at most ${rate(most)}, and ${failures}">
${buckets.map(({ settledPerSecond, failedPerSecond }, i) => [
  column('settled', i, { count: buckets.length, from: failedPerSecond / most, to: settledPerSecond / most }),
  column('failed', i, { count: buckets.length, from: 0, to: failedPerSecond / most }),
])}</svg>
<figcaption><span>${begin}</span><span>at most ${rate(most)}, ${
    failed > 0 ? html`<span class="failed">${failures}</span>` : failures
  }</span><span>${end}</span></figcaption>
</figure>`;
}

/** A failure among thousands of members is still seen. */
const LOWEST = 3;

function column(
  kind: 'settled' | 'failed',
  i: number,
  { count, from, to }: { readonly count: number; readonly from: number; readonly to: number },
): Html | false {
  if (to - from <= 0) {
    return false;
  }
  const width = WIDTH / count;
  const height = Math.max(LOWEST, (to - from) * HEIGHT);
  const y = Math.max(0, HEIGHT - from * HEIGHT - height);
  return html`<rect class="${kind}" x="${(i * width + 0.5).toFixed(1)}" width="${(width - 1).toFixed(1)}"
y="${y.toFixed(1)}" height="${height.toFixed(1)}"></rect>`;
}
