import type { BatchFailure, BatchFailuresPage, BatchStatus } from '../../index.js';
import { type Html, html } from './html.js';
import type { Page } from './layout.js';
import { badge, own, titleOf } from './parts.js';
import type { Paths } from './paths.js';
import { cut, number, plural } from './text.js';

/** Characters of a failure's data that are shown at once, that can be opened, and of all data on one page. */
const SHOWN = 2000;
const OPENABLE = 20_000;
const ON_A_PAGE = 400_000;

/** What child batches are called, by id. */
export type Names = ReadonlyMap<string, string>;

export interface FailuresView {
  readonly status: BatchStatus;
  readonly page: BatchFailuresPage;
  readonly names: Names;
  readonly isFirst: boolean;
}

export function failuresPage(paths: Paths, { status, page: { failures, cursor }, names, isFirst }: FailuresView): Page {
  const title = titleOf(status);
  const content = html`
<nav aria-label="Breadcrumb" class="crumbs"><a href="${paths.list()}">Batches</a> <span aria-hidden="true">/</span>
<a href="${paths.batch(status.id)}">${own(title)}</a></nav>
<h1>Failures</h1>
<p class="facts">${badge(status.state)} <span>${plural(status.failed, 'failed member')} of ${number(status.total)}</span>
<a href="${paths.detailJson(status.id, 'failures')}">as JSON</a></p>
${
  failures.length === 0
    ? html`<p class="empty">${isFirst ? 'No member has failed for good.' : 'There are no more failures.'}</p>`
    : failureList(paths, failures, names)
}
<nav class="pager" aria-label="Pages">
${!isFirst && html`<a href="${paths.failures(status.id)}">← First page</a>`}
${cursor !== undefined && html`<a rel="next" href="${paths.failures(status.id, cursor)}">More failures →</a>`}
</nav>`;
  return { title: `Failures of ${title}`, content };
}

export function failureList(paths: Paths, failures: readonly BatchFailure[], names: Names): Html {
  let left = ON_A_PAGE;
  const items = failures.map((failure) => {
    const { queue, id, reason, isBatch } = failure;
    const text = dataOf(failure);
    const shown = text === undefined ? undefined : dataView(text, left);
    left -= Math.min(text?.length ?? 0, OPENABLE);
    return html`<li data-key="${queue}:${id}">
<p class="which">${
      isBatch
        ? html`Child batch <a href="${paths.batch(id)}">${own(names.get(id) ?? id)}</a>`
        : html`Job <code>${own(id)}</code> in queue <b>${own(queue)}</b>`
    }</p>
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
  return html`<pre class="data" tabindex="0" role="region" aria-label="Data">${own(shown)}${rest !== '' && '…'}</pre>${
    openable !== '' &&
    html`<details><summary>${number(openable.length)} more characters</summary><pre class="data" tabindex="0" role="region" aria-label="More data">${own(openable)}</pre></details>`
  }${beyond !== '' && html`<p class="meaning">${number(beyond.length)} characters are not shown here; they are in the JSON of this page.</p>`}`;
}
