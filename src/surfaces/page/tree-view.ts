import type { BatchTree } from '../../index.js';
import { type Html, html } from './html.js';
import { badge, bar, isUnfinished, own, titleOf } from './parts.js';
import type { Paths } from './paths.js';
import { number, plural } from './text.js';

/** More is not read by anybody, and each batch has a page with the tree below itself. */
const MOST_NODES = 500;
const DEEPEST = 12;

/** Up to so many child batches of a batch are to be seen without opening it. */
const OPENED_UP_TO = 20;

/** The batches below a batch, level by level so that the limit cuts the deepest ones. */
export function treeView(paths: Paths, root: BatchTree): Html {
  const shown = shownOf(root);
  const hidden = countOf(root) - shown.size;
  return html`<ul class="tree">${root.children.filter((child) => shown.has(child)).map((child) => node(paths, child, shown, 1))}</ul>
${hidden > 0 && html`<p class="meaning">${number(shown.size)} of ${plural(hidden + shown.size, 'batch', 'batches')} below this one are shown. Open one to see what is below it.</p>`}`;
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

/** Without recursion: batches can be nested deeper than the stack is. */
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
  const below = html`${children.length > 0 && html`<ul>${children.map((child) => node(paths, child, shown, depth + 1))}</ul>`}
${left > 0 && html`<p class="meaning"><a href="${paths.batch(tree.id)}">${plural(left, 'more child batch', 'more child batches')}</a></p>`}`;
  const isOpen = depth <= 2 && isUnfinished(tree.state) && children.length <= OPENED_UP_TO;
  return html`<li data-key="${tree.id}">${summary(paths, tree)}${
    tree.children.length > 0 &&
    html`<details${isOpen && html` open`}><summary>${plural(tree.children.length, 'child batch', 'child batches')}</summary>${below}</details>`
  }</li>`;
}

function summary(paths: Paths, { id, description, state, jobs, failedReason }: BatchTree): Html {
  const title = titleOf({ id, description });
  return html`<div class="node"><a class="title" href="${paths.batch(id)}">${own(title)}</a> ${badge(state)}
${bar(jobs, `Jobs of ${title}`)}<span class="members">${number(jobs.total - jobs.pending)} of ${plural(jobs.total, 'job')}${
    jobs.failed > 0 && html`, <span class="failed">${number(jobs.failed)} failed</span>`
  }</span>${failedReason !== undefined && html`<small class="why">${own(failedReason)}</small>`}</div>`;
}
