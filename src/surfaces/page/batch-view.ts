import type { BatchExplanation, BatchFailuresPage, BatchStatus, BatchTree } from '../../index.js';
import { ACTION_NAMES, ACTIONS, isOffered } from './actions.js';
import { failureList, type Names } from './failures-view.js';
import { type Html, html } from './html.js';
import type { Page } from './layout.js';
import { badge, bar, isUnfinished, own, PARTS, time, titleOf } from './parts.js';
import type { Paths } from './paths.js';
import { stagesView } from './stages-view.js';
import { duration, number, plural, rate, timeLeft } from './text.js';
import { treeView } from './tree-view.js';

/** A batch as its page shows it. `undefined`: it takes long to read, and is not there yet. */
export interface BatchDetails {
  readonly status: BatchStatus;
  readonly tree: BatchTree | undefined;
  /** `finished`: there is nothing to explain. */
  readonly explanation: BatchExplanation | 'finished' | undefined;
  readonly failures: BatchFailuresPage;
  /** What the child batches among the failures are called, by id. */
  readonly names: Names;
  readonly mayAct: boolean;
  /** What has just been done, in a sentence. */
  readonly message: string | undefined;
}

export const FAILURES_SHOWN = 5;

export function batchPage(paths: Paths, details: BatchDetails): Page {
  const { status, tree, explanation, failures, names, mayAct, message } = details;
  const title = titleOf(status);
  const content = html`
<nav aria-label="Breadcrumb" class="crumbs"><a href="${paths.list()}">Batches</a>${
    status.parentId !== undefined &&
    html` <span aria-hidden="true">/</span> <a href="${paths.batch(status.parentId)}">${own(status.parentId)}</a>`
  }</nav>
${message !== undefined && html`<p class="message" role="status">${message}</p>`}
<div class="heading"><h1>${own(title)}</h1>${mayAct && actions(paths, status)}</div>
<p class="facts">${badge(status.state)} <code>${own(status.id)}</code>
<a href="${paths.batchJson(status.id)}">as JSON</a></p>
${reasons(status)}
${progress(status, tree)}
${stagesView(paths, status)}
${explanation !== 'finished' && explained(paths, explanation, status)}
${tree === undefined ? late('Child batches', 'The child batches are still being looked for among many members. They appear here when they have been found; reload the page if your browser runs no scripts.') : below(paths, tree)}
${failed(paths, status, failures, names)}
${callbacks(status)}`;
  return { title, content, live: { page: paths.batch(status.id), status: paths.batchJson(status.id) } };
}

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

function reasons({ failedReason, cancelReason, abandoned, recovered, state }: BatchStatus): Html {
  const isCancelled = state === 'cancelled';
  return html`${
    failedReason !== undefined &&
    html`<p class="callout${!isCancelled && ' failed'}"><b>${isCancelled ? 'How it ended:' : 'Why it failed:'}</b> ${own(failedReason)}</p>`
  }
${cancelReason !== undefined && failedReason === undefined && html`<p class="callout"><b>Cancelled:</b> ${own(cancelReason)}</p>`}
${abandoned && state !== 'failed' && html`<p class="callout"><b>Abandoned:</b> it was never sealed, and its producer gives no sign of life.</p>`}
${recovered && html`<p class="callout"><b>Recovered:</b> it had failed, and has succeeded after a retry.</p>`}`;
}

function progress(status: BatchStatus, tree: BatchTree | undefined): Html {
  const pace = paceOf(status, tree);
  const { total, createdAt, sealedAt, completedAt, finishedAt, state } = status;
  return html`<section aria-labelledby="h-progress" class="card" data-progress
data-created="${createdAt}" data-state="${state}"${
    pace.hasJobsBelow && html` data-jobs-settled="${pace.settled}" data-jobs-pending="${pace.pending}"`
  }>
<h2 id="h-progress"><span class="unseen">Progress: </span><span data-n="progress">${status.progress}</span> %</h2>
${bar(status, 'Progress')}
<ul class="legend">${PARTS.map(
    (part) =>
      html`<li class="${part}${status[part] === 0 && ' none'}" data-part="${part}"><b data-n="${part}">${number(status[part])}</b> ${part}</li>`,
  )}<li class="total"><b data-n="total">${number(total)}</b> ${total === 1 ? 'member' : 'members'} in all</li></ul>
<dl>
<div><dt>Throughput</dt><dd data-rate>${throughput(pace)}</dd></div>
<div${state !== 'running' && html` hidden`} data-left-row><dt>Time left</dt><dd data-left>${left(pace)}</dd></div>
<div><dt>Created</dt><dd>${time(createdAt)}</dd></div>
<div><dt>Sealed</dt><dd>${sealedAt === undefined ? 'not yet' : time(sealedAt)}</dd></div>
${completedAt !== undefined && status.pending === 0 && html`<div><dt>Members settled</dt><dd>${time(completedAt)}</dd></div>`}
${finishedAt !== undefined && html`<div><dt>Finished</dt><dd>${time(finishedAt)}</dd></div>`}
<div><dt>${isUnfinished(state) ? 'Took so far' : 'Took'}</dt><dd>${duration((finishedAt ?? Date.now()) - createdAt)}</dd></div>
</dl>
</section>`;
}

/**
 * How fast a batch goes. With child batches it is the jobs below that tell: a child counts as one member, and only when
 * it ends.
 */
interface Pace {
  readonly settled: number;
  readonly pending: number;
  /** Over all the time since it was created: the script of the page says what it has been lately. */
  readonly perSecond: number;
  readonly hasJobsBelow: boolean;
}

function paceOf(status: BatchStatus, tree: BatchTree | undefined): Pace {
  const hasJobsBelow = tree !== undefined && tree.children.length > 0;
  const { succeeded, failed, pending } = hasJobsBelow ? tree.jobs : status;
  const until = status.completedAt ?? status.finishedAt ?? Date.now();
  // Those that were cancelled, or vanished, were not worked off.
  const settled = succeeded + failed;
  return { settled, pending, perSecond: (1000 * settled) / Math.max(1, until - status.createdAt), hasJobsBelow };
}

function throughput({ settled, perSecond, hasJobsBelow }: Pace): string {
  return settled === 0
    ? 'nothing worked off yet'
    : `${rate(perSecond)}${hasJobsBelow ? ', with the jobs of child batches,' : ','} on average`;
}

/** Fewer tell nothing about the others. */
const ENOUGH = 5;

function left({ settled, pending, perSecond }: Pace): string {
  return settled < ENOUGH ? 'too early to say' : timeLeft((1000 * pending) / perSecond);
}

function late(heading: string, sentence: string): Html {
  return html`<section class="card" data-pending><h2>${heading}</h2><p class="meaning">${sentence}</p></section>`;
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
  return html`<section aria-labelledby="h-explain" class="card"><h2 id="h-explain">${heading}</h2>
<ul class="reasons">${explanation.reasons.map((reason) => html`<li>${own(reason)}</li>`)}</ul>
${children.flatMap(({ oldest }) => oldest).length > 0 && html`<p>Look at ${links(paths, children)}.</p>`}
${
  members.length + queues.length > 0 &&
  html`<details><summary>Members and queues</summary>
${members.length > 0 && html`<h3>Outstanding members</h3><ul class="plain">${members.map(outstanding)}</ul>`}
${
  queues.length > 0 &&
  html`<h3>Queues</h3><ul class="plain">${queues.map(
    ({ name, workers, paused }) =>
      html`<li><b>${own(name)}</b>: ${workers === undefined ? 'unknown number of workers' : plural(workers, 'worker')}${paused && ', paused'}</li>`,
  )}</ul>`
}</details>`
}</section>`;
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
  return html`<li>${number(count)} ${state} in <b>${own(queue)}</b>${failing > 0 && `, ${number(failing)} after a failed attempt`}
<ul>${oldest.map(
    ({ id, name, timestamp, attemptsMade, failedReason }) =>
      html`<li><code>${own(id)}</code>${name !== undefined && html` ${own(name)}`}${
        timestamp !== undefined && html`, added ${time(timestamp)}`
      }${attemptsMade > 0 && `, ${plural(attemptsMade, 'attempt')} made`}${failedReason !== undefined && html`: ${own(failedReason)}`}</li>`,
  )}</ul></li>`;
}

function below(paths: Paths, tree: BatchTree): Html | false {
  const { jobs, children } = tree;
  return (
    children.length > 0 &&
    html`<section aria-labelledby="h-tree" class="card"><h2 id="h-tree">Child batches <span class="count">${number(children.length)}</span></h2>
<p class="meaning">With all batches below: ${number(jobs.total - jobs.pending)} of ${plural(jobs.total, 'job')} settled${
      jobs.failed > 0 && html`, <span class="failed">${number(jobs.failed)} failed</span>`
    }.</p>
${bar(jobs, 'Progress of all jobs, with those of the batches below')}
${treeView(paths, tree)}</section>`
  );
}

function failed(paths: Paths, status: BatchStatus, { failures }: BatchFailuresPage, names: Names): Html | false {
  const shown = failures.slice(0, FAILURES_SHOWN);
  return (
    shown.length > 0 &&
    html`<section aria-labelledby="h-failures" class="card"><h2 id="h-failures">Failures <span class="count">${number(status.failed)}</span></h2>
${failureList(paths, shown, names)}
${status.failed > shown.length && html`<p class="all"><a href="${paths.failures(status.id)}">All ${number(status.failed)} failures</a></p>`}</section>`
  );
}

function callbacks({ callbacks: all }: BatchStatus): Html | false {
  return (
    all.length > 0 &&
    html`<section aria-labelledby="h-callbacks" class="card"><h2 id="h-callbacks">Callbacks</h2>
<ul class="callbacks">${all.map(
      ({ event, queue, name, jobId, state }) =>
        html`<li data-key="${jobId}"><b>${event}</b> <span>job <b>${own(name)}</b> in queue <b>${own(queue)}</b><small><code>${own(jobId)}</code></small></span>
<span class="badge callback-${state}">${state}</span></li>`,
    )}</ul></section>`
  );
}
