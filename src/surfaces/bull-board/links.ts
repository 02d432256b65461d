import type { Job } from 'bullmq';

interface Link {
  readonly displayText: string;
  readonly href: string;
}

/**
 * The link beside a job's name: to the batch of a member or callback, to the parent of a child batch, or to the page of
 * a batch.
 */
export function linkOf(
  job: Partial<Job>,
  {
    page,
    isBatch,
    batchesQueue,
  }: { readonly page: string | undefined; readonly isBatch: boolean; readonly batchesQueue: string },
): Link | undefined {
  const parent = parentOf(job, batchesQueue);
  if (page !== undefined) {
    const id = isBatch ? job.id : parent;
    return id === undefined
      ? undefined
      : { displayText: 'Batch', href: `${page.replace(/\/$/, '')}/${encodeURIComponent(id)}` };
  }
  // Bull Board resolves a relative address against the path where it is mounted.
  return parent === undefined
    ? undefined
    : { displayText: 'Batch', href: `queue/${encodeURIComponent(batchesQueue)}/${encodeURIComponent(parent)}` };
}

/** The batch that a job belongs to. */
function parentOf({ parent }: Partial<Job>, batchesQueue: string): string | undefined {
  return parent?.queueKey?.endsWith(`:${batchesQueue}`) ? parent.id : undefined;
}
