import type { BatchDefinition } from '../model/definition.js';
import type { Snapshot } from '../model/snapshot.js';
import { type StoredStage, stageId } from '../model/workflow.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import { type StageStatus, statusOf } from './status.js';

/** How many stages below those of a run itself are read with it at most: each stage has a status of its own. */
const MOST_STAGES = 2000;

/** Reads the stages of a run, and of the workflows among them, level by level; undefined for a batch that is no run. */
export async function allStagesOf(
  context: BatchContext,
  definition: BatchDefinition,
): Promise<StageStatus[] | undefined> {
  const stages = await readStages(context, definition);
  let left = MOST_STAGES;
  for (let level = stages ?? []; level.length > 0; ) {
    const runs = level.filter(({ definition: { run } }) => {
      left -= run === undefined ? 0 : run.stages.length;
      return run !== undefined && left >= 0;
    });
    const below = await Promise.all(runs.map((stage) => readStages(context, stage.definition)));
    runs.forEach((stage, i) => {
      stage.below = below[i] ?? [];
    });
    level = below.flatMap((some) => some ?? []);
  }
  return stages?.map(statusWithStages);
}

interface ReadStage {
  readonly definition: BatchDefinition;
  readonly status: StageStatus;
  below?: readonly ReadStage[];
}

function statusWithStages({ status, below }: ReadStage): StageStatus {
  return below === undefined ? status : { ...status, stages: below.map(statusWithStages) };
}

/** Reads the stages of a run, in the order of its definition; one that is gone is left out. */
export async function stagesOf(context: BatchContext, definition: BatchDefinition): Promise<StageStatus[] | undefined> {
  return (await readStages(context, definition))?.map(({ status }) => status);
}

async function readStages(context: BatchContext, { id, run }: BatchDefinition): Promise<ReadStage[] | undefined> {
  if (run === undefined) {
    return undefined;
  }
  const snapshots = await Promise.all(run.stages.map((name) => readSnapshot(context.redis, stageId(id, name))));
  return snapshots.flatMap((snapshot) => {
    const { definition } = snapshot ?? {};
    return definition?.stage === undefined || snapshot === undefined
      ? []
      : { definition, status: stageStatus(definition.stage, snapshot) };
  });
}

function stageStatus(stage: StoredStage, snapshot: Snapshot): StageStatus {
  const { name, after, when } = stage;
  const { id, state, progress, finishedAt, failedReason } = statusOf(snapshot);
  const { counts, startedAt } = snapshot;
  return { name, id, state, after, when, ...counts, progress, startedAt, finishedAt, failedReason };
}
