import type { BatchDefinition } from '../model/definition.js';
import { progressOf, stateOf } from '../model/rules.js';
import type { Snapshot } from '../model/snapshot.js';
import { stageId } from '../model/workflow.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import type { StageStatus } from './status.js';

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
  return snapshots.flatMap((snapshot) =>
    snapshot === undefined ? [] : stageStatus(snapshot).map((status) => ({ definition: snapshot.definition, status })),
  );
}

function stageStatus(snapshot: Snapshot): StageStatus[] {
  const { definition, counts, ended, finishedAt, startedAt, failedReason } = snapshot;
  const { id, stage } = definition;
  return stage === undefined
    ? []
    : [
        {
          name: stage.name,
          id,
          state: stateOf(snapshot),
          after: stage.after,
          when: stage.when,
          ...counts,
          progress: progressOf(counts, ended !== undefined),
          startedAt,
          finishedAt,
          failedReason: ended === 'failed' ? failedReason : undefined,
        },
      ];
}
