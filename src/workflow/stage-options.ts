import type { BatchOptions } from '../batch/batch-options.js';
import type { DataOf, NameOf, QueueLike, ResultOf } from '../batch/queue-like.js';
import type { When } from '../model/workflow.js';
import type { MemberOptions } from '../validation.js';

/*
 * What a stage may be, for the compiler: names, data and results flow from the queues.
 */

/** A job of a stage. */
export interface StageJob {
  /** Its queue. Default: the queue of the stage. */
  readonly queue?: QueueLike | string;
  /** The job's name. */
  readonly name: string;
  /** The job's data. Default: `{}`. */
  readonly data?: unknown;
  /** BullMQ's job options, without `jobId`: the run gives each job its id. */
  readonly opts?: MemberOptions;
}

type NameIn<Q> = Q extends QueueLike ? NameOf<Q> : string;
type DataIn<Q> = Q extends QueueLike ? DataOf<Q> : unknown;

/** What each stage may have, whatever its members are. */
export interface StageBasics extends Pick<BatchOptions, 'description' | 'on' | 'jobOptions' | 'onFailure'> {
  /** The stages that must have finished first. Default: none, it starts at once. */
  readonly after?: string | readonly string[];
  /**
   * How they must have finished: `success`, all of them with success; `complete`, in any way, skipped ones too;
   * `failure`, in any way and at least one of them with failures. Default: `success`.
   */
  readonly when?: When;
}

/** Any stage, before the names that it mentions are checked. */
export interface AnyStage extends StageBasics {
  /** The queue of its jobs, and of its callbacks: a BullMQ Queue, or its name. Default: the workflow's `queue`. */
  readonly queue?: QueueLike | string;
  /** The name of its first job, or with `forEach` of each job; instead of `jobs` and `workflow`. */
  readonly name?: string;
  /** The data of its job, or a function that makes it of the run's input when the run starts. Default: `{}`. */
  readonly data?: ((input: never) => unknown) | object | string | number | boolean | null;
  /** BullMQ's options of its job, without `jobId`: the run gives each job its id. */
  readonly opts?: MemberOptions;
  /**
   * Several jobs, or a function that makes them of the run's input when the run starts. They are kept in Redis until
   * they are added to the stage.
   */
  readonly jobs?: readonly object[] | ((input: never) => Iterable<object>);
  /**
   * Makes one job per result of that stage, after which it comes: the job's data is what the other one has returned. A
   * job that returns nothing (undefined or null) has no result.
   */
  readonly forEach?: string;
  /** Another workflow, which runs whole as this stage. */
  readonly workflow?: AnyWorkflow;
  /** The input of that workflow, or a function that makes it of the run's. Default: the run's own input. */
  readonly input?: ((input: never) => unknown) | object | string | number | boolean | null;
}

/** A workflow as a stage of another sees it. */
export interface AnyWorkflow {
  /** Its name. */
  readonly name: string;
  /** For the compiler: what `start()` takes, and what the output stage returns. */
  readonly types?: WorkflowTypes<unknown, unknown>;
}

/** The types of a workflow. */
export interface WorkflowTypes<Input, Output> {
  /** What `start()` takes. */
  readonly input: Input;
  /** What the jobs of the output stage return. */
  readonly output: Output;
}

/** Stages by their names. */
export type Stages = Readonly<Record<string, AnyStage>>;

/** What the jobs of a stage return. */
export type StageResult<S> = S extends { readonly workflow: { readonly types?: { readonly output: infer Output } } }
  ? Output
  : S extends { readonly jobs: readonly (infer Job)[] }
    ? Job extends { readonly queue: infer Q extends QueueLike }
      ? ResultOf<Q>
      : ResultIn<S>
    : ResultIn<S>;

type ResultIn<S> = S extends { readonly queue: infer Q extends QueueLike } ? ResultOf<Q> : unknown;

type QueueIn<S> = S extends { readonly queue: infer Q extends QueueLike } ? Q : undefined;

/** The stages of which `Name` can make one member per result: those whose results its queue takes as data. */
type SourceFor<All, Name extends keyof All> = {
  [Other in Exclude<keyof All, Name>]: StageResult<All[Other]> extends DataIn<QueueIn<All[Name]>> ? Other : never;
}[Exclude<keyof All, Name>];

/** The stages as they may be written: what they mention exists, and fits. Names made at run time are checked then. */
export type Checked<All> = string extends keyof All ? unknown : CheckedStages<All>;

type CheckedStages<All> = {
  readonly [Name in keyof All]: {
    readonly after?: Exclude<keyof All, Name> | readonly Exclude<keyof All, Name>[];
    readonly forEach?: SourceFor<All, Name>;
    readonly name?: NameIn<QueueIn<All[Name]>>;
    readonly data?: DataIn<QueueIn<All[Name]>> | ((input: never) => DataIn<QueueIn<All[Name]>>);
    readonly jobs?: readonly StageJob[] | ((input: never) => Iterable<StageJob>);
  };
};

type Taken<F> = F extends (input: infer Input) => unknown ? Input : never;

/** What the functions of the stages take, one below the other; never without any. */
type TakenBy<All> = {
  [Name in keyof All]:
    | Taken<All[Name] extends { readonly data: infer F } ? F : never>
    | Taken<All[Name] extends { readonly jobs: infer F } ? F : never>
    | Taken<All[Name] extends { readonly input: infer F } ? F : never>;
}[keyof All];

type Both<Union> = (Union extends unknown ? (value: Union) => void : never) extends (value: infer All) => void
  ? All
  : never;

/** The input of a workflow, from what the functions of its stages take. */
export type InputOf<All> = [TakenBy<All>] extends [never] ? unknown : Both<TakenBy<All>>;
