import type { BatchExplanation, BatchStatus, BatchTree } from '../../index.js';
import { ACTIONS, isOffered } from './actions.js';
import type { BatchDetails } from './batch-reader.js';
import { failureGroups, groupsBelow } from './failures-view.js';
import { type Html, html } from './html.js';
import type { Page } from './layout.js';
import { badge, bar, breadcrumb, isUnfinished, own, tagLinks, time, titleOf } from './parts.js';
import { ACTION_NAMES, type Paths } from './paths.js';
import { progressCard } from './progress-view.js';
import { stagesView } from './stages-view.js';
import { number, plural } from './text.js';
import { treeView } from './tree-view.js';

interface BatchView extends BatchDetails {
  readonly mayAct: boolean;
  /** What has just been done, in a sentence. */
  readonly message: string | undefined;
}

export function batchPage(paths: Paths, details: BatchView): Page {
  const { status, ancestors, samples, tree, explanation, mayAct, message } = details;
  const title = titleOf(status);
  const jobs = tree !== undefined && tree.children.length > 0 ? tree.jobs : undefined;
  const content = html`
${breadcrumb(paths, ancestors)}
${message !== undefined && html`<p class="message" role="status">${message}</p>`}
<div class="heading"><h1>${own(title)}</h1>${mayAct && actions(paths, status)}</div>
<p class="facts">${badge(status.state)} <code>${own(status.id)}</code>
<a href="${paths.batchJson(status.id)}">as JSON</a> ${tagLinks(paths, status.tags)}</p>
${metadataOf(status)}
${reasons(status)}
${progressCard({ status, samples, jobs, now: Date.now() })}
${stagesView(paths, status)}
${explanation !== 'finished' && explained(paths, explanation, status)}
${tree !== undefined && failedBelow(paths, details, tree)}
${failed(paths, details)}
${tree === undefined ? late('Child batches', TREE_IS_LATE) : below(paths, tree)}
${callbacks(status)}`;
  return { title, content, live: { page: paths.batch(status.id), status: paths.batchJson(status.id) } };
}

const TREE_IS_LATE =
  'The child batches are still being looked for among many members. They appear here when they have been found; ' +
  'reload the page if your browser runs no scripts.';

const REASONS_ARE_LATE =
  'The failures are still being counted by reason. The counts appear here when they are known; reload the page if ' +
  'your browser runs no scripts.';

function actions(paths: Paths, { id, state }: BatchStatus): Html | false {
  const offered = ACTION_NAMES.filter((name) => isOffered(name, state));
  return (
    offered.length > 0 &&
    html`<div class="actions" role="group" aria-label="Actions">${offered.map(
      (name) =>
        html`<a class="button ${name}" data-key="${name}" href="${paths.action(id, name)}">${ACTIONS[name].label}</a>`,
    )}</div>`
  );
}

function metadataOf({ metadata }: BatchStatus): Html | false {
  const text = JSON.stringify(metadata ?? {}, undefined, 2);
  return (
    text !== '{}' &&
    html`<details class="metadata" data-key="metadata"><summary>Metadata</summary>
<pre class="data" tabindex="0" role="region" aria-label="Metadata">${own(text)}</pre></details>`
  );
}

function reasons({ failedReason, cancelReason, abandoned, recovered, state }: BatchStatus): Html {
  const isCancelled = state === 'cancelled';
  return html`${
    failedReason !== undefined &&
    callout(isCancelled ? 'How it ended:' : 'Why it failed:', own(failedReason), isCancelled ? '' : ' failed')
  }
${cancelReason !== undefined && failedReason === undefined && callout('Cancelled:', own(cancelReason))}
${
  abandoned &&
  state !== 'failed' &&
  callout('Abandoned:', 'it was never sealed, and its producer gives no sign of life.')
}
${recovered && callout('Recovered:', 'it had failed, and has succeeded after a retry.')}`;
}

const callout = (heading: string, sentence: Html | string, kind = ''): Html =>
  html`<p class="callout${kind}"><b>${heading}</b> ${sentence}</p>`;

function late(heading: string, sentence: string): Html {
  return html`<section class="card" data-pending><h2>${heading}</h2><p class="meaning">${sentence}</p></section>`;
}

/** A reason without the call that says more: beside it are links to the batches that it is about. */
function withoutCall(reason: string): string {
  return reason.replace(/(?:\. Ask|;) \(await queue\.getBatch\('.*'\)\)\.explain\(\) (?:says )?what holds it/, '');
}

function explained(paths: Paths, explanation: BatchExplanation | undefined, { state }: BatchStatus): Html {
  const heading = isUnfinished(state) ? 'What holds it' : 'What failed afterwards';
  if (explanation === undefined) {
    return late(
      heading,
      'Its many members are still being looked at. The answer appears here when it is known; reload the page if ' +
        'your browser runs no scripts.',
    );
  }
  const { members, children, queues } = explanation;
  return html`<section aria-labelledby="h-explain" data-key="explain" class="card"><h2 id="h-explain">${heading}</h2>
<ul class="reasons">${explanation.reasons.map((reason) => html`<li>${own(withoutCall(reason))}</li>`)}</ul>
${children.flatMap(({ oldest }) => oldest).length > 0 && html`<p>Look at ${links(paths, children)}.</p>`}
${
  members.length + queues.length > 0 &&
  html`<details><summary>Members and queues</summary>
${members.length > 0 && html`<h3>Outstanding members</h3><ul class="plain">${members.map(outstanding)}</ul>`}
${queues.length > 0 && html`<h3>Queues</h3><ul class="plain">${queues.map(queueView)}</ul>`}</details>`
}</section>`;
}

function queueView({ name, workers, paused }: BatchExplanation['queues'][number]): Html {
  const connected = workers === undefined ? 'unknown number of workers' : plural(workers, 'worker');
  return html`<li><b>${own(name)}</b>: ${connected}${paused && ', paused'}</li>`;
}

function links(paths: Paths, children: BatchExplanation['children']): Html[] {
  return children
    .flatMap(({ oldest }) => oldest)
    .map(
      (child, i) =>
        html`${i > 0 && ', '}<a href="${paths.batch(child.id)}">${own(titleOf(child))}</a> (${child.state})`,
    );
}

function outstanding({ queue, state, count, failing, oldest }: BatchExplanation['members'][number]): Html {
  const after = failing > 0 && `, ${number(failing)} after a failed attempt`;
  return html`<li>${number(count)} ${state} in <b>${own(queue)}</b>${after}
<ul>${oldest.map(oldMember)}</ul></li>`;
}

function oldMember(member: BatchExplanation['members'][number]['oldest'][number]): Html {
  const { id, name, timestamp, attemptsMade, failedReason } = member;
  return html`<li><code>${own(id)}</code>${name !== undefined && html` ${own(name)}`}${
    timestamp !== undefined && html`, added ${time(timestamp)}`
  }${attemptsMade > 0 && `, ${plural(attemptsMade, 'attempt')} made`}${
    failedReason !== undefined && html`: ${own(failedReason)}`
  }</li>`;
}

function below(paths: Paths, tree: BatchTree): Html | false {
  const { jobs, children } = tree;
  if (children.length === 0) {
    return false;
  }
  const settled = `${number(jobs.total - jobs.pending)} of ${plural(jobs.total, 'job')} settled`;
  const failures = jobs.failed > 0 && html`, <span class="failed">${number(jobs.failed)} failed</span>`;
  return html`<section aria-labelledby="h-tree" data-key="tree" class="card">
<h2 id="h-tree">Child batches <span class="count">${number(children.length)}</span></h2>
<p class="meaning">With all batches below: ${settled}${failures}.</p>
${bar(jobs, 'Progress of all jobs, with those of the batches below')}
${treeView(paths, tree)}</section>`;
}

/** Of the jobs, whose reasons say more than those of the child batches that failed with them. */
function failedBelow(paths: Paths, { reasonsBelow }: BatchView, { jobs }: BatchTree): Html | false {
  return (
    reasonsBelow !== undefined &&
    reasonsBelow.reasons.length > 0 &&
    html`<section aria-labelledby="h-failed-below" data-key="failed-below" class="card">
<h2 id="h-failed-below">Failed jobs <span class="count">${number(jobs.failed)}</span></h2>
${groupsBelow(paths, reasonsBelow)}</section>`
  );
}

function failed(paths: Paths, { status, reasons, names }: BatchView): Html | false {
  if (status.failed === 0) {
    return false;
  }
  return reasons === undefined
    ? late('Failed members', REASONS_ARE_LATE)
    : html`<section aria-labelledby="h-failures" data-key="failures" class="card">
<h2 id="h-failures">Failed members <span class="count">${number(status.failed)}</span></h2>
${failureGroups(paths, status, reasons, names)}
<p class="all"><a href="${paths.failures(status.id)}">${
        status.failed === 1 ? 'The failure' : `All ${number(status.failed)} failures`
      }</a></p></section>`;
}

function callbacks({ callbacks: all }: BatchStatus): Html | false {
  return (
    all.length > 0 &&
    html`<section aria-labelledby="h-callbacks" data-key="callbacks" class="card"><h2 id="h-callbacks">Callbacks</h2>
<ul class="callbacks">${all.map(
      ({ event, queue, name, jobId, state }) =>
        html`<li data-key="${jobId}"><b>${event}</b> <span>job <b>${own(name)}</b> in queue <b>${own(queue)}</b><small>
<code>${own(jobId)}</code></small></span>
<span class="badge callback-${state}">${state}</span></li>`,
    )}</ul></section>`
  );
}
