/** Where a job is in BullMQ. `no job`: there is none with this key, or it belongs to another parent. */
export type JobState =
  | 'waiting'
  | 'delayed'
  | 'prioritized'
  | 'active'
  | 'waiting-children'
  | 'completed'
  | 'failed'
  | 'no job';

/** What `explain()` tells of one job. */
export interface JobFacts {
  readonly state: JobState;
  readonly name: string | undefined;
  readonly timestamp: number | undefined;
  readonly attemptsMade: number;
  /** Why its last attempt failed, shortened if it is long. */
  readonly failedReason: string | undefined;
  /** For a batch job: when the producer of the batch last gave a sign of life. */
  readonly registeredAt: number | undefined;
}
