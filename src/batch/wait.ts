import { setTimeout as pause } from 'node:timers/promises';
import { BatchTimeoutError } from '../errors.js';
import { isConnectionError } from '../record/connection-error.js';
import type { BatchStatus } from './status.js';

/** What is waited for: a batch, or anything with a status that can say what holds it. */
interface Watched {
  readonly id: string;
  status(): Promise<BatchStatus>;
  explain(): Promise<{ readonly reasons: readonly string[] }>;
}

/** The pause between two looks, in ms: short after the call and after a change, then a quarter of a second. */
const FROM_MS = 20;
const UP_TO_MS = 250;

/** With no time left, one more look is taken, which may take this many ms. */
const LEAST_LOOK_MS = 1000;

/** The longest delay, in ms, that a timer of Node takes. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

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

/** Resolves with the final status, or rejects when the time has passed, also while Redis is out of reach. */
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
      const reason = await within(LEAST_LOOK_MS, firstReason(batch));
      throw new BatchTimeoutError(
        `Batch '${batch.id}' has not finished after ${ttl} ms: ${last}.${reason === undefined ? '' : ` ${reason}`}`,
        { batchId: batch.id },
      );
    }
    await pause(Math.min(wait, until - performance.now()));
  }
}

/** Returns the most important reason that holds the batch, in a sentence; undefined when it cannot be found out. */
export async function firstReason(batch: Pick<Watched, 'explain'>): Promise<string | undefined> {
  try {
    return (await batch.explain()).reasons[0];
  } catch {
    return undefined;
  }
}

/** The status, or why it could not be read this time: a connection that is lost may come back. */
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

/** Resolves with the value of the promise, or with undefined after `ms`, or after what a timer takes at most. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  const timer = new AbortController();
  const late = pause(Math.min(ms, LONGEST_TIMER_MS), undefined, { signal: timer.signal }).catch(() => undefined);
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
