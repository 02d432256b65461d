/**
 * Batches of BullMQ jobs with callbacks: `withBatches()` gives a queue its batch methods, `BatchWorker` drives batches.
 *
 * @module bullmq-batches
 */

export type { Batch } from './batch/batch.js';
export type { BatchOptions, ParentBatch } from './batch/batch-options.js';
export type {
  Callback,
  CallbackBatch,
  CallbackHandlers,
  CallbackJob,
  Callbacks,
} from './batch/callbacks.js';
export type { FailureReason, FailureReasons, FailureReasonsOptions } from './batch/failure-reasons.js';
export type { Flow, FlowChild, FlowChildOptions, FlowNode } from './batch/flow.js';
export type { BatchJob, BatchJobs } from './batch/job.js';
export type { TreeJobs } from './batch/jobs-below.js';
export type { BatchCounts, BatchQuery, ListedState } from './batch/lookup.js';
export type { BatchMember, BatchMembersPage, MemberState, MembersPageOptions } from './batch/member-pages.js';
export type { BulkAdded } from './batch/members.js';
export type { DataOf, JobLike, JobOf, NamedQueue, NameOf, QueueLike, ResultOf } from './batch/queue-like.js';
export type { BatchFailure, BatchFailuresPage, BatchResult, FailuresPageOptions } from './batch/settled.js';
export type { BatchStatus, CallbackStatus, StageStatus } from './batch/status.js';
export type { BatchTree } from './batch/tree.js';
export {
  BatchConflictError,
  BatchError,
  BatchFinishedError,
  BatchMemberError,
  BatchNotFoundError,
  BatchOptionsError,
  BatchSealedError,
  BatchTimeoutError,
} from './errors.js';
export type { BatchEvent } from './model/definition.js';
export type {
  BatchExplanation,
  OutstandingCallback,
  OutstandingChild,
  OutstandingChildren,
  OutstandingMember,
  OutstandingMembers,
  OutstandingQueue,
} from './model/explanation.js';
export type { OnFailure, Percentage } from './model/failure-policy.js';
export type { JobState } from './model/job-facts.js';
export type { BatchState } from './model/rules.js';
export type { CallbackState, MemberCounts } from './model/snapshot.js';
export type { When } from './model/workflow.js';
export type { CallbackJobOptions, MemberDefaults, MemberOptions } from './validation.js';
export { type BatchMethods, type BatchQueue, type WithBatchesOptions, withBatches } from './with-batches.js';
export { BatchWorker, type BatchWorkerEvents, type BatchWorkerOptions } from './worker/batch-worker.js';
export type { FailedCallback } from './worker/callback-worker.js';
export type { BatchRepair } from './worker/maintenance/service.js';
export type { RunStatus, WorkflowRun } from './workflow/run.js';
export type { AnyStage, AnyWorkflow, StageJob, Stages, WorkflowTypes } from './workflow/stage-options.js';
export {
  defineWorkflow,
  type StartOptions,
  type Workflow,
  type WorkflowContext,
  type WorkflowOptions,
} from './workflow/workflow.js';
