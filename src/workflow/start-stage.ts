import type { BatchContext } from '../batch/batch-context.js';
import { type Member, memberEntries } from '../batch/member-jobs.js';
import { inProducerSpans, inTrace } from '../batch/trace.js';
import { BatchError } from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import { isFilledInSlices, type StoredJob } from '../model/workflow.js';
import { withWayOut } from '../record/out-of-memory.js';
import type { PlanSlice } from '../record/plan.js';
import type { StartableStage } from '../record/stages.js';
import { type StageStarted, startStage } from '../record/start-stage.js';

/** Starts a stage in the way that it needs, once, whoever starts it. Returns false when it is to be tried again. */
export async function startStartable(context: BatchContext, stage: StartableStage): Promise<boolean> {
  const { state, error } = await start(context, stage);
  if (state === 'failed') {
    const { id, stage: { name } = { name: id } } = stage.definition;
    throw new BatchError(`Stage '${name}' (${id}) was not started: ${withWayOut(String(error))}. It is tried again.`, {
      batchId: id,
    });
  }
  return state !== 'busy';
}

function start(context: BatchContext, { definition, plan }: StartableStage): Promise<StageStarted> {
  const { run, stage } = definition;
  if (run !== undefined) {
    return startStage(context.redis, definition, { how: 'run' });
  }
  if (stage !== undefined && isFilledInSlices(stage)) {
    return startStage(context.redis, definition, { how: 'fill' });
  }
  const members = plan === undefined ? [] : plannedMembers(context, definition, JSON.parse(plan));
  return inTrace(context.telemetry, definition.trace, () =>
    inProducerSpans(members, async (traceOf) => {
      const jobs = memberEntries(context, definition, members, traceOf);
      return startStage(context.redis, definition, { how: 'whole', jobs });
    }),
  );
}

/** Returns the jobs of a stage's plan, with ids that are the same whenever, and by whomever, they are added. */
export function plannedMembers(
  context: BatchContext,
  { id, nonce }: Pick<BatchDefinition, 'id' | 'nonce'>,
  { from, jobs }: PlanSlice,
): Member[] {
  return jobs.map((job, i) => stageMember(context, job, `${id}~${from + i}~${nonce}`));
}

export function stageMember(context: BatchContext, { queue, name, data, opts = {} }: StoredJob, id: string): Member {
  return { queue: context.queueNamed(queue), name, data, opts, id, isFresh: false };
}
