import {
  type BatchContext,
  contextOf,
  type MemberQueue,
  memberQueueOf,
  type QueueContext,
} from '../batch/batch-context.js';
import type { BatchOptions } from '../batch/batch-options.js';
import { refuseCallbacksElsewhere } from '../batch/callbacks-elsewhere.js';
import { type DefinedBatch, defineBatch, type WorkflowPart } from '../batch/create.js';
import { newBatchId } from '../batch/ids.js';
import { type BatchAccess, isElsewhere } from '../batch/members.js';
import { removeBatch } from '../batch/remove.js';
import { sealAndRevive } from '../batch/seal.js';
import {
  BatchConflictError,
  type BatchError,
  BatchFinishedError,
  BatchNotFoundError,
  BatchOptionsError,
  BatchSealedError,
} from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import { isFilledInSlices, type StoredRun, type StoredStage, stageId } from '../model/workflow.js';
import { extendPlan, PLAN_SLICE, readPlanEnd, type StoredSlice, storedSlice } from '../record/plan.js';
import { BYTES_PER_COMMAND } from '../record/script.js';
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
export async function queueContextOf({ queues: [queue] }: Blueprint): Promise<QueueContext> {
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
  await refuseCallbacksElsewhere(context, callbacksOf(planned));
  const run = await defineBatch(context, { ...options, id, description }, parent, undefined, part);
  if (!run.created && (await readSnapshot(context.redis, id))?.sealedAt !== undefined) {
    return run;
  }
  await refuseElsewhere(context, run, planned);
  // Whatever the producer that created the run has given it, all of its stages are made of.
  const stored = run.created ? planned : planRun(context, blueprint, run.definition.run?.input);
  await createStages(context, run.definition, stored).catch(async (error: unknown) => {
    throw isRefused(error) ? await notResumed(context, run.definition) : error;
  });
  await sealAndRevive(context, run.definition);
  return run;
}

/** Nothing can be added to the run, or to a stage that is a workflow. */
function isRefused(error: unknown): boolean {
  return error instanceof BatchSealedError || error instanceof BatchFinishedError;
}

/** Says what to do with a run that cannot have all of its stages any more. */
async function notResumed(context: BatchContext, { id, parentId }: BatchDefinition): Promise<BatchError> {
  const snapshot = await readSnapshot(context.redis, id);
  if (snapshot === undefined) {
    return new BatchNotFoundError(id);
  }
  const { cancelledAt, abandonedAt } = snapshot;
  const what = cancelledAt !== undefined ? 'was cancelled' : abandonedAt !== undefined ? 'was abandoned' : undefined;
  const wayOut =
    parentId === undefined
      ? `Remove it, (await workflow.getRun('${id}')).remove({ force: true }), and start it again, or use another id.`
      : 'Start it with another id.';
  return new BatchConflictError(
    `Run '${id}' ${what ?? 'had a stage cancelled'} before all of its stages were created: none of them has started, ` +
      `and none will. ${wayOut}`,
    { batchId: id },
  );
}

function runPart(id: string, { blueprint, input }: PlannedRun): WorkflowPart & { readonly run: StoredRun } {
  const { name, stages, output } = blueprint;
  return {
    run: {
      workflow: name,
      input,
      stages: stages.map((stage) => stage.name),
      output,
    },
    place: { roots: stages.flatMap((stage) => (stage.after.length === 0 ? stageId(id, stage.name) : [])) },
    preparation: 'begin',
  };
}

/**
 * Creates the stages of a run, and of those that are workflows themselves, each one after those that it comes after:
 * whenever the run is abandoned, each stage that exists can be reached, and is skipped, from one that comes first.
 */
async function createStages(context: BatchContext, run: BatchDefinition, { stages }: PlannedRun): Promise<void> {
  const byName = new Map(stages.map((planned) => [planned.stage.name, planned]));
  const created = new Map<string, Promise<DefinedBatch>>();
  const createInOrder = async (planned: PlannedStage) => {
    await Promise.all(planned.stage.after.map((name) => create(byName.get(name) as PlannedStage)));
    return createStage(context, run, planned);
  };
  const create = (planned: PlannedStage): Promise<DefinedBatch> => {
    const { name } = planned.stage;
    const creating = created.get(name) ?? createInOrder(planned);
    created.set(name, creating);
    return creating;
  };
  await Promise.all(
    stages.map(async (planned) => {
      const stage = await create(planned);
      await completePlan(context, stage, planned);
      if (planned.run !== undefined) {
        await createStages(context, stage.definition, planned.run);
      }
    }),
  );
}

function createStage(context: BatchContext, run: BatchDefinition, planned: PlannedStage): Promise<DefinedBatch> {
  const { spec, name } = planned.stage;
  const { description = name, on, jobOptions, onFailure } = spec;
  return defineBatch(
    { ...context, own: planned.own },
    {
      id: stageId(run.id, name),
      description,
      openTimeout: STAGE_OPEN_TIMEOUT_MS,
      ...(on === undefined ? {} : { on }),
      ...(jobOptions === undefined ? {} : { jobOptions }),
      ...(onFailure === undefined ? {} : { onFailure }),
    },
    { batch: run, links: [] },
    undefined,
    stagePart(run.id, planned, planOf(planned, 0)),
  );
}

/**
 * Stores the rest of the plan of a stage. A plan that another producer has begun goes on where it ends: this one may
 * cut it into other slices, because its functions can return other jobs now. There are as many jobs in the end as the
 * producer meant to store that has created the stage.
 */
async function completePlan(
  context: BatchContext,
  { definition, created }: DefinedBatch,
  planned: PlannedStage,
): Promise<void> {
  const { planned: length } = definition.stage ?? {};
  if (length === undefined) {
    return;
  }
  const fromItsEnd = async () => planOf(planned, await readPlanEnd(context.redis, definition.id), length);
  let rest = created ? planOf(planned, 0).slice(1) : await fromItsEnd();
  for (let slice = rest.shift(); slice !== undefined; slice = rest.shift()) {
    const { from } = slice;
    if (!(await extendPlan(context.redis, definition, slice))) {
      // Another producer was faster, unless the plan has not grown: then the stage has started, or is gone.
      rest = (await fromItsEnd()).filter((other) => other.from > from);
    }
  }
}

function stagePart(runId: string, { stage, jobs, run }: PlannedStage, plan: readonly StoredSlice[]): WorkflowPart {
  const { name, after, when, forEach, next } = stage;
  const [job] = jobs;
  const below = run === undefined ? undefined : runPart(stageId(runId, name), run);
  const stored: StoredStage = {
    ...{ name, after, when, forEach },
    job: forEach === undefined || job === undefined ? undefined : { ...job, data: undefined },
    planned: plan.length > 1 ? jobs.length : undefined,
  };
  return {
    ...below,
    stage: stored,
    place: {
      ...below?.place,
      stage: {
        when,
        after: after.map((one) => stageId(runId, one)),
        next: next.map((one) => stageId(runId, one)),
      },
      plan: plan[0]?.json,
    },
    preparation: below?.preparation ?? (isFilledInSlices(stored) ? 'fill' : undefined),
  };
}

/** Returns the jobs of a stage, those at these positions, as slices of its plan, each small enough for one command. */
function planOf({ jobs, stage, run }: PlannedStage, from: number, to = jobs.length): StoredSlice[] {
  if (stage.forEach !== undefined || run !== undefined) {
    return [];
  }
  const slices: { readonly from: number; readonly jobs: string[] }[] = [];
  let room = 0;
  jobs.slice(from, to).forEach((job, i) => {
    const json = JSON.stringify(job);
    const slice = slices.at(-1);
    if (slice === undefined || slice.jobs.length === PLAN_SLICE || room < json.length) {
      slices.push({ from: from + i, jobs: [json] });
      room = BYTES_PER_COMMAND - json.length;
    } else {
      slice.jobs.push(json);
      room -= json.length;
    }
  });
  return slices.map((slice) => storedSlice(slice.from, slice.jobs));
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

/** The callbacks of all stages, as they were given. */
function callbacksOf({ stages }: PlannedRun): unknown[] {
  return stages.flatMap(({ stage, run }) => [
    ...Object.values(stage.spec.on ?? {}).flat(),
    ...(run === undefined ? [] : callbacksOf(run)),
  ]);
}
