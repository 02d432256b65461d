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

/** What people want to know of one job. */
export interface JobFacts {
  readonly state: JobState;
  readonly name: string | undefined;
  readonly timestamp: number | undefined;
  readonly attemptsMade: number;
  /** Why its last attempt failed; the beginning of it, if it is long. */
  readonly failedReason: string | undefined;
  /** Of a batch job: when its producer last gave a sign of life. */
  readonly registeredAt: number | undefined;
}
