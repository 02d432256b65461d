import type { BatchStatus, ListedState } from '../../index.js';
import { type Html, html } from './html.js';
import type { Page } from './layout.js';
import { type BatchList, type Family, SEARCHED, type Section, STATES } from './list.js';
import { batchesBelow, type Nested, nest } from './nesting.js';
import { badge, bar, own, settledOf, tagLinks, time, titleOf } from './parts.js';
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
<label class="unseen" for="q">${where} by description, id or tag</label>
<input id="q" type="search" name="q" value="${q}" placeholder="${where} by description, id or tag" maxlength="500"
autocomplete="off" spellcheck="false">
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
      return statePage(paths, list);
    case 'search':
      return searchPage(paths, list);
  }
}

function statePage(paths: Paths, list: BatchList & { readonly kind: 'state' }): Html {
  const { state, page, batches, hasMore } = list;
  return html`<h2>${LABELS[state]}</h2><p class="meaning">${MEANINGS[state]}</p>
${
  batches.length === 0
    ? empty(page === 1 ? `No batch is ${inWords(state)}.` : 'There are no more batches.')
    : familyTable(paths, list, state)
}
${pager(paths, { state, page }, hasMore)}`;
}

function searchPage(paths: Paths, list: BatchList & { readonly kind: 'search' }): Html {
  const { q, state, found, batches, parentTitles, page, hasMore } = list;
  return html`<h2>${plural(found, 'batch', 'batches')} found</h2>
<p class="meaning">For “${own(q)}”${state !== undefined && ` in ${state} batches`}.
${extentOf(list)}
${state !== undefined && html`<a href="${paths.list({ q })}">Search all batches</a>`}</p>
${
  batches.length > 0 &&
  table(
    'Found batches',
    batches.map((status) => row(paths, status, { parentTitle: parentTitles[status.parentId ?? ''] })),
  )
}
${pager(paths, { q, state, page }, hasMore)}`;
}

/** What a search has looked at, where the reader may expect more. */
function extentOf({ counts, state, examined, found, complete }: BatchList & { readonly kind: 'search' }): string {
  const all = STATES.reduce((sum, one) => sum + (state === undefined || state === one ? counts[one] : 0), 0);
  if (!complete) {
    return (
      `Descriptions, ids and tags of the newest ${number(examined)} of ${plural(all, 'batch', 'batches')} were ` +
      `looked at, at most ${number(SEARCHED)} of each state. An older batch is found by its whole id.`
    );
  }
  return found > 0
    ? ''
    : `The descriptions, ids and tags of ${all === 1 ? 'the one batch' : `all ${plural(all, 'batch', 'batches')}`} ` +
        'were looked at, for these characters in this order; a whole id finds its batch in any state. Batches that ' +
        'were removed, or have expired, are not there any more.';
}

const inWords = (state: ListedState): string => (state === 'failed' ? 'failed or cancelled' : state);

function overview(paths: Paths, sections: readonly Section[]): Html {
  const shown = sections.filter(({ count }) => count > 0);
  if (shown.length === 0) {
    return empty('There are no batches yet. Create one with queue.createBatch(), and it appears here.');
  }
  return html`${shown.map(
    ({ state, count, batches, ...family }) => html`<section aria-labelledby="h-${state}" data-key="${state}">
<h2 id="h-${state}">${LABELS[state]} <span class="count">${number(count)}</span></h2>
<p class="meaning">${MEANINGS[state]}</p>
${familyTable(paths, { batches, ...family }, state)}
${
  count > batches.length &&
  html`<p class="all"><a href="${paths.list({ state })}">All ${number(count)} ${state} batches</a></p>`
}
</section>`,
  )}`;
}

function empty(sentence: string): Html {
  return html`<p class="empty">${sentence}</p>`;
}

/** How many batches there may be below one for them to be shown without opening it. */
const OPENED_UP_TO = 3;

/** Batches of one state, each below its parent. */
function familyTable(paths: Paths, family: Family, state: ListedState): Html {
  const outermost = nest(family);
  const openedUpTo = outermost.length === 1 ? Number.POSITIVE_INFINITY : OPENED_UP_TO;
  return table(
    LABELS[state],
    outermost.map((node) => nestedRows(paths, node, { state, openedUpTo, notShown: family.notShown })),
  );
}

interface Nesting {
  readonly state: ListedState;
  readonly openedUpTo: number;
  readonly notShown: Family['notShown'];
}

/** Below its row, a batch has one that holds the table of its child batches. */
function nestedRows(paths: Paths, node: Nested, nesting: Nesting): Html {
  const { status, children, isContext } = node;
  const { state, openedUpTo, notShown } = nesting;
  const more = notShown[status.id] ?? 0;
  const count = batchesBelow(node).length + more;
  return html`${row(paths, status, { isContext })}${
    children.length > 0 &&
    html`<tr role="row" class="below" data-key="below ${status.id}"><td role="cell" colspan="5">
<details${count <= openedUpTo && html` open`}>
<summary>${childrenOf(node, more, state)}<span class="unseen"> of ${own(titleOf(status))}</span></summary>
${innerTable(children.map((child) => nestedRows(paths, child, nesting)))}
${more > 0 && html`<p class="all"><a href="${paths.batch(status.id)}">At least ${number(more)} more</a></p>`}
</details></td></tr>`
  }`;
}

/** E.g. "12 failed child batches"; of those that are not shown only the state of the whole list is known. */
function childrenOf(node: Nested, more: number, state: ListedState): string {
  const below = batchesBelow(node);
  const states = more === 0 ? [...new Set(below.map((one) => one.state))].join(' or ') : inWords(state);
  return plural(below.length + more, `${states} child batch`, `${states} child batches`);
}

/** The roles are said once more, because browsers forget them when a table is laid out as cards. */
function table(label: string, rows: readonly Html[]): Html {
  return html`<table class="batches" role="table" aria-label="${label}">
<thead role="rowgroup"><tr role="row">
<th role="columnheader" scope="col">Batch</th><th role="columnheader" scope="col">State</th>
<th role="columnheader" scope="col">Progress</th><th role="columnheader" scope="col">Members</th>
<th role="columnheader" scope="col">Created</th></tr></thead>
<tbody role="rowgroup">${rows}</tbody>
</table>`;
}

/** A table within a row of another one, with the same columns. */
function innerTable(rows: readonly Html[]): Html {
  return html`<table class="batches" role="table" aria-label="Child batches">
<tbody role="rowgroup">${rows}</tbody></table>`;
}

interface RowDetails {
  /** The batch is there because of those below it. */
  readonly isContext?: boolean;
  /** What its parent is called, where the row is not below that one's. */
  readonly parentTitle?: string | undefined;
}

function row(paths: Paths, status: BatchStatus, { isContext = false, parentTitle }: RowDetails): Html {
  const { id, state, total, parentId, createdAt, tags } = status;
  const progress = status.jobs ?? status;
  const title = titleOf(status);
  return html`<tr role="row" data-key="${id}"${isContext && html` class="context"`}>
<td role="cell" class="name"><a href="${paths.batch(id)}">${own(title)}</a>${
    title !== id && html`<small><code>${own(id)}</code></small>`
  }${tagLinks(paths, tags)}${
    parentId !== undefined &&
    parentTitle !== undefined &&
    html`<small>child of <a href="${paths.batch(parentId)}">${own(parentTitle)}</a></small>`
  }</td>
<td role="cell">${badge(state)}</td>
<td role="cell" class="progress">${bar(progress, `Progress of ${title}`)}<span
class="percent">${progress.progress} %</span></td>
<td role="cell" class="members">${total === 0 ? 'no members' : settledOf(status)}${troubles(status)}</td>
<td role="cell" class="age">${time(createdAt)}</td>
</tr>`;
}

function troubles({ failed, cancelled, missing }: BatchStatus): Html | false {
  const said = Object.entries({ failed, cancelled, missing }).filter(([, count]) => count > 0);
  return (
    said.length > 0 &&
    html`<small>${said.map(
      ([name, count], i) => html`${i > 0 && ', '}<span class="${name}">${number(count)} ${name}</span>`,
    )}</small>`
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
