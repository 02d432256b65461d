import type { JobsOptions } from 'bullmq';
import { findQueue, type MemberQueue, type QueueContext } from '../batch/batch-context.js';
import { checkBatchOptions } from '../batch/batch-options.js';
import { storeCallbacks } from '../batch/callbacks.js';
import { checkData, checkJob } from '../batch/job.js';
import { BatchOptionsError } from '../errors.js';
import type { StoredJob } from '../model/workflow.js';
import { checkJson, describe } from '../validation.js';
import { type Blueprint, type BlueprintStage, blueprintOf } from './blueprint.js';
import type { AnyStage } from './stage-options.js';

/** What a stage of one run is to be: what only the process that starts it knows is resolved. */
export interface PlannedStage {
  readonly stage: BlueprintStage;
  /** The queue that its members, and its callbacks, go to if they name no other. */
  readonly own: MemberQueue;
  /** Its jobs; with forEach, what each of them is but for its data. */
  readonly jobs: readonly StoredJob[];
  readonly run: PlannedRun | undefined;
}

/** What a run is to be, or a stage that is a workflow. */
export interface PlannedRun {
  readonly blueprint: Blueprint;
  readonly input: unknown;
  readonly stages: readonly PlannedStage[];
}

/** Makes the jobs of all stages from the input of a run, and refuses what is wrong with them. */
export function planRun(context: QueueContext, blueprint: Blueprint, input: unknown): PlannedRun {
  checkJson(`The input of workflow '${blueprint.name}'`, input);
  return { blueprint, input, stages: blueprint.stages.map((stage) => planStage(context, blueprint, stage, input)) };
}

function planStage(context: QueueContext, { name }: Blueprint, stage: BlueprintStage, input: unknown): PlannedStage {
  const { spec } = stage;
  const what = `Stage '${stage.name}' of workflow '${name}'`;
  const own = findQueue(`${what}: queue`, spec.queue, context);
  const { description, jobOptions, onFailure } = spec;
  checkBatchOptions({ description, jobOptions, onFailure });
  storeCallbacks(spec.on, { ...context, own });
  if (spec.workflow !== undefined) {
    const below = spec.input === undefined ? input : made(spec.input, input);
    return { stage, own, jobs: [], run: planRun(context, blueprintOf(spec.workflow), below) };
  }
  const jobs = Array.from(jobsOf(what, spec, input), (job, i) =>
    storedJob(spec.jobs === undefined ? what : `${what}: job ${i}`, job, { ...context, own }, jobOptions),
  );
  return { stage, own, jobs, run: undefined };
}

function jobsOf(what: string, { name, data, opts, jobs }: AnyStage, input: unknown): Iterable<unknown> {
  if (jobs === undefined) {
    return [{ name, data: made(data, input) ?? {}, ...(opts === undefined ? {} : { opts }) }];
  }
  const list: unknown = made(jobs, input);
  if (typeof list !== 'object' || list === null || !(Symbol.iterator in list)) {
    throw new BatchOptionsError(`${what}: jobs is a list of { name, data?, opts?, queue? }, not ${describe(list)}.`);
  }
  return list as Iterable<unknown>;
}

/** What was given, or what the function that was given makes of the input. */
function made(value: unknown, input: unknown): unknown {
  return typeof value === 'function' ? value(input) : value;
}

/** A job with all that only this process knows: the name of its queue, and that queue's default options. */
function storedJob(what: string, job: unknown, context: QueueContext, jobOptions: object = {}): StoredJob {
  const { queue, name, data, opts } = checkJob(what, job, context);
  checkData(what, data);
  if (opts !== undefined && 'jobId' in opts) {
    throw new BatchOptionsError(`${what}: opts has no 'jobId' in a workflow: the run gives each job its id.`);
  }
  const resolved = { ...queue.queue.defaultJobOptions, ...jobOptions, ...opts } as JobsOptions;
  checkJson(`The defaultJobOptions of queue '${queue.name}'`, resolved);
  return {
    queue: queue.name,
    name,
    data,
    ...(Object.keys(resolved).length === 0 ? {} : { opts: resolved }),
  };
}
