import { BatchError } from '../errors.js';

/** What Redis answers when it has reached its `maxmemory`; in a script, up to version 6, somewhere in the message. */
const REFUSAL = /OOM command not allowed[^.]*/;

/** Returns what Redis has said, in words that say what to do when it is out of memory. */
export function withWayOut(said: string): string {
  const [refusal] = REFUSAL.exec(said) ?? [];
  return refusal === undefined
    ? said
    : `Redis is out of memory and refuses to write (${refusal}). Free memory, or raise its maxmemory, and try again`;
}

/** Whether Redis has refused a command because it is out of memory. A script that was refused has written nothing. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && REFUSAL.test(error.message);
}

/** Returns an error of this library for a refusal of this kind, and any other error as it is. */
export function orOutOfMemory(error: unknown): unknown {
  return isOutOfMemory(error) && !(error instanceof BatchError)
    ? new BatchError(`${withWayOut((error as Error).message)}.`, { cause: error })
    : error;
}
