import type { BatchStatus } from '../../index.js';
import { ACTIONS } from './actions.js';
import type { Ancestor } from './ancestors.js';
import { html } from './html.js';
import type { Page } from './layout.js';
import { badge, breadcrumb, own, titleOf } from './parts.js';
import type { ActionName, Paths } from './paths.js';

/** A page that says one thing, mostly what did not work. */
export function messagePage(paths: Paths, heading: string, sentence: string, batchId?: string): Page {
  return {
    title: heading,
    content: html`<h1>${heading}</h1><p class="sentence">${own(sentence)}</p>
<p>${batchId !== undefined && html`<a class="button" href="${paths.batch(batchId)}">Back to the batch</a> `}
<a class="button" href="${paths.list()}">All batches</a></p>`,
  };
}

interface Confirmation {
  readonly action: ActionName;
  readonly status: BatchStatus;
  /** The batches above it, outermost first. */
  readonly ancestors: readonly Ancestor[];
}

/** Asks before anything is done; it is a page, so that it works without a script. */
export function confirmPage(paths: Paths, { action, status, ancestors }: Confirmation): Page {
  const { question, consequence, confirm, asksForReason } = ACTIONS[action];
  const title = titleOf(status);
  return {
    title: `${question} ${title}`,
    content: html`
${breadcrumb(paths, [...ancestors, { id: status.id, title }])}
<h1>${question}</h1>
<form class="card confirm" method="post" action="${paths.action(status.id, action)}">
<p class="which"><b>${own(title)}</b> ${badge(status.state)}</p>
<p>${consequence(status)}</p>
${
  asksForReason &&
  html`<p><label for="reason">Reason (optional; it is kept with the batch, and told to its callbacks)</label>
<input id="reason" name="reason" maxlength="500" autocomplete="off"></p>`
}
<p class="actions"><button class="button primary ${action}">${confirm}</button>
<a class="button" href="${paths.batch(status.id)}">Back</a></p>
</form>`,
  };
}
