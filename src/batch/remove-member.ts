import { BatchError, BatchNotFoundError } from '../errors.js';
import type { BatchLife } from '../record/add-members.js';
import { type MemberRemoved, takeMemberOut } from '../record/remove-member.js';
import { findQueue, type QueueContext } from './batch-context.js';
import { removeDropped } from './cancel.js';
import type { QueueLike } from './queue-like.js';

const WHY: Readonly<Record<Exclude<MemberRemoved, 'removed' | 'not found' | 'no member'>, string>> = {
  settled: 'it has settled, and is counted',
  running: 'it is running: wait for its end, or cancel the batch, which it can see with signalOf(job)',
  'has jobs below': 'it is a flow, of which jobs wait or run: cancel the batch',
};

/** Takes a member that waits out of its batch; returns whether there was such a member. */
export async function removeMember(
  context: QueueContext,
  batch: BatchLife,
  { id, queue: given }: { readonly id: string; readonly queue: string | QueueLike | undefined },
): Promise<boolean> {
  if (given === context.batches.name) {
    throw new BatchError(
      `Batch '${id}' is no job: remove it with (await queue.getBatch('${id}')).remove({ force: true }).`,
      { batchId: batch.id },
    );
  }
  const queue = findQueue('removeMember(): queue', given, context).name;
  const outcome = await takeMemberOut(context.redis, batch, { queue, id });
  switch (outcome) {
    case 'removed':
      await removeDropped(context);
      return true;
    case 'no member':
      return false;
    case 'not found':
      throw new BatchNotFoundError(batch.id);
    default:
      throw new BatchError(
        `Member '${id}' in queue '${queue}' was not removed from batch '${batch.id}': ${WHY[outcome]}.`,
        { batchId: batch.id },
      );
  }
}
