import type { BatchState, BatchStatus, TreeJobs } from '../../index.js';
import { type Html, html } from './html.js';
import type { Paths } from './paths.js';
import { ago, number } from './text.js';

/** Text that users wrote. It may run from right to left, and does not turn around what stands beside it. */
export function own(text: string): Html {
  return html`<bdi>${text}</bdi>`;
}

/** A shape for each state, for readers who cannot tell the colours apart. */
const SIGNS: Readonly<Record<BatchState, string>> = {
  open: '○',
  running: '▶',
  finishing: '◑',
  succeeded: '✓',
  failed: '✕',
  cancelled: '⊘',
  waiting: '…',
  skipped: '↷',
};

export function badge(state: BatchState): Html {
  return html`<span class="badge ${state}" data-badge>${stateSign(state)}</span>`;
}

/** A state in a shape and a word. */
export function stateSign(state: BatchState): Html {
  return html`<span aria-hidden="true">${SIGNS[state]}</span> ${state}`;
}

export function time(ms: number, now = Date.now()): Html {
  const iso = new Date(ms).toISOString();
  const utc = `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
  return html`<time datetime="${iso}" title="${utc}">${ago(ms, now)}</time>`;
}

export const PARTS = ['succeeded', 'failed', 'cancelled', 'missing', 'pending'] as const;

type Numbers = Pick<TreeJobs, (typeof PARTS)[number] | 'total' | 'progress'>;

/** The least width of a segment, in thousandths of the bar: one failed member of a million can be seen. */
const NARROWEST = 8;

/** The progress of a batch as a bar in segments, with a sentence for screen readers. */
export function bar(numbers: Numbers, label: string): Html {
  const { total, failed, progress } = numbers;
  const failures = failed > 0 ? `, ${number(failed)} failed` : '';
  const said = `${progress} %, ${settledOf(numbers)}${failures}`;
  let x = 0;
  const segments = PARTS.filter((part) => part !== 'pending').map((part) => {
    const width = numbers[part] === 0 ? 0 : Math.max(NARROWEST, (1000 * numbers[part]) / total);
    const segment = html`<rect class="${part}" x="${x.toFixed(1)}" width="${width.toFixed(1)}" height="8"></rect>`;
    x += width;
    return segment;
  });
  return html`<div class="bar" role="progressbar" aria-label="${label}" aria-valuemin="0" aria-valuemax="100"
    aria-valuenow="${progress}" aria-valuetext="${said}"><svg viewBox="0 0 ${Math.max(1000, x).toFixed(1)} 8"
    preserveAspectRatio="none" aria-hidden="true" focusable="false">${segments}</svg></div>`;
}

/** E.g. "1,200 of 5,000 settled". */
export function settledOf({ total, pending }: Pick<Numbers, 'total' | 'pending'>): string {
  return `${number(total - pending)} of ${number(total)} settled`;
}

export function titleOf({ id, description }: Pick<BatchStatus, 'id' | 'description'>): string {
  return description === undefined || description.trim() === '' ? id : description;
}

export const isUnfinished = (state: BatchState): boolean =>
  state === 'open' || state === 'waiting' || state === 'running' || state === 'finishing';

/** The way to a page: the list, and the batches above, outermost first. */
export function breadcrumb(paths: Paths, above: readonly { readonly id: string; readonly title: string }[]): Html {
  const links = above.map(
    ({ id, title }) => html` <span aria-hidden="true">/</span> <a href="${paths.batch(id)}">${own(title)}</a>`,
  );
  return html`<nav aria-label="Breadcrumb" class="crumbs"><a href="${paths.list()}">Batches</a>${links}</nav>`;
}

/** The tags of a batch; each leads to the batches that have it. */
export function tagLinks(paths: Paths, tags: readonly string[]): Html | false {
  return (
    tags.length > 0 &&
    html`<span class="tags">${tags.map((tag) => html`<a href="${paths.list({ q: tag })}">${own(tag)}</a> `)}</span>`
  );
}
