import { BatchMemberError, because } from '../errors.js';
import { isConnectionError } from '../record/connection-error.js';

/** What goes wrong with jobs on their way into a batch, in words. */
export interface Adding {
  readonly batchId: string;
  readonly jobIds: readonly string[];
  /** How the sentence ends: what became of other jobs. */
  readonly others?: string;
}

/**
 * Says that jobs were not added, or, after an error of the connection, that it is not known: Redis may still get the
 * command, or have got it.
 */
export function notAdded(cause: unknown, { batchId, jobIds, others = '' }: Adding, hint = ''): BatchMemberError {
  if (isConnectionError(cause)) {
    const what = jobIds.length === 1 ? 'whether 1 job was' : `which of ${jobIds.length} jobs were`;
    return new BatchMemberError(
      `It is not known ${what} added to batch '${batchId}': ${because(cause)}. Add them again with the same jobIds: ` +
        'what is there already is not added twice.',
      { batchId, jobIds, cause },
    );
  }
  const tail = `${hint}${others === '' ? '' : ` ${others}`}`;
  return new BatchMemberError(`${jobsWere(jobIds.length)} not added to batch '${batchId}': ${because(cause)}.${tail}`, {
    batchId,
    jobIds,
    cause,
  });
}

/** Begins a sentence about a number of jobs. */
export function jobsWere(jobs: number): string {
  return jobs === 1 ? '1 job was' : `${jobs} jobs were`;
}
