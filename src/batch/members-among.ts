import { isCallbackId } from '../model/definition.js';
import { memberName } from '../record/keys.js';
import type { PagedMember } from '../record/member-pages.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';

/**
 * Returns what tells the members of a batch from its own callbacks, and from jobs that were attached to it by hand:
 * BullMQ keeps them all among the children of the batch job.
 *
 * @param strangers the keys of the jobs that were attached by hand, as far as they have been found.
 */
export function isMemberOf(
  { redis }: BatchContext,
  batchId: string,
  strangers: readonly string[] = [],
): (child: PagedMember) => boolean {
  const keys = new Set(strangers);
  return ({ key }) => !keys.has(key) && !isCallbackId(batchId, memberName(redis.prefix, key).id);
}

/** Returns isMemberOf() with the strangers that are known now. */
export async function memberFilter(context: BatchContext, batchId: string): Promise<(child: PagedMember) => boolean> {
  return isMemberOf(context, batchId, (await readSnapshot(context.redis, batchId))?.strangers);
}

/** What is said of each member, whatever has become of it: its name, and the data of its job. */
export function describedMember<Data>({ redis, batches }: BatchContext, { key, data }: PagedMember) {
  const name = memberName(redis.prefix, key);
  const isBatch = name.queue === batches.name;
  return { ...name, isBatch, ...(data === undefined || isBatch ? {} : { data: JSON.parse(data) as Data }) };
}
