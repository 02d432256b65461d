import type { BatchDefinition } from '../model/definition.js';
import { progressOf, stateOf } from '../model/rules.js';
import type { Snapshot } from '../model/snapshot.js';
import { stageId } from '../model/workflow.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import type { StageStatus } from './status.js';

/** The stages of a run, in the order of its definition; one that is gone is left out. */
export async function stagesOf(
  context: BatchContext,
  { id, run }: BatchDefinition,
): Promise<StageStatus[] | undefined> {
  if (run === undefined) {
    return undefined;
  }
  const stages = await Promise.all(run.stages.map((name) => readSnapshot(context.redis, stageId(id, name))));
  return stages.flatMap((snapshot) => (snapshot === undefined ? [] : stageStatus(snapshot)));
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
