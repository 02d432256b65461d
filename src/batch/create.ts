import { setTimeout as pause } from 'node:timers/promises';
import type { JobsOptions } from 'bullmq';
import {
  BatchConflictError,
  type BatchError,
  BatchMemberError,
  BatchNotFoundError,
  BatchOptionsError,
  because,
} from '../errors.js';
import {
  type BatchDefinition,
  type BatchEvent,
  DEFAULT_KEEP,
  EVENTS,
  eventsOf,
  openTimeoutOf,
} from '../model/definition.js';
import { policyOf } from '../model/failure-policy.js';
import type { StoredRun, StoredStage } from '../model/workflow.js';
import type { NewJob } from '../record/adding-lua.js';
import { isConnectionError } from '../record/connection-error.js';
import { type BatchCreated, createBatchJob, type PlaceInRun } from '../record/create-batch.js';
import { needsOf } from '../record/needs.js';
import { escapedId } from '../validation.js';
import { type BatchContext, checkNotBatches, type QueueContext } from './batch-context.js';
import type { BatchOptions } from './batch-options.js';
import { storeCallbacks } from './callbacks.js';
import { refuseCallbacksElsewhere } from './callbacks-elsewhere.js';
import { type FirstMembers, firstMembers, type MembersToBe } from './first-members.js';
import { newBatchId, newNonce } from './ids.js';
import { newEntry, newJob, withoutCopies, withTrace } from './member-jobs.js';
import { type BatchAccess, refusal, reportFailed, takenError } from './members.js';
import { otherQueue } from './other-queue.js';
import type { QueueLike } from './queue-like.js';
import { removeBatch } from './remove.js';
import { revive } from './retry.js';
import { startTrace } from './trace.js';

/** Options of the batch job. After an error of the infrastructure its step is tried again for as long as it takes. */
const STEP_OPTIONS = {
  attempts: 1_000_000_000,
  backoff: { type: 'fixed', delay: 1000 },
  stackTraceLimit: 3,
  ignoreDependencyOnFailure: true,
} satisfies JobsOptions;

/** What a batch job does before it waits for its members: a run begins its stages, a stage is filled with members. */
export type Preparation = 'begin' | 'fill';

/**
 * An option of the batch job: BullMQ keeps those that it does not know, and people do not edit them as they do data.
 */
const PREPARATION = 'batchPreparation';

/** Returns what a batch job has to do before it waits for its members; undefined for an ordinary batch. */
export function preparationOf({ opts }: { readonly opts: object }): Preparation | undefined {
  return (opts as { readonly [PREPARATION]?: Preparation })[PREPARATION];
}

/** What a batch is in a workflow: a run of it, a stage of a run, or, a workflow as a stage of another, both. */
export interface WorkflowPart {
  readonly run?: StoredRun;
  readonly stage?: StoredStage;
  readonly place: PlaceInRun;
  readonly preparation?: Preparation | undefined;
}

/** A batch as it is stored. */
export interface DefinedBatch {
  readonly definition: BatchDefinition;
  readonly created: boolean;
  /** Whether it was created with all of its members, and sealed. */
  readonly isFilled: boolean;
}

/** Creates the batch, or finds the one that has this id, in one atomic step. */
export async function defineBatch(
  context: QueueContext,
  options: BatchOptions,
  parent: BatchAccess | undefined,
  members: MembersToBe | undefined,
  part?: WorkflowPart,
): Promise<DefinedBatch> {
  const untraced = definitionOf(context, options, parent, part);
  const { ifExists = 'join', deadline } = options;
  if (ifExists === 'replace' && parent !== undefined) {
    throw new BatchOptionsError(
      `ifExists: 'replace' is not for a child batch: batch '${parent.batch.id}' would count the one before as missing.`,
    );
  }
  await refuseCallbacksElsewhere(context, Object.values(options.on ?? {}).flat());
  const first = await firstMembers(context, untraced, members);
  return startTrace(context.telemetry, untraced.id, async (trace) => {
    const definition = { ...untraced, trace };
    const deadlineIn = typeof deadline === 'number' ? deadline : undefined;
    const stored = await storeOnConflict(ifExists, { context, definition, parent, deadlineIn, first, part });
    const created = stored.nonce === definition.nonce;
    return {
      definition: agree(definition.id, stored, definition),
      created,
      isFilled: created && first.entries.length > 0,
    };
  });
}

function definitionOf(
  context: QueueContext,
  options: BatchOptions,
  parent: BatchAccess | undefined,
  part: WorkflowPart | undefined,
): BatchDefinition {
  const { own } = context;
  const { id, description, on, jobOptions, openTimeout, keep, onFailure, metadata, tags, deadline } = options;
  checkNotBatches(own.name, context.batches.name);
  return {
    id: id === undefined ? newBatchId() : escapedId(id),
    description,
    parentId: parent?.batch.id,
    queue: own.name,
    on: storeCallbacks(on, context),
    policy: policyOf(onFailure),
    jobOptions: jobOptions as JobsOptions | undefined,
    openTimeout,
    keep: keepOf(keep),
    metadata,
    tags: tags && [...new Set(tags)],
    deadline: typeof deadline === 'number' ? Date.now() + deadline : deadline?.getTime(),
    run: part?.run,
    stage: part?.stage,
    nonce: newNonce(),
  };
}

/** A batch that only says what becomes of its members' jobs is kept for as long as others. */
function keepOf(keep: BatchOptions['keep']): BatchDefinition['keep'] {
  const isForDefaultTime = keep !== undefined && keep.age === undefined && keep.count === undefined;
  return isForDefaultTime ? { ...keep, ...DEFAULT_KEEP } : keep;
}

/** The definition to store, with its parent and the handle's queue. */
interface Wanted {
  readonly context: QueueContext;
  readonly definition: BatchDefinition;
  readonly parent: BatchAccess | undefined;
  /** The deadline in ms from now, by Redis's clock; undefined where a Date was given, or none. */
  readonly deadlineIn: number | undefined;
  /** The members that it is created with, if that can be one step. */
  readonly first: FirstMembers;
  readonly part: WorkflowPart | undefined;
}

/**
 * Stores the batch. When there is one with this id, that one is returned (`join`), refused (`reject`), or removed first
 * (`replace`).
 */
async function storeOnConflict(
  ifExists: NonNullable<BatchOptions['ifExists']>,
  wanted: Wanted,
): Promise<BatchDefinition> {
  const { context, definition } = wanted;
  for (;;) {
    const stored = await store(wanted);
    if (stored.nonce === definition.nonce || ifExists === 'join') {
      return stored;
    }
    if (ifExists === 'reject') {
      throw new BatchConflictError(`Batch '${stored.id}' exists. Use another id, or ifExists: 'join' or 'replace'.`, {
        batchId: stored.id,
      });
    }
    // Bound to the life that was found: when another caller is faster, the next batch with the id is judged again.
    await removeBatch(context, stored, { members: true, force: true }).catch((error: unknown) => {
      if (!(error instanceof BatchNotFoundError)) {
        throw error;
      }
    });
  }
}

/** Stores the batch, unless there is one with this id. Returns the definition of the batch that has the id then. */
async function store(wanted: Wanted): Promise<BatchDefinition> {
  const { context, definition, parent, deadlineIn, first, part } = wanted;
  const { members, entries, isFresh } = first;
  for (let tries = 0; ; tries++) {
    const created = await createBatchJob(context.redis, definition, {
      batchJob: batchEntry(context, wanted),
      needs: [
        ...needsOf(eventsOf(definition.on), definition.policy),
        ...(definition.deadline === undefined ? [] : ['deadline' as const]),
        ...(definition.run === undefined ? [] : ['stages' as const]),
      ],
      deadlineIn,
      parent: parent && { ...parent.batch, links: parent.links },
      members: entries,
      isFresh,
      place: part?.place,
    }).catch((cause: unknown) => {
      throw notCreated(definition.id, cause);
    });
    if ('definition' in created) {
      if (created.isParentToBeRevived && parent !== undefined) {
        await revive(context, parent.batch.id);
      }
      if (created.filled?.failed !== undefined) {
        // With only a part of its members it must not call back.
        await removeBatch(context, definition, { force: true, members: true }).catch(() => {});
        reportFailed(definition.id, created.filled.failed, members);
      }
      return created.definition;
    }
    if ('taken' in created) {
      throw takenError(definition.id, members, created.taken);
    }
    if ('keptElsewhere' in created) {
      throw otherQueue('withBatches()', context.redis, created.keptElsewhere);
    }
    if ('error' in created) {
      throw notCreated(definition.id, new Error(created.error));
    }
    if (created.refused !== 'being removed' || tries >= REMOVAL_TRIES) {
      throw refusedBatch(definition.id, created.refused, parent);
    }
    await pause(REMOVAL_CHECK_MS);
  }
}

/**
 * How often, and after how many ms, creating a batch is tried again while an earlier batch with its id is being
 * removed.
 */
const REMOVAL_TRIES = 100;
const REMOVAL_CHECK_MS = 50;

function refusedBatch(
  batchId: string,
  refused: Extract<BatchCreated, { refused: unknown }>['refused'],
  parent: BatchAccess | undefined,
): BatchError {
  switch (refused) {
    case 'being removed':
      return new BatchConflictError(
        `Batch '${batchId}' is still being removed: create it again in a moment, or use another id.`,
        { batchId },
      );
    case 'taken':
      return new BatchConflictError(
        `A job with the id '${batchId}' that is no batch is in the queue of the batches. Use another id, or remove ` +
          'that job.',
        { batchId },
      );
    case 'used':
      return new BatchConflictError(
        `Batch '${batchId}' was a member of batch '${parent?.batch.id}' before, and has been removed: its outcome is ` +
          'counted there. Use another id.',
        { batchId },
      );
    default:
      return refusal(parent?.batch.id ?? batchId, refused);
  }
}

/**
 * Returns the batch job as BullMQ adds it: delayed, because an open batch is a delayed job; one that has its members
 * waits for them at once.
 */
function batchEntry(context: BatchContext, { definition, parent, first, part }: Wanted): NewJob {
  const isFilled = first.entries.length > 0;
  const preparation = part?.preparation;
  const { id, description, queue } = definition;
  const batches = { queue: context.batches as unknown as QueueLike };
  const job = newJob(batches, description ?? `batch of ${queue}`, definition, {
    ...withTrace(STEP_OPTIONS, definition.trace),
    ...(preparation && { [PREPARATION]: preparation }),
    jobId: id,
    ...(isFilled ? {} : { delay: openTimeoutOf(definition) }),
    ...(parent && { parent: { id: parent.batch.id, queue: context.batches.qualifiedName } }),
  });
  const options = { queue: context.batches.name, id, kind: 'batch', isParent: isFilled };
  return newEntry(context, withoutCopies(job), options, 'of the batch', { batchId: id, jobIds: [id] });
}

function notCreated(batchId: string, cause: unknown): BatchMemberError {
  return new BatchMemberError(
    isConnectionError(cause)
      ? `It is not known whether batch '${batchId}' was created: ${because(cause)}. Create it again with the same id.`
      : `Batch '${batchId}' was not created: ${because(cause)}.`,
    { batchId, jobIds: [batchId], cause },
  );
}

/**
 * Returns the existing batch if it has the wanted parent and callbacks.
 *
 * @throws BatchConflictError otherwise.
 */
function agree(batchId: string, existing: BatchDefinition, wanted: BatchDefinition): BatchDefinition {
  if (existing.parentId !== wanted.parentId) {
    throw differs(batchId, `with ${parentName(existing)}`, `with ${parentName(wanted)}`);
  }
  if (shapeOf(existing) !== shapeOf(wanted)) {
    throw differs(batchId, `as ${shapeOf(existing)}`, `as ${shapeOf(wanted)}`);
  }
  for (const event of EVENTS) {
    const [before, now] = [callbackNames(existing, event), callbackNames(wanted, event)];
    if (before !== now) {
      throw differs(batchId, `with the ${event} callbacks [${before}]`, `with [${now}]`);
    }
  }
  return existing;
}

function differs(batchId: string, before: string, now: string): BatchConflictError {
  return new BatchConflictError(
    `Batch '${batchId}' exists ${before}, and was now asked for ${now}. Use another id, or getBatch('${batchId}').`,
    { batchId },
  );
}

/** The callbacks that the batch was created with, in words. */
function callbackNames({ on }: BatchDefinition, event: BatchEvent): string {
  const created = (on[event] ?? []).filter(({ late }) => !late);
  return created.map(({ queue, name }) => `${queue}/${name}`).join(', ');
}

/** What a batch is in a workflow, in words. */
function shapeOf({ run, stage }: BatchDefinition): string {
  const asStage = stage && `the stage '${stage.name}'`;
  const asRun = run && `a run of '${run.workflow}' with the stages ${run.stages.join(', ')}`;
  return [asStage, asRun].filter(Boolean).join(', ') || 'a batch without a workflow';
}

function parentName({ parentId }: BatchDefinition): string {
  return parentId === undefined ? 'no parent' : `the parent '${parentId}'`;
}
