import type { BatchFailure, BatchFailuresPage, BatchStatus, FailureReasons } from '../../index.js';
import type { Ancestor } from './ancestors.js';
import type { Names } from './batch-reader.js';
import type { FailuresBelow } from './failures-below.js';
import { type Html, html } from './html.js';
import type { Page } from './layout.js';
import { badge, breadcrumb, isUnfinished, own, titleOf } from './parts.js';
import type { Paths } from './paths.js';
import { cut, number, plural } from './text.js';

/** Characters of a failure's data that are shown at once, that can be opened, and of all data on one page. */
const SHOWN = 2000;
const OPENABLE = 20_000;
const ON_A_PAGE = 400_000;

/** Reasons that are listed; after these many, a reader looks at the failures themselves. */
const REASONS_SHOWN = 20;

export interface FailuresView {
  readonly status: BatchStatus;
  readonly ancestors: readonly Ancestor[];
  readonly page: BatchFailuresPage;
  readonly names: Names;
  readonly reasons: FailureReasons | undefined;
  /** The reason that all failures of this page have. */
  readonly reason: string | undefined;
  readonly isFirst: boolean;
}

/** The failures of a batch, or those with one reason, page by page. */
export function failuresPage(paths: Paths, view: FailuresView): Page {
  const { status, ancestors, page, names, reason, isFirst } = view;
  const { failures, cursor } = page;
  const title = titleOf(status);
  const next = paths.failures(status.id, { reason, cursor });
  const content = html`
${breadcrumb(paths, [...ancestors, { id: status.id, title }])}
<h1>Failures</h1>
<p class="facts">${badge(status.state)}
<span>${plural(status.failed, 'failed member')} of ${number(status.total)}</span>
<a href="${paths.detailJson(status.id, 'failures')}">as JSON</a></p>
${reasonsMenu(paths, view)}
${failures.length === 0 ? html`<p class="empty">${nothingOf(view)}</p>` : failureList(paths, failures, names)}
${
  (!isFirst || cursor !== undefined) &&
  html`<nav class="pager" aria-label="Pages">
${!isFirst && html`<a href="${paths.failures(status.id, { reason })}">← First page</a>`}
${cursor !== undefined && html`<a rel="next" href="${next}">More failures →</a>`}
</nav>`
}`;
  return { title: `Failures of ${title}`, content };
}

function nothingOf({ isFirst, reason, page: { cursor } }: FailuresView): string {
  if (reason !== undefined) {
    return cursor === undefined
      ? 'There are no more failures with this reason.'
      : 'None of the failures that were looked at for this page has this reason: there are more to look at.';
  }
  return isFirst ? 'No member has failed for good.' : 'There are no more failures.';
}

/** A link for each reason, and one for all. */
function reasonsMenu(paths: Paths, { status, reasons, reason: current }: FailuresView): Html | false {
  if (reasons === undefined || reasons.reasons.length < 2) {
    return false;
  }
  const { id, failed } = status;
  const link = (href: string, isCurrent: boolean, label: Html) =>
    html`<li><a href="${href}"${isCurrent && html` aria-current="page"`}>${label}</a></li>`;
  return html`<nav aria-label="Reasons"><ul class="reasons-menu">
${link(paths.failures(id), current === undefined, html`All <span class="count">${number(failed)}</span>`)}
${reasons.reasons
  .slice(0, REASONS_SHOWN)
  .map(({ reason, count }) =>
    link(
      paths.failures(id, { reason }),
      reason === current,
      html`${nameOf(reason)} <span class="count">${number(count)}</span>`,
    ),
  )}</ul>${sampleNote(reasons)}</nav>`;
}

/** The failures of a batch by reason; each group opens its rows. */
export function failureGroups(paths: Paths, status: BatchStatus, reasons: FailureReasons, names: Names): Html {
  const { id, state } = status;
  const shown = reasons.reasons.slice(0, REASONS_SHOWN);
  const others = reasons.reasons.length - shown.length;
  // A running batch may still get other reasons.
  const isOnly = shown.length === 1 && !isUnfinished(state);
  return html`${sampleNote(reasons)}<ul class="groups">${shown.map(({ reason, count, examples }) => {
    const href = paths.failures(id, { reason });
    return html`<li data-key="reason ${reason}"><details${isOnly && html` open`}>
<summary><b>${number(count)}</b> ${nameOf(reason)}</summary>
<div data-rows="${href}"><ul class="plain">${examples.map((failure) => example(paths, failure, reason, names))}</ul>
<p><a href="${href}">${count === 1 ? 'This failure' : `These ${number(count)} failures`}, with data</a></p></div>
</details></li>`;
  })}</ul>${others > 0 && html`<p class="meaning">and ${plural(others, 'other reason')}</p>`}`;
}

/** The failed jobs below a batch by reason; each group opens the batches that have them, with links to the rows. */
export function groupsBelow(paths: Paths, below: FailuresBelow): Html {
  const shown = below.reasons.slice(0, REASONS_SHOWN);
  const others = below.reasons.length - shown.length;
  const sample = `${plural(below.examined, 'failure')} of ${plural(below.batches, 'batch', 'batches')}`;
  return html`${!below.complete && html`<p class="meaning">Counted by reason in a sample of ${sample}, not in all.</p>`}
<ul class="groups">${shown.map(
    ({ reason, count, batches }) => html`<li data-key="below ${reason}"><details>
<summary><b>${number(count)}</b> ${nameOf(reason)}</summary>
<ul class="plain">${batches.map(
      ({ id, title, count: ofBatch }) =>
        html`<li><a href="${paths.failures(id, { reason })}">${number(ofBatch)} in ${own(title)}</a></li>`,
    )}</ul></details></li>`,
  )}</ul>${others > 0 && html`<p class="meaning">and ${plural(others, 'other reason')}</p>`}`;
}

const nameOf = (reason: string): Html => (reason === '' ? html`<i>no reason</i>` : own(reason));

function sampleNote({ examined, complete }: FailureReasons): Html | false {
  return (
    !complete &&
    html`<p class="meaning">Counted by reason in a sample of ${plural(examined, 'failure')}, not in all.</p>`
  );
}

function example(paths: Paths, failure: BatchFailure, group: string, names: Names): Html {
  const [reason] = cut(failure.reason.trim(), SHOWN);
  return html`<li>${whichOf(paths, failure, names)}${reason !== group && html`: ${own(reason)}`}</li>`;
}

function whichOf(paths: Paths, { id, queue, isBatch }: BatchFailure, names: Names): Html {
  return isBatch
    ? html`Child batch <a href="${paths.batch(id)}">${own(names.get(id) ?? id)}</a>`
    : html`Job <code>${own(id)}</code> in queue <b>${own(queue)}</b>`;
}

function failureList(paths: Paths, failures: readonly BatchFailure[], names: Names): Html {
  let left = ON_A_PAGE;
  const items = failures.map((failure) => {
    const { queue, id, reason, isBatch } = failure;
    const text = dataOf(failure);
    const shown = text === undefined ? undefined : dataView(text, left);
    left -= Math.min(text?.length ?? 0, OPENABLE);
    return html`<li data-key="${queue}:${id}">
<p class="which">${whichOf(paths, failure, names)}</p>
<pre class="reason">${own(cut(reason, OPENABLE)[0])}</pre>
${shown ?? (!isBatch && html`<p class="meaning">The job does not exist any more, nor its data.</p>`)}
</li>`;
  });
  return html`<ol class="failures">${items}</ol>`;
}

function dataOf(failure: BatchFailure): string | undefined {
  return failure.isBatch || !('data' in failure) ? undefined : JSON.stringify(failure.data, undefined, 2);
}

function dataView(text: string, left: number): Html {
  const [shown, rest] = cut(text, Math.min(SHOWN, Math.max(left, 0)));
  const [openable, beyond] = cut(rest, Math.max(0, Math.min(OPENABLE - SHOWN, left - SHOWN)));
  return html`${dataBlock('Data', html`${own(shown)}${rest !== '' && '…'}`)}${
    openable !== '' &&
    html`<details><summary>${number(openable.length)} more characters</summary>${dataBlock('More data', own(openable))}
</details>`
  }${
    beyond !== '' &&
    html`<p class="meaning">${number(beyond.length)} characters are not shown here; they are in the page's JSON.</p>`
  }`;
}

const dataBlock = (label: string, content: Html): Html =>
  html`<pre class="data" tabindex="0" role="region" aria-label="${label}">${content}</pre>`;
