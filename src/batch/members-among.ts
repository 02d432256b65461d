import { isCallbackId } from '../model/definition.js';
import { memberName } from '../record/keys.js';
import type { PagedMember } from '../record/member-pages.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';

/**
 * Leaves out the batch's own callbacks, and jobs that were attached to it by hand: BullMQ keeps them among the children
 * of the batch job.
 */
export function membersAmong(
  context: BatchContext,
  batchId: string,
  children: readonly PagedMember[],
  strangers: ReadonlySet<string>,
): PagedMember[] {
  const isMember = ({ key }: PagedMember) =>
    !strangers.has(key) && !isCallbackId(batchId, memberName(context.redis.prefix, key).id);
  return children.filter(isMember);
}

/** Returns the keys of the jobs that were attached to a batch by hand, as far as they have been found. */
export async function strangersOf(context: BatchContext, batchId: string): Promise<ReadonlySet<string>> {
  return new Set((await readSnapshot(context.redis, batchId))?.strangers);
}
