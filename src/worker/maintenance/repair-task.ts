import type { BatchContext } from '../../batch/batch-context.js';
import { batchKeys } from '../../record/keys.js';
import { type RepairPage, repairSlice } from '../../record/repair.js';
import type { Turn } from './service.js';

const DEPENDENCIES_PER_SLICE = 500;
/**
 * How many failed members one command looks at. Fewer while their failure reasons are long, because the command reads
 * those too.
 */
const FAILURES_PER_SLICE = { least: 1, first: 25, most: 500 };
const LONG_REASONS_BYTES = 256 * 1024;

/** A slice of the children of a batch job, or of a job of a flow in the batch. */
export interface RepairTask extends RepairPage {
  readonly batchId: string;
  /**
   * The jobs of this flow that were looked at already. Jobs that were attached by hand may be children of each other.
   */
  readonly seen: Set<string>;
}

/** Returns the first slice of the dependencies, or of the failed members, of a batch. */
export function repairTask({ redis }: BatchContext, batchId: string, collection: RepairTask['collection']): RepairTask {
  const count = collection === 'failed' ? FAILURES_PER_SLICE.first : DEPENDENCIES_PER_SLICE;
  return { batchId, key: batchKeys(redis, batchId).job, collection, cursor: '0', count, seen: new Set() };
}

/** Repairs one slice; record/repair.ts says what. Returns what is left to do: the next one, and the flows in it. */
export async function repair(
  { redis }: BatchContext,
  task: RepairTask,
  turn: Turn,
  missingAfterMs = 0,
): Promise<RepairTask[]> {
  const { batchId, key, collection, seen } = task;
  const isOfBatch = key === batchKeys(redis, batchId).job;
  const found = await repairSlice(redis, task, missingAfterMs);
  const { cursor, missing, settled, woken, flows } = found;
  if (missing > 0 || settled > 0 || woken) {
    // What vanished below a member is not missing in the batch.
    turn.repaired(isOfBatch ? { batchId, missing, settled, woken } : { batchId, missing: 0, settled, woken: true });
  }
  const below = flows
    .filter((flow) => !seen.has(flow))
    .map((flow) => ({ ...task, key: flow, cursor: '0', seen: (isOfBatch ? new Set<string>() : seen).add(flow) }));
  const count = collection === 'failed' ? failuresAtOnce(task.count, found.bytes) : task.count;
  return cursor === '0' ? below : [...below, { ...task, cursor, count }];
}

function failuresAtOnce(count: number, bytes: number): number {
  const { least, most } = FAILURES_PER_SLICE;
  return bytes > LONG_REASONS_BYTES ? Math.max(least, Math.floor(count / 4)) : Math.min(most, count * 2);
}
