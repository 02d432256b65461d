import { setTimeout as pause } from 'node:timers/promises';
import { BatchTimeoutError } from '../errors.js';
import { isConnectionError } from '../record/connection-error.js';
import type { BatchStatus } from './status.js';

/** What is waited for: a batch, or anything with a status. */
interface Watched {
  readonly id: string;
  status(): Promise<BatchStatus>;
}

/** The pause between two looks, in ms: short after the call and after a change, then a quarter of a second. */
const FROM_MS = 20;
const UP_TO_MS = 250;

/** With no time left, one more look is taken, which may take this many ms. */
const LEAST_LOOK_MS = 1000;

/** The longest delay, in ms, that a timer of Node takes. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

export async function* watch(batch: Watched): AsyncGenerator<BatchStatus, void> {
  let seen: string | undefined;
  for (let wait = FROM_MS; ; wait = Math.min(wait * 1.5, UP_TO_MS)) {
    const status = await batch.status();
    const shown = JSON.stringify(status);
    if (shown !== seen) {
      seen = shown;
      wait = FROM_MS;
      yield status;
    }
    if (status.finishedAt !== undefined) {
      return;
    }
    await pause(wait);
  }
}

/** Resolves with the final status. Rejects when the time has passed, also while Redis cannot be reached. */
export async function waitUntilFinished(batch: Watched, ttl = Number.POSITIVE_INFINITY): Promise<BatchStatus> {
  const until = performance.now() + ttl;
  let last = 'Redis does not answer';
  for (let wait = FROM_MS; ; wait = Math.min(wait * 1.5, UP_TO_MS)) {
    const left = until - performance.now();
    const look = await within(Math.max(left, LEAST_LOOK_MS), lookAt(batch));
    if (typeof look === 'object') {
      if (look.finishedAt !== undefined) {
        return look;
      }
      last = `it is ${look.state}, with ${look.pending} of ${look.total} members pending`;
    } else if (look !== undefined) {
      last = `its state could not be read: ${look}`;
    }
    if (performance.now() >= until) {
      throw new BatchTimeoutError(`Batch '${batch.id}' has not finished after ${ttl} ms: ${last}.`, {
        batchId: batch.id,
      });
    }
    await pause(Math.min(wait, until - performance.now()));
  }
}

/** Returns the status, or why it could not be read this time: a lost connection may come back. */
async function lookAt(batch: Watched): Promise<BatchStatus | string> {
  try {
    return await batch.status();
  } catch (error) {
    if (isConnectionError(error) && !isClosedForGood(error)) {
      return (error as Error).message;
    }
    throw error;
  }
}

/** Resolves with the value of the promise, or with undefined after so many ms. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  if (ms > LONGEST_TIMEOUT_MS) {
    return promise;
  }
  const timer = new AbortController();
  const late = pause(ms, undefined, { signal: timer.signal }).catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
    promise.catch(() => {});
  }
}

/** Whether the error says that the owner of the connection has closed it: it will not be opened again. */
function isClosedForGood(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('Connection is closed');
}
