import { BatchNotFoundError } from '../errors.js';
import type { BatchEvent, StoredCallback } from '../model/definition.js';
import type { BatchLife } from '../record/add-members.js';
import { needMaintenance } from '../record/amend.js';
import { changeDefinition } from '../record/change-definition.js';
import { outstandingChildren } from '../record/children.js';
import { needsOf } from '../record/needs.js';
import type { BatchContext } from './batch-context.js';
import { enqueueDue } from './enqueue.js';
import { newNonce } from './ids.js';

/**
 * Registers one more callback. Once it is stored, any process that sees its event enqueues it. If the event is past,
 * this process enqueues it now, and maintenance does so if this process dies before.
 */
export async function addCallback(
  context: BatchContext,
  batch: BatchLife,
  event: BatchEvent,
  callback: StoredCallback,
): Promise<void> {
  const batchId = batch.id;
  const late = newNonce();
  const needs = ['callbacks', ...needsOf([event], undefined)] as const;
  const isThere = await changeDefinition(context.redis, batch, needs, (definition) => {
    const registered = definition.on[event] ?? [];
    return registered.some((other) => other.late === late)
      ? definition
      : { ...definition, on: { ...definition.on, [event]: [...registered, { ...callback, late }] } };
  });
  if (!isThere) {
    throw new BatchNotFoundError(batchId);
  }
  if (event === 'death') {
    await watchChildren(context, batchId);
  }
  // An error is not thrown here: the callback is registered, so maintenance will enqueue it, and a caller that tried
  // again would register it a second time.
  await enqueueDue(context, batchId, event).catch(() => {});
}

/**
 * Makes the unfinished child batches announce their first failure upwards: those that were created before their parent
 * waited for one do not do so yet.
 */
async function watchChildren(context: BatchContext, batchId: string, seen = new Set([batchId])): Promise<void> {
  for await (const child of outstandingChildren(context.redis, batchId)) {
    if (!seen.has(child)) {
      await needMaintenance(context.redis, child, ['death']);
      await watchChildren(context, child, seen.add(child));
    }
  }
}
