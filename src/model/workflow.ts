import type { JobsOptions } from 'bullmq';

/** How all that a stage comes after must have finished, so that it starts. */
export type When = 'success' | 'complete' | 'failure';

/** What a stage has come to, as it is reported to those that come after it. */
export type Outcome = 'succeeded' | 'failed' | 'skipped';

/** A job of a stage as it is stored until the stage starts: everything resolved, so that any BatchWorker can add it. */
export interface StoredJob {
  readonly queue: string;
  readonly name: string;
  readonly data?: unknown;
  readonly opts?: JobsOptions;
}

/** What a batch is that is a stage of a run. */
export interface StoredStage {
  readonly name: string;
  readonly after: readonly string[];
  readonly when: When;
  /** For each result of this stage, one member is made from `job`: its data is the result. */
  readonly forEach?: string | undefined;
  readonly job?: StoredJob | undefined;
  /** How many jobs its plan has, if it has more than one slice. */
  readonly planned?: number | undefined;
}

/** Whether the batch job of a stage adds its members, slice by slice; otherwise they are added when it is started. */
export const isFilledInSlices = ({ forEach, planned }: Pick<StoredStage, 'forEach' | 'planned'>): boolean =>
  forEach !== undefined || planned !== undefined;

/** What a batch is that is a run of a workflow. */
export interface StoredRun {
  readonly workflow: string;
  readonly input?: unknown;
  readonly stages: readonly string[];
  /** The stage whose results are the run's own. */
  readonly output?: string | undefined;
}

/** The id of a stage's batch: stages have no '.' in their names. */
export const stageId = (runId: string, stage: string) => `${runId}.${stage}`;
