import type { BatchStatus, ListedState } from '../../index.js';
import { type Html, html } from './html.js';
import type { Page } from './layout.js';
import { type BatchList, SEARCHED, type Section, STATES } from './list.js';
import { badge, bar, own, time, titleOf } from './parts.js';
import type { ListQuery, Paths } from './paths.js';
import { number, plural } from './text.js';

const LABELS: Readonly<Record<ListedState, string>> = {
  running: 'Running',
  open: 'Open',
  failed: 'Failed',
  succeeded: 'Succeeded',
};

/** What stands under the heading of a state: what the word means here. */
const MEANINGS: Readonly<Record<ListedState, string>> = {
  running: 'Sealed, and waiting for members or callbacks.',
  open: 'Not sealed: members can be added.',
  failed: 'With failed or missing members or callbacks, or cancelled.',
  succeeded: 'All members and callbacks have succeeded.',
};

export function listPage(paths: Paths, siteTitle: string, list: BatchList): Page {
  const state = list.kind === 'overview' ? undefined : list.state;
  const q = list.kind === 'search' ? list.q : '';
  const page = list.kind === 'overview' ? 1 : list.page;
  const content = html`
<h1 class="unseen">${siteTitle}</h1>
${searchForm(paths, q, state)}
${tabs(paths, list, state)}
${bodyOf(paths, list)}`;
  const title = q !== '' ? `Search: ${q}` : state === undefined ? siteTitle : `${LABELS[state]} batches`;
  // A search looks through thousands of batches: not every few seconds.
  return list.kind === 'search' ? { title, content } : { title, content, live: { page: paths.list({ state, page }) } };
}

function searchForm(paths: Paths, q: string, state: ListedState | undefined): Html {
  const where = state === undefined ? 'Search batches' : `Search ${state} batches`;
  return html`<form class="search" role="search" action="${paths.list()}" method="get">
<label class="unseen" for="q">${where} by description or id</label>
<input id="q" type="search" name="q" value="${q}" placeholder="${where} by description or id" maxlength="500" autocomplete="off" spellcheck="false">
${state !== undefined && html`<input type="hidden" name="state" value="${state}">`}
<button>Search</button>
</form>`;
}

function tabs(paths: Paths, { kind, counts }: BatchList, current: ListedState | undefined): Html {
  const tab = (name: string, href: string, isCurrent: boolean, count?: number) =>
    html`<li><a href="${href}"${isCurrent && html` aria-current="page"`}>${name}${
      count !== undefined && html` <span class="count">${number(count)}</span>`
    }</a></li>`;
  return html`<nav aria-label="States"><ul class="tabs">
${tab('Overview', paths.list(), kind === 'overview')}
${STATES.map((state) => tab(LABELS[state], paths.list({ state }), state === current, counts[state]))}
</ul></nav>`;
}

function bodyOf(paths: Paths, list: BatchList): Html {
  switch (list.kind) {
    case 'overview':
      return overview(paths, list.sections);
    case 'state':
      return html`<h2>${LABELS[list.state]}</h2><p class="meaning">${MEANINGS[list.state]}</p>
${list.batches.length === 0 ? empty(list.page === 1 ? `No batch is ${inWords(list.state)}.` : 'There are no more batches.') : table(paths, list.batches, LABELS[list.state])}
${pager(paths, { state: list.state, page: list.page }, list.hasMore)}`;
    case 'search':
      return html`<h2>${plural(list.found, 'batch', 'batches')} found</h2>
<p class="meaning">For “${own(list.q)}”${list.state !== undefined && ` in ${list.state} batches`}.
${!list.complete && `Not all batches were looked at: only the newest, at most ${number(SEARCHED)} per state. An older one is found by its whole id.`}
${list.state !== undefined && html`<a href="${paths.list({ q: list.q })}">Search all batches</a>`}</p>
${list.batches.length > 0 && table(paths, list.batches, 'Found batches')}
${pager(paths, { q: list.q, state: list.state, page: list.page }, list.hasMore)}`;
  }
}

const inWords = (state: ListedState): string => (state === 'failed' ? 'failed or cancelled' : state);

function overview(paths: Paths, sections: readonly Section[]): Html {
  const shown = sections.filter(({ count }) => count > 0);
  if (shown.length === 0) {
    return empty('There are no batches yet. Create one with queue.createBatch(), and it appears here.');
  }
  return html`${shown.map(
    ({ state, count, batches }) => html`<section aria-labelledby="h-${state}" data-key="${state}">
<h2 id="h-${state}">${LABELS[state]} <span class="count">${number(count)}</span></h2>
<p class="meaning">${MEANINGS[state]}</p>
${table(paths, batches, LABELS[state])}
${count > batches.length && html`<p class="all"><a href="${paths.list({ state })}">All ${number(count)} ${state} batches</a></p>`}
</section>`,
  )}`;
}

function empty(sentence: string): Html {
  return html`<p class="empty">${sentence}</p>`;
}

/** The roles are said once more, because browsers forget them when a table is laid out as cards. */
function table(paths: Paths, batches: readonly BatchStatus[], label: string): Html {
  return html`<table class="batches" role="table" aria-label="${label}">
<thead role="rowgroup"><tr role="row">
<th role="columnheader" scope="col">Batch</th><th role="columnheader" scope="col">State</th>
<th role="columnheader" scope="col">Progress</th><th role="columnheader" scope="col">Members</th>
<th role="columnheader" scope="col">Created</th></tr></thead>
<tbody role="rowgroup">${batches.map((status) => row(paths, status))}</tbody>
</table>`;
}

function row(paths: Paths, status: BatchStatus): Html {
  const { id, description, state, total, pending, parentId, createdAt } = status;
  const title = titleOf({ id, description });
  return html`<tr role="row" data-key="${id}">
<td role="cell" class="name"><a href="${paths.batch(id)}">${own(title)}</a>${
    title !== id && html`<small><code>${own(id)}</code></small>`
  }${parentId !== undefined && html`<small>child of <a href="${paths.batch(parentId)}">${own(parentId)}</a></small>`}</td>
<td role="cell">${badge(state)}</td>
<td role="cell" class="progress">${bar(status, `Progress of ${title}`)}<span class="percent">${status.progress} %</span></td>
<td role="cell" class="members">${total === 0 ? 'no members' : `${number(total - pending)} of ${number(total)} settled`}${troubles(status)}</td>
<td role="cell" class="age">${time(createdAt)}</td>
</tr>`;
}

function troubles({ failed, cancelled, missing }: BatchStatus): Html | false {
  const said = Object.entries({ failed, cancelled, missing }).filter(([, count]) => count > 0);
  return (
    said.length > 0 &&
    html`<small>${said.map(([name, count], i) => html`${i > 0 && ', '}<span class="${name}">${number(count)} ${name}</span>`)}</small>`
  );
}

function pager(paths: Paths, query: ListQuery & { readonly page: number }, hasMore: boolean): Html | false {
  const { page } = query;
  return (
    (page > 1 || hasMore) &&
    html`<nav class="pager" aria-label="Pages">
${page > 1 && html`<a rel="prev" href="${paths.list({ ...query, page: page - 1 })}">← Newer</a>`}
<span>Page ${number(page)}</span>
${hasMore && html`<a rel="next" href="${paths.list({ ...query, page: page + 1 })}">Older →</a>`}
</nav>`
  );
}
