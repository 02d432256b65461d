import {
  type BatchContext,
  contextOf,
  type MemberQueue,
  memberQueueOf,
  type QueueContext,
} from '../batch/batch-context.js';
import type { BatchOptions } from '../batch/batch-options.js';
import { type DefinedBatch, defineBatch, type WorkflowPart } from '../batch/create.js';
import { newBatchId } from '../batch/ids.js';
import { type BatchAccess, isElsewhere } from '../batch/members.js';
import { removeBatch } from '../batch/remove.js';
import { revive } from '../batch/retry.js';
import { BatchOptionsError } from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import { isFilledInSlices, type StoredRun, type StoredStage, stageId } from '../model/workflow.js';
import { extendPlan, PLAN_SLICE } from '../record/plan.js';
import { BYTES_PER_COMMAND } from '../record/script.js';
import { sealBatch } from '../record/seal.js';
import { readSnapshot } from '../record/snapshot.js';
import { escapedId } from '../validation.js';
import type { Blueprint } from './blueprint.js';
import { type PlannedRun, type PlannedStage, planRun } from './plan-stages.js';

/**
 * A stage is open from when its run is created until it starts, however long what comes before it takes: 10 years,
 * which BullMQ can still store as a delay.
 */
const STAGE_OPEN_TIMEOUT_MS = 10 * 365 * 24 * 60 * 60 * 1000;

/** Where the batches of a workflow's runs are created. */
export async function queueContextOf({ queue }: Blueprint): Promise<QueueContext> {
  return { ...(await contextOf(queue)), own: memberQueueOf(queue) };
}

/**
 * Creates a run with all of its stages, open, and then seals it, which is what lets it begin: a producer that dies
 * before that has started nothing. It may start the run again under its id; otherwise the run is abandoned some day.
 */
export async function startRun(
  context: QueueContext,
  blueprint: Blueprint,
  {
    input,
    options,
    parent,
  }: { input: unknown; options: Omit<BatchOptions, 'parent'>; parent: BatchAccess | undefined },
): Promise<DefinedBatch> {
  const planned = planRun(context, blueprint, input);
  const { description = blueprint.description ?? blueprint.name } = options;
  const id = options.id === undefined ? newBatchId() : escapedId(options.id);
  const part = runPart(id, planned);
  const run = await defineBatch(context, { ...options, id, description }, parent, undefined, part);
  if (!run.created && (await readSnapshot(context.redis, id))?.sealedAt !== undefined) {
    return run;
  }
  await refuseElsewhere(context, run, planned);
  // Whatever the producer that created the run has given it, all of its stages are made of.
  const stored = run.created ? planned : planRun(context, blueprint, run.definition.run?.input);
  await createStages(context, run.definition, stored);
  if ((await sealBatch(context.redis, run.definition)) === 'to be revived') {
    await revive(context, id);
  }
  return run;
}

function runPart(id: string, { blueprint, input }: PlannedRun): WorkflowPart & { readonly run: StoredRun } {
  const { name, stages, output } = blueprint;
  return {
    run: {
      workflow: name,
      ...(input === undefined ? {} : { input }),
      stages: stages.map((stage) => stage.name),
      ...(output === undefined ? {} : { output }),
    },
    place: { roots: stages.flatMap((stage) => (stage.after.length === 0 ? stageId(id, stage.name) : [])) },
    preparation: 'begin',
  };
}

/** Creates the stages of a run, and of those that are workflows themselves. */
async function createStages(context: BatchContext, run: BatchDefinition, { stages }: PlannedRun): Promise<void> {
  const parent = { batch: run, links: [] };
  await Promise.all(
    stages.map(async (planned) => {
      const { spec, name } = planned.stage;
      const { description = name, on, jobOptions, onFailure } = spec;
      const id = stageId(run.id, name);
      const plan = planOf(planned);
      const stage = await defineBatch(
        { ...context, own: planned.own },
        {
          id,
          description,
          openTimeout: STAGE_OPEN_TIMEOUT_MS,
          ...(on === undefined ? {} : { on }),
          ...(jobOptions === undefined ? {} : { jobOptions }),
          ...(onFailure === undefined ? {} : { onFailure }),
        },
        parent,
        undefined,
        stagePart(run.id, planned, plan),
      );
      // As many as the producer meant to store that has created the stage: its functions may return other jobs now.
      const { slices = 1 } = stage.definition.stage ?? {};
      for (const [at, slice] of plan.slice(0, slices).entries()) {
        await (at > 0 && extendPlan(context.redis, stage.definition, at, slice));
      }
      if (planned.run !== undefined) {
        await createStages(context, stage.definition, planned.run);
      }
    }),
  );
}

function stagePart(runId: string, { stage, jobs, run }: PlannedStage, plan: readonly string[]): WorkflowPart {
  const { name, after, when, forEach, next } = stage;
  const below = run === undefined ? undefined : runPart(stageId(runId, name), run);
  const stored: StoredStage = {
    ...{ name, after, when },
    ...(forEach === undefined ? {} : { forEach, ...jobOf(jobs) }),
    ...(plan.length > 1 ? { slices: plan.length } : {}),
  };
  return {
    ...below,
    stage: stored,
    place: {
      ...below?.place,
      stage: { when, awaited: after.length, next: next.map((one) => stageId(runId, one)) },
      plan: plan[0],
    },
    preparation: below?.preparation ?? (isFilledInSlices(stored) ? 'fill' : undefined),
  };
}

function jobOf([job]: PlannedStage['jobs']): Pick<StoredStage, 'job'> {
  return job === undefined ? {} : { job: { ...job, data: undefined } };
}

/** Returns the jobs of a stage as the slices of its plan, as JSON, each of them small enough for one command. */
function planOf({ jobs, stage, run }: PlannedStage): string[] {
  if (stage.forEach !== undefined || run !== undefined) {
    return [];
  }
  const slices: { readonly from: number; readonly jobs: string[] }[] = [];
  let room = 0;
  jobs.forEach((job, from) => {
    const json = JSON.stringify(job);
    const slice = slices.at(-1);
    if (slice === undefined || slice.jobs.length === PLAN_SLICE || room < json.length) {
      slices.push({ from, jobs: [json] });
      room = BYTES_PER_COMMAND - json.length;
    } else {
      slice.jobs.push(json);
      room -= json.length;
    }
  });
  return slices.map(({ from, jobs }) => `{"from":${from},"jobs":[${jobs.join(',')}]}`);
}

/** Jobs are stored in the Redis of their run: workers of a queue that is in another one would never see them. */
async function refuseElsewhere(
  context: BatchContext,
  { definition, created }: DefinedBatch,
  planned: PlannedRun,
): Promise<void> {
  for (const queue of queuesOf(planned)) {
    if (await isElsewhere(context, definition, queue)) {
      if (created) {
        await removeBatch(context, definition, { members: false, force: true }).catch(() => {});
      }
      throw new BatchOptionsError(
        `Workflow '${planned.blueprint.name}': queue '${queue.name}' is in another Redis, or another database of ` +
          'it. All queues of a workflow share one.',
      );
    }
  }
}

function queuesOf({ stages }: PlannedRun): Set<MemberQueue> {
  return new Set(stages.flatMap(({ own, run }) => [own, ...(run === undefined ? [] : queuesOf(run))]));
}
