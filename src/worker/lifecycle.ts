import { DelayedError, type Job, UnrecoverableError, WaitingChildrenError } from 'bullmq';
import type { BatchContext } from '../batch/batch-context.js';
import { reportCancel } from '../batch/cancel.js';
import { preparationOf } from '../batch/create.js';
import { announceDeath } from '../batch/death.js';
import { enqueueCallbacks, prepareCallbacks } from '../batch/enqueue.js';
import { refreshRow, writeRow } from '../batch/row.js';
import { type BatchStatus, statusOf } from '../batch/status.js';
import { BatchError } from '../errors.js';
import { isFailedByCancel, nextStep, type Step } from '../model/rules.js';
import type { Snapshot } from '../model/snapshot.js';
import type { Outcome } from '../model/workflow.js';
import { type Decision, decide, type PreparedCallbacks } from '../record/decide.js';
import { wakeIfClosed } from '../record/seal.js';
import { fill } from '../workflow/fill.js';
import { begin, releaseNext } from '../workflow/release.js';

/** How long, in ms, to wait for a stage that another BatchWorker is just ending. */
const BUSY_STAGE_MS = 100;

/**
 * After how many ms to look again at a batch that waits for a callback that was detached from it by hand: the end of
 * such a callback does not wake the batch job.
 */
const DETACHED_CHECK_MS = 1000;

/**
 * Runs one batch job as far as it can go now: this is the processor of the queue that holds the batches.
 *
 * Each run, and each turn of its loop, starts from what Redis says and stores no step of its own. A BatchWorker may
 * therefore be killed between any two commands: the next one recomputes. Waiting for the dependencies comes first, so
 * that a member that was added or retried after an earlier decision counts.
 */
export async function runBatchJob(context: BatchContext, job: Job, token: string): Promise<BatchStatus> {
  const batchId = job.id ?? '';
  await prepare(context, job, token);
  let previous: Step['kind'] | undefined;
  let prepared = job.attemptsStarted === 1 ? prepareCallbacks(context, job) : undefined;
  for (;;) {
    const decision = await decideHeld(context, job, token, prepared);
    prepared = undefined;
    if (decision === 'waiting') {
      await waitForChildren(job, token);
      continue;
    }
    const { snapshot } = decision;
    const step = nextStep(snapshot);
    switch (step.kind) {
      case 'await seal':
        return backToOpen(context, job, token, snapshot.openFor);
      case 'await members':
      case 'await callbacks':
        if (previous === step.kind) {
          await runAgainIn(job, token, DETACHED_CHECK_MS);
        }
        break;
      case 'announce death':
        await announceDeath(context, batchId);
        break;
      case 'enqueue':
        // The move is sent together with the callbacks. If they are not enqueued, nothing is outstanding, and the batch
        // does not wait; if they come after the move, they find that the lock is gone.
        await Promise.all([enqueueCallbacks(context, snapshot, step.due, token), waitForChildren(job, token)]);
        break;
      case 'succeed':
      case 'skip': {
        if (!(await release(context, job, decision, step.kind === 'skip' ? 'skipped' : 'succeeded', token))) {
          break;
        }
        const finished = ended(snapshot, 'completed');
        await writeLastRow(context, finished, token);
        return statusOf(finished);
      }
      case 'fail':
        if (!(await release(context, job, decision, 'failed', token))) {
          break;
        }
        if (isFailedByCancel(snapshot) && !(await reportCancel(context, snapshot.definition))) {
          throw new RemovedMeanwhileError(batchId);
        }
        await writeLastRow(context, { ...ended(snapshot, 'failed'), failedReason: step.reason }, token);
        throw new BatchFailedError(step.reason);
    }
    previous = step.kind;
  }
}

/** Starts the first stages of a run, or adds the members of a stage, before its batch job waits for them. */
async function prepare(context: BatchContext, job: Job, token: string): Promise<void> {
  const batchId = job.id ?? '';
  switch (preparationOf(job)) {
    case 'begin': {
      const begun = await begin(context, batchId, token);
      if (begun === 'busy') {
        await runAgainIn(job, token, BUSY_STAGE_MS);
      } else if (typeof begun === 'object') {
        await backToOpen(context, job, token, begun.openFor);
      }
      break;
    }
    case 'fill':
      if ((await fill(context, batchId)) === 'more') {
        await runAgainIn(job, token, 0);
      }
  }
}

/**
 * Starts the stages that come after one that ends; does nothing for any other batch.
 *
 * @returns false when the batch has changed since the decision, and is to be judged afresh.
 */
async function release(
  context: BatchContext,
  job: Job,
  decision: Decision,
  outcome: Outcome,
  token: string,
): Promise<boolean> {
  if (decision.snapshot.definition.stage === undefined) {
    return true;
  }
  const released = await releaseNext(context, decision, outcome, token);
  if (released === 'busy') {
    await runAgainIn(job, token, BUSY_STAGE_MS);
  }
  return released === 'started';
}

/** Ends the run; the batch job runs again after `ms`. */
async function runAgainIn(job: Job, token: string, ms: number): Promise<never> {
  await job.moveToDelayed(Date.now() + ms, token);
  throw new DelayedError();
}

/**
 * Shows BullMQ's worker that the job was moved. It is one for all runs, because making its stack would cost more than
 * the move.
 */
const WAITING = new WaitingChildrenError();

/** Ends the run if anything is outstanding. Maintenance brings the row of a batch that waits up to date. */
async function waitForChildren(job: Job, token: string): Promise<void> {
  if (await job.moveToWaitingChildren(token)) {
    throw WAITING;
  }
}

/** Ignores that a move was refused which was sent before it was known whether it would be needed. */
function throwIfMoved(error: unknown): void {
  if (error === WAITING) {
    throw error;
  }
}

/**
 * Runs the decide step, which enqueues the prepared callbacks if everything has gone well. The move that has to follow
 * then is sent together with it: if nothing is outstanding, it does nothing, or is refused.
 */
async function decideHeld(
  context: BatchContext,
  job: Job,
  token: string,
  prepared: PreparedCallbacks | undefined,
): Promise<Decision | 'waiting'> {
  const batchId = job.id ?? '';
  const [decision] = await Promise.all([
    decide(context.redis, batchId, token, prepared),
    prepared && waitForChildren(job, token).catch(throwIfMoved),
  ]);
  switch (decision) {
    case 'no batch':
      throw new NoBatchError(job);
    case 'lock lost':
      throw new BatchError(
        `Batch '${batchId}' is not this BatchWorker's to run any more; another one goes on with it.`,
        { batchId },
      );
    case undefined:
      throw new RemovedMeanwhileError(batchId);
    default:
      return decision;
  }
}

/**
 * Ends the batch job of a batch that has failed. The reason takes the place of the stack: people read it, and the place
 * in this code would tell them nothing.
 */
export class BatchFailedError extends UnrecoverableError {
  constructor(reason: string) {
    super(reason);
    this.stack = reason;
  }
}

/** Releases the batch job's lock so that the removal can go on. Not reported as an error. */
export class RemovedMeanwhileError extends BatchError {
  constructor(batchId: string) {
    super(`Batch '${batchId}' is being removed: there is nothing left to do for it.`, { batchId });
  }
}

/**
 * Fails a job that is a copy of a batch job, or what is left of one, which would otherwise be tried for ever. BullMQ
 * makes a hash without a name for a job whose keys are gone when a worker takes its id.
 */
class NoBatchError extends UnrecoverableError {
  constructor({ id, name, queueName }: Job) {
    super(
      name === undefined
        ? `The data of batch '${id}' has vanished from Redis: its keys were deleted, or evicted for want of memory. ` +
            'Its callbacks cannot run any more. Create the batch again, and set maxmemory-policy to noeviction.'
        : `Job '${id}' in the queue '${queueName}' is no batch: it was added, or copied, by hand. Batches are ` +
            'created with createBatch() or addBatch().',
    );
    this.name = 'NoBatchError';
    this.stack = this.message;
  }
}

/**
 * Ends the run; the batch job of an open batch is put back to waiting for its seal. A producer that seals or cancels
 * between the look at the batch and this move finds the batch job active, and does not wake it. Therefore the batch is
 * looked at once more after the move.
 */
async function backToOpen(context: BatchContext, job: Job, token: string, openFor: number): Promise<never> {
  await job.moveToDelayed(Date.now() + openFor, token);
  await wakeIfClosed(context.redis, job.id ?? '');
  throw new DelayedError();
}

/**
 * Returns the snapshot as it will be when the batch job has ended: it becomes the return value, which the parent's
 * `results()` and people read.
 */
function ended(snapshot: Snapshot, how: 'completed' | 'failed'): Snapshot {
  return { ...snapshot, ended: how, finishedAt: Date.now() };
}

/**
 * Writes the row of a batch that ends. For a batch without child batches this does not wait for the reply: the command
 * is sent just before the one that ends the batch job. It may be run after that one, when Redis did not know the script
 * and it had to be sent again: then the lock is gone, nothing is written, and refreshRow() writes the row from a new
 * snapshot. An error must not keep the batch from ending.
 */
async function writeLastRow(context: BatchContext, snapshot: Snapshot, token: string): Promise<void> {
  const { id } = snapshot.definition;
  const row = writeRow(context, id, snapshot, token)
    .then((isWritten) => (isWritten ? undefined : refreshRow(context, id)))
    .catch(() => {});
  if (snapshot.childCount) {
    await row;
  }
}
