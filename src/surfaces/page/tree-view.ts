import type { BatchTree } from '../../index.js';
import { type Html, html } from './html.js';
import { badge, bar, isUnfinished, own, titleOf } from './parts.js';
import type { Paths } from './paths.js';
import { number, plural } from './text.js';

/** How much of a tree is shown. Each batch has a page of its own with the tree below it. */
const MOST_NODES = 500;
const DEEPEST = 12;

/** How many child batches a batch may have for them to be shown without opening it. */
const OPENED_UP_TO = 20;

/** The batches below a batch, level by level so that the limit cuts the deepest ones. */
export function treeView(paths: Paths, root: BatchTree): Html {
  const shown = shownOf(root);
  const hidden = countOf(root) - shown.size;
  const children = root.children.filter((child) => shown.has(child));
  return html`<ul class="tree">${children.map((child) => node(paths, child, shown, 1))}</ul>
${hidden > 0 && html`<p class="meaning">${restOf(shown.size, hidden)}</p>`}`;
}

function restOf(shown: number, hidden: number): string {
  const all = plural(hidden + shown, 'batch', 'batches');
  return `${number(shown)} of ${all} below this one are shown. Open one to see what is below it.`;
}

function shownOf(root: BatchTree): ReadonlySet<BatchTree> {
  const shown = new Set<BatchTree>();
  let level: readonly BatchTree[] = root.children;
  for (let depth = 1; depth <= DEEPEST && level.length > 0; depth++) {
    for (const child of level.slice(0, MOST_NODES - shown.size)) {
      shown.add(child);
    }
    level = level.filter((child) => shown.has(child)).flatMap(({ children }) => children);
  }
  return shown;
}

/** Counts the batches below. No recursion: batches can be nested deeper than the stack allows. */
function countOf(root: BatchTree): number {
  let count = -1;
  for (let level: readonly BatchTree[] = [root]; level.length > 0; level = level.flatMap(({ children }) => children)) {
    count += level.length;
  }
  return count;
}

function node(paths: Paths, tree: BatchTree, shown: ReadonlySet<BatchTree>, depth: number): Html {
  const children = tree.children.filter((child) => shown.has(child));
  const left = tree.children.length - children.length;
  const isOpen = depth <= 2 && isUnfinished(tree.state) && children.length <= OPENED_UP_TO;
  return html`<li data-key="${tree.id}">${summary(paths, tree)}${
    tree.children.length > 0 &&
    html`<details${isOpen && html` open`}>
<summary>${plural(tree.children.length, 'child batch', 'child batches')}</summary>
${children.length > 0 && html`<ul>${children.map((child) => node(paths, child, shown, depth + 1))}</ul>`}
${left > 0 && more(paths, tree.id, left)}</details>`
  }</li>`;
}

function more(paths: Paths, id: string, count: number): Html {
  const link = html`<a href="${paths.batch(id)}">${plural(count, 'more child batch', 'more child batches')}</a>`;
  return html`<p class="meaning">${link}</p>`;
}

function summary(paths: Paths, { id, description, state, jobs, failedReason }: BatchTree): Html {
  const title = titleOf({ id, description });
  const settled = `${number(jobs.total - jobs.pending)} of ${plural(jobs.total, 'job')}`;
  const failures = jobs.failed > 0 && html`, <span class="failed">${number(jobs.failed)} failed</span>`;
  return html`<div class="node"><a class="title" href="${paths.batch(id)}">${own(title)}</a> ${badge(state)}
${bar(jobs, `Jobs of ${title}`)}<span class="members">${settled}${failures}</span>${
    failedReason !== undefined && html`<small class="why">${own(failedReason)}</small>`
  }</div>`;
}
