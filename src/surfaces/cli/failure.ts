import { BatchError, BatchNotFoundError, BatchOptionsError } from '../../index.js';
import { isOfTheConnection, sentenceOf } from './connection-sentence.js';
import { inCommands } from './in-commands.js';

/** What the program's exit code says; `--help` tells the same. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  noSuchBatch: 3,
  batchFailed: 4,
  interrupted: 130,
} as const;

/** An end with a sentence for the user. */
export class Failure extends Error {
  constructor(
    message: string,
    readonly exitCode: number = EXIT.failed,
  ) {
    super(message);
  }
}

/** The command line itself is wrong: nothing was done. */
export class UsageError extends Failure {
  constructor(message: string) {
    super(message, EXIT.usage);
  }
}

/** What to tell, and how to end, whatever was thrown. `redis` names the server without its password. */
export function failureOf(error: unknown, redis: string): { readonly message: string; readonly exitCode: number } {
  if (error instanceof Failure) {
    return error;
  }
  if (isOfTheConnection(error)) {
    return { message: sentenceOf(error, redis), exitCode: EXIT.failed };
  }
  const message = error instanceof BatchError ? inCommands(error.message) : messageOf(error);
  return { message, exitCode: exitCodeOf(error) };
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

function exitCodeOf(error: unknown): number {
  if (error instanceof BatchNotFoundError) {
    return EXIT.noSuchBatch;
  }
  return error instanceof BatchOptionsError ? EXIT.usage : EXIT.failed;
}
