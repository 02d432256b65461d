/**
 * The default name of the queue that holds the batch jobs. Members and callbacks never share that queue: BullMQ's drain and
 * clean delete a parent in the same queue.
 */
export const DEFAULT_BATCHES_QUEUE = 'batches';

export const DEFAULT_PREFIX = 'bull';

/** The key of a job's hash, which is also how BullMQ names a child in its parent's collections. */
export const jobKey = (prefix: string, queue: string, jobId: string) => `${prefix}:${queue}:${jobId}`;

/** Where batches are kept: the prefix of all queues, and the name of the queue that holds the batch jobs. */
export interface BatchesPlace {
  readonly prefix: string;
  readonly batchesQueue: string;
}

/** A key of the batches queue that belongs to no batch, such as `completed` or `marker`. */
export const batchesKey = ({ prefix, batchesQueue }: BatchesPlace, name: string) => jobKey(prefix, batchesQueue, name);

/** Keys of our own beside BullMQ's; the colon keeps them from BullMQ's removeOrphanedJobs. */
export const leaseKey = (place: BatchesPlace, role: 'leader' | 'sweeper') => batchesKey(place, `reconciler:${role}`);
export const watchedKey = (place: BatchesPlace) => batchesKey(place, 'reconciler:watched');
/** Names the queue that holds the batches of this prefix, unless it is the default one; it is found whatever that name is. */
export const batchesQueueKey = (prefix: string) => jobKey(prefix, DEFAULT_BATCHES_QUEUE, 'reconciler:queue');
/** The set of the ids of batches that need something from maintenance; what, stands in the batch. */
export const needsKey = (place: BatchesPlace) => batchesKey(place, 'reconciler:needs');

/** The four keys in which BullMQ keeps one batch. */
export function batchKeys(place: BatchesPlace, batchId: string) {
  const job = batchesKey(place, batchId);
  return { job, dependencies: `${job}:dependencies`, processed: `${job}:processed`, failed: `${job}:failed` };
}

export interface MemberName {
  readonly queue: string;
  readonly id: string;
}

/** Splits a member's key; queue names have no colon, job ids may have. */
export function memberName(prefix: string, key: string): MemberName {
  const name = key.slice(prefix.length + 1);
  const colon = name.indexOf(':');
  return { queue: name.slice(0, colon), id: name.slice(colon + 1) };
}

/** The fields that we add to BullMQ's batch job; the prefix keeps them apart from fields that BullMQ may come to use. */
export const FIELD = {
  /** The data that the batch job was created with: people can edit a job's data, and a batch must not break by it. */
  definition: 'b:definition',
  /** Tells this life of the batch's id from earlier and later ones; every script that decides or destroys compares it. */
  nonce: 'b:nonce',
  /** The keys of the callbacks that have been enqueued, one per line: their jobs may be trimmed once they have run. */
  enqueued: 'b:enqueued',
  /** The keys of jobs that were attached to the batch job by hand, one per line; and how many jobs were looked at for it. */
  strangers: 'b:strangers',
  searchedForStrangers: 'b:searched',
  /** Ms without a sign of life after which the open batch is abandoned: that of the definition. */
  openTimeout: 'b:openTimeout',
  /** What the batch needs from maintenance: words, separated by spaces; see redis/needs.ts. */
  needs: 'b:needs',
  /** How many distinct members were ever registered. */
  total: 'b:total',
  /** When the producer said that it has added everything. */
  sealedAt: 'b:sealedAt',
  /** When the producer last gave a sign of life: when members were last registered (Redis's clock). */
  registeredAt: 'b:registeredAt',
  /** When the batch was given up for want of such a sign; gone again when the producer comes back. */
  abandonedAt: 'b:abandonedAt',
  /** When `complete` became due, and the counts that its callbacks are given; both written once. */
  completedAt: 'b:completedAt',
  completedCounts: 'b:completedCounts',
  /** When the batch was cancelled, and why; both written once. */
  cancelledAt: 'b:cancelledAt',
  cancelReason: 'b:cancelReason',
  /** How many members were removed because of it. */
  cancelled: 'b:cancelled',
  /** How many child batches have failed because of a cancel: no deaths. And, on the child, that it is counted there. */
  cancelledChildren: 'b:cancelledChildren',
  toldParent: 'b:toldParent',
  /** When the first member failed for good, here or further down. */
  diedAt: 'b:diedAt',
  /** When every member had run at least once. */
  attemptedAt: 'b:attemptedAt',
  /** Set while the parts of a removed batch go: it is gone for everybody but its removal. */
  removed: 'b:removed',
} as const;
