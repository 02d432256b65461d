import { type BatchDefinition, callbacksOf } from '../model/definition.js';
import { type BatchesPlace, DEFAULT_BATCHES_QUEUE } from '../model/place.js';

/** The key of a job's hash, which is also how BullMQ names a child in its parent's collections. */
export const jobKey = (prefix: string, queue: string, jobId: string) => `${prefix}:${queue}:${jobId}`;

/** A key of the batches queue that belongs to no batch, such as `completed` or `marker`. */
export const batchesKey = ({ prefix, batchesQueue }: BatchesPlace, name: string) => jobKey(prefix, batchesQueue, name);

/** Keys of our own beside BullMQ's; the colon keeps them from BullMQ's removeOrphanedJobs. */
export const leaseKey = (place: BatchesPlace) => batchesKey(place, 'reconciler:leader');
/**
 * Names the queue that holds the batches of this prefix, unless it is the default one; it is found whatever that name
 * is.
 */
export const batchesQueueKey = (prefix: string) => jobKey(prefix, DEFAULT_BATCHES_QUEUE, 'reconciler:queue');
/** What the keys of the sets of batches that need something from maintenance begin with; see record/needs.ts. */
export const needsKey = (place: BatchesPlace) => batchesKey(place, 'reconciler:needs');

/**
 * A hash: how many dropped jobs are still in the lists of a queue, by the key prefix of the queue; see
 * record/dropped.ts.
 */
export const droppedKey = (place: BatchesPlace) => batchesKey(place, 'reconciler:dropped');

/** The four keys in which BullMQ keeps one batch. */
export function batchKeys(place: BatchesPlace, batchId: string) {
  const job = batchesKey(place, batchId);
  return { job, dependencies: `${job}:dependencies`, processed: `${job}:processed`, failed: `${job}:failed` };
}

/**
 * What the keys of a job end with, its hash first; those of a batch too, and whatever of a batch's own is to go with
 * it.
 */
export const JOB_KEY_ENDS = [
  ...(['', ':dependencies', ':processed', ':failed', ':unsuccessful', ':logs', ':lock'] as const),
  ':b:plan',
] as const;

/** A list: the jobs of a stage that has not started, each as JSON. It goes when they have been added. */
export const planKey = (place: BatchesPlace, batchId: string) => `${batchesKey(place, batchId)}:b:plan`;

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

/**
 * The fields that we add to BullMQ's batch job; the prefix keeps them apart from fields that BullMQ may come to use.
 */
export const FIELD = {
  /** The data that the batch job was created with: people can edit a job's data, and a batch must not break by it. */
  definition: 'b:definition',
  /**
   * Tells this life of the batch's id from earlier and later ones; every script that decides or destroys compares it.
   */
  nonce: 'b:nonce',
  /** The keys of the callbacks that have been enqueued, one per line: their jobs may be trimmed once they have run. */
  enqueued: 'b:enqueued',
  /**
   * The keys of jobs that were attached to the batch job by hand, one per line; and how many jobs were looked at for
   * it.
   */
  strangers: 'b:strangers',
  searchedForStrangers: 'b:searched',
  /** What the batch needs from maintenance: words, separated by spaces; see record/needs.ts. */
  needs: 'b:needs',
  /** Ms without a sign of life after which an open batch is abandoned, from its definition. */
  openTimeout: 'b:openTimeout',
  /**
   * What failures do to the batch, from its definition: '<how many cancel it>,<percent of all that cancel it>,<percent
   * of successes that it needs>', each of them or ''. Not there when failures are only counted.
   */
  policy: 'b:policy',
  /** How many members and callbacks had failed when the batch, which has failed, was last judged by maintenance. */
  judged: 'b:judged',
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
  /**
   * A member that a cancel left outstanding with a deferred failure: what becomes of it is sorted before the batch is
   * judged.
   */
  deferred: 'b:deferred',
  /** Set when a cancelled batch has been gone through whole: what is left of it was running then. */
  emptied: 'b:emptied',
  /** How many child batches were created in it, and what the names of the fields begin with that list them. */
  childCount: 'b:childCount',
  children: 'b:children:',
  /** How many child batches have failed because of a cancel: no deaths. And, on the child, that it is counted there. */
  cancelledChildren: 'b:cancelledChildren',
  toldParent: 'b:toldParent',
  /** When the first member failed for good, here or further down. */
  diedAt: 'b:diedAt',
  /** When every member had run at least once. */
  attemptedAt: 'b:attemptedAt',
  /** Of a run: the ids of the stages that come first; of a stage: of those that come after it, one per line. */
  roots: 'b:roots',
  next: 'b:next',
  /** Of a stage: '<when> <how many stages it comes after>', and how many of them have come to which outcome. */
  when: 'b:when',
  after: { succeeded: 'b:after:succeeded', failed: 'b:after:failed', skipped: 'b:after:skipped' },
  /** The outcome that those after a stage have been told; and, of a run, what its first stages have been told. */
  outcome: 'b:outcome',
  begun: 'b:begun',
  /** When a stage was released: its members are added; or that it cannot start. */
  startedAt: 'b:startedAt',
  skippedAt: 'b:skippedAt',
  /** How far the adding of a stage's members has come: a position in its plan, or a cursor of the results. */
  filledTo: 'b:filledTo',
  /** The mark of a removal, see record/removal.ts: the batch is gone for everybody but its removal. */
  removal: 'b:removal',
  /**
   * `<finishedOn>:<when a BatchWorker first saw it, by Redis's clock>`: what the age of a finished batch counts from.
   */
  finishedAt: 'b:finishedAt',
  /**
   * `<age in seconds>,<count>`, either of them may be empty: for how long, and among how many, it stays when it has
   * finished.
   */
  keep: 'b:keep',
  /**
   * `<token> <until when>`: a retry() that is under way, here or in a batch below; the batch does not expire meanwhile.
   */
  retrying: 'b:retrying',
} as const;

/**
 * On a job in a list: a cancel has settled it, nothing waits for it any more, and it can be removed wherever it is met.
 */
export const DROPPED_FIELD = 'b:dropped';

/** The keys of the jobs of a batch's callbacks. */
export function callbackKeys(prefix: string, batchId: string, definition: BatchDefinition): Set<string> {
  return new Set(callbacksOf(batchId, definition).map(({ callback, jobId }) => jobKey(prefix, callback.queue, jobId)));
}
