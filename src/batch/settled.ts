import { isCallbackId } from '../redis/definition.js';
import { BATCHES_QUEUE, memberName } from '../redis/keys.js';
import { type SettledMember, settledPage } from '../redis/settled.js';
import type { Home } from './home.js';
import type { BatchStatus } from './status.js';

/** A member that succeeded: a job with what it returned, or a child batch with its final status. */
export type BatchResult<Result = unknown> =
  | { readonly id: string; readonly queue: string; readonly value: Result; readonly isBatch: false }
  | { readonly id: string; readonly queue: string; readonly value: BatchStatus; readonly isBatch: true };

/** A member that failed for good; `data` while its job exists. For a child batch `reason` says what failed in it. */
export interface BatchFailure<Data = unknown> {
  readonly id: string;
  readonly queue: string;
  readonly reason: string;
  readonly data?: Data;
  readonly isBatch: boolean;
}

const PAGE_SIZE = 500;

export async function* resultsOf<Result>(home: Home, batchId: string): AsyncGenerator<BatchResult<Result>> {
  for await (const { key, value } of settledMembers(home, batchId, 'processed')) {
    const name = memberName(home.redis.prefix, key);
    yield { ...name, value: JSON.parse(value), isBatch: name.queue === BATCHES_QUEUE };
  }
}

export async function* failuresOf<Data>(home: Home, batchId: string): AsyncGenerator<BatchFailure<Data>> {
  for await (const { key, value, data } of settledMembers(home, batchId, 'failed')) {
    const name = memberName(home.redis.prefix, key);
    const isBatch = name.queue === BATCHES_QUEUE;
    yield { ...name, reason: value, ...(data === undefined || isBatch ? {} : { data: JSON.parse(data) }), isBatch };
  }
}

/** Page by page, so that a batch of any size passes through little memory and never keeps Redis busy. */
async function* settledMembers(
  home: Home,
  batchId: string,
  which: 'processed' | 'failed',
): AsyncGenerator<SettledMember> {
  let cursor = '0';
  do {
    const page = await settledPage(home.redis, batchId, {
      which,
      cursor,
      count: PAGE_SIZE,
      withData: which === 'failed',
    });
    yield* page.members.filter(({ key }) => !isCallbackId(batchId, memberName(home.redis.prefix, key).id));
    cursor = page.cursor;
  } while (cursor !== '0');
}
