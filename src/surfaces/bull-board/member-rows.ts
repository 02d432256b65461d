import type { Job, JobsOptions, Queue } from 'bullmq';

/** How many jobs one command removes; each tells its batch. */
const SLICE = 1000;

type CleanStatus = Parameters<Queue['clean']>[2];

/**
 * Bull Board's "Duplicate" copies a job with all of its options: the copy becomes a job without a batch, because
 * nothing has added it to one.
 */
export function addOutsideOfBatches(
  queue: Queue,
  batchesQueue: string,
  { name, data, options }: { readonly name: string; readonly data: unknown; readonly options: object },
): Promise<Job> {
  const { parent, ...opts } = options as JobsOptions;
  return queue.add(name, data, parent?.queue.endsWith(`:${batchesQueue}`) ? opts : (options as JobsOptions));
}

/**
 * Cleans in small commands: BullMQ removes 10,000 jobs in one, which keeps Redis busy for a tenth of a second when each
 * of them is reported to a batch. Jobs that are added, or reach the age, meanwhile stay; there would be no end.
 */
export async function cleanInSlices(queue: Queue, status: CleanStatus, graceMs: number): Promise<void> {
  const begun = Date.now();
  while ((await queue.clean(graceMs + Date.now() - begun, SLICE, status)).length > 0);
}

/** What `queue.drain()` removes in one command, however many jobs there are. */
export async function drainInSlices(queue: Queue): Promise<void> {
  for (const status of ['wait', 'paused', 'prioritized'] as const) {
    await cleanInSlices(queue, status as CleanStatus, 0);
  }
}
