import type { BatchContext } from '../../batch/batch-context.js';
import { stagesOf } from '../../batch/stages.js';
import { readDefinition } from '../../record/change-definition.js';
import { skipOrphan } from '../../record/skip-orphan.js';
import { roundOfNeed } from './round.js';
import type { Service, Turn } from './service.js';

/**
 * Skips stages that come after one that is gone. A stage waits for the report of the one before it; when that was
 * removed by hand, nothing else would end the wait.
 */
export function orphanedStages(context: BatchContext, intervalMs: number): Service {
  return roundOfNeed(context, 'stages', {
    intervalMs,
    pace: { share: 0.1 },
    atOnce: 4,
    attend: (runId, turn) => attend(context, runId, turn),
  });
}

async function attend(context: BatchContext, runId: string, turn: Turn): Promise<void> {
  const definition = await readDefinition(context.redis, runId);
  const stages = (definition && (await stagesOf(context, definition))) ?? [];
  const there = new Set(stages.map(({ name }) => name));
  for (const { id, state, after } of stages) {
    const mayBeOrphan = state === 'waiting' && after.some((name) => !there.has(name));
    if (mayBeOrphan && (await skipOrphan(context.redis, id))) {
      turn.repaired({ batchId: id, missing: 0, settled: 0, woken: true });
    }
  }
}
