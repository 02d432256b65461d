import type { BatchState, BatchStatus, TreeJobs } from '../../index.js';
import { type Html, html } from './html.js';
import { ago, number } from './text.js';

/** Text of a user's, whatever direction it is written in: it turns nothing around that stands beside it. */
export function own(text: string): Html {
  return html`<bdi>${text}</bdi>`;
}

/** Shapes as well as colours and words. */
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

export function time(ms: number): Html {
  const iso = new Date(ms).toISOString();
  const utc = `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
  return html`<time datetime="${iso}" title="${utc}">${ago(ms)}</time>`;
}

export const PARTS = ['succeeded', 'failed', 'cancelled', 'missing', 'pending'] as const;

type Numbers = Pick<TreeJobs, (typeof PARTS)[number] | 'total' | 'progress'>;

/** What is there at all is to be seen: one failed member of a million is as wide as this, of 1,000. */
const NARROWEST = 8;

/** The progress of a batch in segments; told to those who do not see it as a sentence. */
export function bar(numbers: Numbers, label: string): Html {
  const { total, pending, failed, progress } = numbers;
  const said = `${progress} %, ${number(total - pending)} of ${number(total)} settled${failed > 0 ? `, ${number(failed)} failed` : ''}`;
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

export function titleOf({ id, description }: Pick<BatchStatus, 'id' | 'description'>): string {
  return description === undefined || description.trim() === '' ? id : description;
}

export const isUnfinished = (state: BatchState): boolean =>
  state === 'open' || state === 'waiting' || state === 'running' || state === 'finishing';
