import type { BatchContext } from '../batch/batch-context.js';
import type { Outcome } from '../model/workflow.js';
import type { Decision } from '../record/decide.js';
import { reportOutcome } from '../record/stages.js';
import { startStartable } from './start-stage.js';

/**
 * Reports the outcome of a stage to those after it, and starts those that can start now, before the stage's own batch
 * job ends. To be called, and after a crash called again, by the holder of that job: nothing is done twice.
 *
 * @returns 'changed' when the stage has other members by now, and is to be judged afresh; 'busy' when a stage that is
 * to be started is just ending, because it was skipped, and all this is to be tried again in a moment.
 */
export async function releaseNext(
  context: BatchContext,
  { snapshot: { definition, version }, reported: first }: Decision,
  outcome: Outcome,
  token: string,
): Promise<'released' | 'changed' | 'busy'> {
  const report = { token, version, outcome };
  let reported = first ?? (await reportOutcome(context.redis, definition, report));
  while (reported !== 'changed') {
    const { startable, next } = reported;
    const started = await Promise.all(startable.map((stage) => startStartable(context, stage)));
    if (started.includes('busy')) {
      return 'busy';
    }
    if (next === 0) {
      return 'released';
    }
    reported = await reportOutcome(context.redis, definition, { ...report, from: next });
  }
  return 'changed';
}
