import { BatchError, BatchNotFoundError } from '../errors.js';
import type { BatchLife } from '../record/add-members.js';
import { type MemberRemoved, takeMemberOut } from '../record/remove-member.js';
import type { BatchContext } from './batch-context.js';
import { removeDropped } from './cancel.js';

const WHY: Readonly<Record<Exclude<MemberRemoved, 'removed' | 'not found' | 'no member'>, string>> = {
  settled: 'it has settled, and is counted',
  running: 'it is running: wait for its end, or cancel the batch, which it can see with signalOf(job)',
  'has jobs below': 'it is a flow, of which jobs wait or run: cancel the batch',
};

/** Takes a member that waits out of its batch; returns whether there was such a member. */
export async function removeMember(
  context: BatchContext,
  batch: BatchLife,
  member: { readonly queue: string; readonly id: string },
): Promise<boolean> {
  if (member.queue === context.batches.name) {
    throw new BatchError(
      `Batch '${member.id}' is no job: remove it with (await queue.getBatch('${member.id}')).remove({ force: true }).`,
      { batchId: batch.id },
    );
  }
  const outcome = await takeMemberOut(context.redis, batch, member);
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
        `Member '${member.id}' in queue '${member.queue}' was not removed from batch '${batch.id}': ${WHY[outcome]}.`,
        { batchId: batch.id },
      );
  }
}
