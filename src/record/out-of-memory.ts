import { BatchError } from '../errors.js';

/** What Redis answers when it has reached its `maxmemory`; in a script, up to version 6, somewhere in the message. */
const REFUSAL = /OOM command not allowed[^.]*/;

/** Returns what Redis has said as it is or, when it is out of memory, with what to do about it. */
export function withWayOut(said: string): string {
  const [refusal] = REFUSAL.exec(said) ?? [];
  return refusal === undefined
    ? said
    : `Redis is out of memory and refuses to write (${refusal}). Free memory, or raise its maxmemory, and try again`;
}

/** Whether Redis has refused a command because it is out of memory. A script that was refused has written nothing. */
function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && REFUSAL.test(error.message);
}

/** Returns a BatchError that says what to do for a refusal for want of memory, and any other error as it is. */
export function orOutOfMemory(error: unknown): unknown {
  return isOutOfMemory(error) && !(error instanceof BatchError)
    ? new BatchError(`${withWayOut((error as Error).message)}.`, { cause: error })
    : error;
}
