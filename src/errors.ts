/** The data of an error of this library. */
export interface BatchErrorDetails {
  /** The batch that the error is about. */
  readonly batchId?: string;
  /** The error that led to this one. */
  readonly cause?: unknown;
}

/**
 * The base class of all errors that this library throws. Errors of Redis and of BullMQ are passed on as they are, or as
 * the `cause`.
 *
 * @example
 * if (error instanceof BatchError) log.warn({ batchId: error.batchId }, error.message);
 */
export class BatchError extends Error {
  /** The name of the error's class, e.g. 'BatchSealedError'. */
  override readonly name: string = 'BatchError';
  /** The batch that the error is about, where there is one. */
  declare readonly batchId: string | undefined;

  constructor(message: string, details: BatchErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    // A property that is undefined would be printed with every error.
    if (details.batchId !== undefined) {
      this.batchId = details.batchId;
    }
  }
}

/** Thrown for bad input, by the call that received it and before anything is written. */
export class BatchOptionsError extends BatchError {
  override readonly name = 'BatchOptionsError';
}

/** Thrown when there is no batch with this id: it was never created in this Redis and prefix, or it was removed. */
export class BatchNotFoundError extends BatchError {
  override readonly name = 'BatchNotFoundError';

  constructor(
    batchId: string,
    message = `There is no batch '${batchId}': it was never created in this Redis and prefix, or it has been removed.`,
  ) {
    super(message, { batchId });
  }
}

/** Thrown when a batch with this id exists, with another parent or with other callbacks. */
export class BatchConflictError extends BatchError {
  override readonly name = 'BatchConflictError';
}

/** Thrown when the batch is sealed and the caller is not an outstanding part of it. Nothing was added. */
export class BatchSealedError extends BatchError {
  override readonly name = 'BatchSealedError';

  constructor(batchId: string) {
    super(
      `Batch '${batchId}' is sealed: only its running members may still add to it, with batchOf(job).add(), and the ` +
        `callbacks of its child batches, with (await batchOf(job)).parent(). Add before seal(), or create a new batch.`,
      { batchId },
    );
  }
}

/**
 * Thrown when something is added to a batch that has finished or was cancelled, or to an abandoned run of a workflow.
 * Nothing was added.
 */
export class BatchFinishedError extends BatchError {
  override readonly name = 'BatchFinishedError';

  constructor(batchId: string, why: 'finished' | 'cancelled' | 'abandoned' = 'finished') {
    super(
      `Batch '${batchId}' ${why === 'finished' ? 'has finished' : `was ${why}`}: nothing can be added to it. ` +
        'Follow-up work goes into its parent, from a callback, with (await batchOf(job)).parent(), or into a new ' +
        'batch.',
      { batchId },
    );
  }
}

/** Thrown when one or more jobs could not be added as members; `jobIds` names them. */
export class BatchMemberError extends BatchError {
  override readonly name = 'BatchMemberError';
  /** The ids of the jobs that are not in the batch. */
  readonly jobIds: readonly string[];

  constructor(message: string, details: BatchErrorDetails & { readonly jobIds: readonly string[] }) {
    super(message, details);
    this.jobIds = details.jobIds;
  }
}

/** Thrown by `waitUntilFinished(ttl)` when the batch had not finished after `ttl` milliseconds. */
export class BatchTimeoutError extends BatchError {
  override readonly name = 'BatchTimeoutError';
}

/** Returns an error's message in a form that can end a sentence. */
export function because(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).replace(/\.+$/, '');
}
