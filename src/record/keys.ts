import { type BatchDefinition, callbacksOf } from '../model/definition.js';
import { type BatchesPlace, DEFAULT_BATCHES_QUEUE } from '../model/place.js';

/** The key of a job's hash, which is also how BullMQ names a child in its parent's collections. */
export const jobKey = (prefix: string, queue: string, jobId: string) => `${prefix}:${queue}:${jobId}`;

/** A key of the batches queue that belongs to no batch, such as `completed` or `marker`. */
export const batchesKey = ({ prefix, batchesQueue }: BatchesPlace, name: string) => jobKey(prefix, batchesQueue, name);

/**
 * The key of the lease. It has a colon after the queue's own part, like all further keys of this library, so that
 * BullMQ's removeOrphanedJobs leaves it alone.
 */
export const leaseKey = (place: BatchesPlace) => batchesKey(place, 'reconciler:leader');
/**
 * The key that names the queue which holds the batches of a prefix, unless it is the default one. It does not depend on
 * that name, so that it can be found.
 */
export const batchesQueueKey = (prefix: string) => jobKey(prefix, DEFAULT_BATCHES_QUEUE, 'reconciler:queue');
/** The beginning of the keys of the sets of batches that need something from maintenance; see record/needs.ts. */
export const NEEDS = 'reconciler:needs';
export const needsKey = (place: BatchesPlace) => batchesKey(place, NEEDS);

/**
 * A hash: how many dropped jobs are still in the lists of a queue, by the key prefix of the queue; see
 * record/dropped.ts.
 */
export const droppedKey = (place: BatchesPlace) => batchesKey(place, 'reconciler:dropped');

/** A key that is written through one connection to be looked for through another; see record/is-other-redis.ts. */
export const probeKey = (place: BatchesPlace, mark: string) => batchesKey(place, `reconciler:probe:${mark}`);

/** The four keys in which BullMQ keeps one batch. */
export function batchKeys(place: BatchesPlace, batchId: string) {
  const job = batchesKey(place, batchId);
  return { job, dependencies: `${job}:dependencies`, processed: `${job}:processed`, failed: `${job}:failed` };
}

/** The endings of the keys in which BullMQ keeps one job, its hash first. */
export const JOB_KEY_ENDS = ['', ':dependencies', ':processed', ':failed', ':unsuccessful', ':logs', ':lock'] as const;

/** What the key of a stage's plan ends with: a list of slices of its jobs; see record/plan.ts. */
export const PLAN_END = ':b:plan';
export const planKey = (place: BatchesPlace, batchId: string) => `${batchesKey(place, batchId)}${PLAN_END}`;

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
 * The fields that this library adds to BullMQ's batch job. The prefix keeps them apart from fields that BullMQ may
 * introduce.
 */
export const FIELD = {
  /**
   * The definition that the batch was created with. The job's data is a copy: people can edit it, and a batch must not
   * break by it.
   */
  definition: 'b:definition',
  /**
   * A text that tells this life of the batch's id from earlier and later ones. Every script that decides or destroys
   * compares it.
   */
  nonce: 'b:nonce',
  /** The keys of the callbacks that were enqueued, one per line. Their jobs may be trimmed once they have run. */
  enqueued: 'b:enqueued',
  /**
   * The keys of jobs that were attached to the batch job by hand, one per line; and how many jobs were searched for
   * them.
   */
  strangers: 'b:strangers',
  searchedForStrangers: 'b:searched',
  /** What the batch needs from maintenance: words, separated by spaces; see record/needs.ts. */
  needs: 'b:needs',
  /** Ms without a sign of life after which an open batch is abandoned, from its definition; absent by default. */
  openTimeout: 'b:openTimeout',
  /**
   * The failure policy, from the definition: '<how many failures cancel>,<percent of all that cancels>,<percent of
   * successes that it needs>', each of them or ''. Absent when failures are only counted.
   */
  policy: 'b:policy',
  /** How many members and callbacks had failed when maintenance last judged the failed batch. */
  judged: 'b:judged',
  /** How many members were ever added. */
  total: 'b:total',
  /** When the batch was sealed. */
  sealedAt: 'b:sealedAt',
  /**
   * When the producer last gave a sign of life, by Redis's clock: it added members, or said that it lives. Absent in a
   * batch that was created and sealed in one step.
   */
  registeredAt: 'b:registeredAt',
  /**
   * When the batch was abandoned, because its producer gave no sign of life. The field goes when the producer comes
   * back.
   */
  abandonedAt: 'b:abandonedAt',
  /** When `complete` became due, a space, and the counts that its callbacks are given, as JSON; written once. */
  completed: 'b:completed',
  /** When the batch was cancelled, and why; both written once. */
  cancelledAt: 'b:cancelledAt',
  cancelReason: 'b:cancelReason',
  /** How many members were removed because of the cancel. */
  cancelled: 'b:cancelled',
  /**
   * A member that a cancel left outstanding with a deferred failure. How it ended is looked at before the batch is
   * judged.
   */
  deferred: 'b:deferred',
  /** How many child batches were created in it, and the beginning of the names of the fields that list them. */
  childCount: 'b:childCount',
  children: 'b:children:',
  /**
   * On a parent: how many child batches have failed because of a cancel, which are no deaths. On such a child: that it
   * is counted there.
   */
  cancelledChildren: 'b:cancelledChildren',
  cancelReported: 'b:toldParent',
  /** When it was noted that a member of this batch or of one below has failed for good. */
  diedAt: 'b:diedAt',
  /** When every member had run at least once. */
  attemptedAt: 'b:attemptedAt',
  /**
   * Of a run: the ids of the stages that come first, and of those after one that has ended before the run has begun; of
   * a stage: of those that come after it; one per line.
   */
  roots: 'b:roots',
  next: 'b:next',
  /** Of a stage: '<when> <how many stages it comes after>', and how many of them have reported which outcome. */
  when: 'b:when',
  after: { succeeded: 'b:after:succeeded', failed: 'b:after:failed', skipped: 'b:after:skipped' },
  /** Of a stage: the outcome that it has reported to those after it; see record/take-back.ts. */
  outcome: 'b:outcome',
  /** Of a stage: in which run of its batch job it has reported that outcome, by BullMQ's count of its runs. */
  reportedIn: 'b:reportedIn',
  /** When a stage was started, from when on members are added; and when it was found that it cannot start. */
  startedAt: 'b:startedAt',
  skippedAt: 'b:skippedAt',
  /** How far the adding of a stage's members has come: a position in its plan, or a cursor of the results. */
  filledTo: 'b:filledTo',
  /** The mark of a removal, see record/removal.ts: only its removal finds the batch from then on. */
  removal: 'b:removal',
  /**
   * `<finishedOn>:<when a BatchWorker first saw it, by Redis's clock>`: what the age of a finished batch counts from.
   */
  finishedAt: 'b:finishedAt',
  /**
   * `<age in seconds>,<count>`, either of them may be empty, and `,members` when its members' jobs go with it: for how
   * long, and among how many, it stays when it has finished. Absent by default.
   */
  keep: 'b:keep',
  /** By when it is to have finished, in ms since the epoch by Redis's clock. */
  deadline: 'b:deadline',
  /**
   * `<token> <until when>`: a retry() that is under way, here or in a batch below; the batch does not expire meanwhile.
   */
  retrying: 'b:retrying',
} as const;

/**
 * Marks a job in a list that a cancel has settled: nothing waits for it any more, and whichever process meets it may
 * remove it.
 */
export const DROPPED_FIELD = 'b:dropped';

/** Of a member that was retried: how often it had failed before; see record/failed-jobs.ts. */
export const EARLIER_FAILURES_FIELD = 'b:failures';

/** Returns the keys of the jobs of a batch's callbacks. */
export function callbackKeys(prefix: string, batchId: string, definition: BatchDefinition): Set<string> {
  return new Set(callbacksOf(batchId, definition).map(({ callback, jobId }) => jobKey(prefix, callback.queue, jobId)));
}
