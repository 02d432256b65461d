import type { BatchContext } from '../batch/batch-context.js';
import type { Outcome } from '../model/workflow.js';
import type { Decision } from '../record/decide.js';
import { beginRun, FIRST_STAGE, reportOutcome, type StartableStages } from '../record/stages.js';
import { startStartable } from './start-stage.js';

/**
 * Starts the first stages of a run that was sealed, each time that its batch job runs: what has started is left alone.
 *
 * @returns 'over' for a run that was cancelled or removed; `openFor`, for how many ms the run may stay open, when it
 * was not sealed; otherwise as `startEach()`.
 */
export function begin(context: BatchContext, batchId: string, token: string) {
  return startEach(context, (from) => beginRun(context.redis, batchId, token, from));
}

/**
 * Reports the outcome of a stage to those after it, and starts those that can start now, before the stage's own batch
 * job ends. To be called, and after a crash called again, by the holder of that job: nothing is done twice.
 *
 * @returns 'changed' when the stage has other members by now, and is to be judged afresh; otherwise as `startEach()`.
 */
export function releaseNext(
  context: BatchContext,
  { snapshot: { definition, version }, reported }: Decision,
  outcome: Outcome,
  token: string,
) {
  const report = (from: number) => reportOutcome(context.redis, definition.id, { token, version, outcome, from });
  return startEach(context, report, reported);
}

/**
 * Starts the stages that can start, as one command after the other finds them.
 *
 * @returns 'busy' when a stage cannot be started at this moment, because a BatchWorker is just ending it as skipped, or
 * one that it comes after: all this is to be tried again. `Otherwise` is what `find` returns instead of stages.
 */
async function startEach<Otherwise>(
  context: BatchContext,
  find: (from: number) => Promise<StartableStages | Otherwise>,
  first?: StartableStages,
): Promise<'started' | 'busy' | Otherwise> {
  for (let found = first ?? (await find(FIRST_STAGE)); ; found = await find(found.next)) {
    if (!areStartable(found)) {
      return found;
    }
    const started = await Promise.all(found.startable.map((stage) => startStartable(context, stage)));
    if (started.includes(false)) {
      return 'busy';
    }
    if (found.next === 0) {
      return 'started';
    }
  }
}

function areStartable<Otherwise>(found: StartableStages | Otherwise): found is StartableStages {
  return typeof found === 'object' && found !== null && 'startable' in found;
}
