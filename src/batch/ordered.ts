import { BatchError } from '../errors.js';
import type { BatchContext } from './batch-context.js';
import { orderOf } from './ids.js';
import { type BatchResult, resultsOf } from './settled.js';
import { snapshotOf } from './status.js';

/** All of them are in memory at the same time. */
const MOST_ORDERED = 100_000;

/**
 * Yields the results in the order in which they were added; those of members with ids of their own come last, by id.
 */
export async function* orderedResults<Result>(
  context: BatchContext,
  batchId: string,
): AsyncGenerator<BatchResult<Result>, void> {
  const { counts, definition } = await snapshotOf(context, batchId);
  if (counts.succeeded > MOST_ORDERED) {
    throw new BatchError(
      `Batch '${batchId}' has ${counts.succeeded} results, and results({ ordered: true }) can put ` +
        `${MOST_ORDERED} in order: read them with results(), and sort them by an id or by what they hold.`,
      { batchId },
    );
  }
  const results = new Map<string, BatchResult<Result>>();
  for await (const result of resultsOf<Result>(context, batchId)) {
    results.set(`${result.queue}:${result.id}`, result);
  }
  yield* [...results.values()]
    .map((result) => ({ result, order: orderOf(result.id, batchId, definition.nonce) }))
    .sort((a, b) => compare(a.order, b.order) || (a.result.id < b.result.id ? -1 : 1))
    .map(({ result }) => result);
}

function compare(a: readonly [string, number] | undefined, b: readonly [string, number] | undefined): number {
  if (a === undefined || b === undefined) {
    return Number(a === undefined) - Number(b === undefined);
  }
  return a[0] === b[0] ? a[1] - b[1] : a[0] < b[0] ? -1 : 1;
}
