import type { BatchContext } from '../batch/batch-context.js';
import { type Member, memberEntries } from '../batch/member-jobs.js';
import { inProducerSpans, inTrace } from '../batch/trace.js';
import { BatchError } from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import type { StoredJob } from '../model/workflow.js';
import { type StageStarted, type StartableStage, startStage } from '../record/stages.js';

/** Starts a stage in the way that it needs, once, whoever starts it. */
export async function startStartable(
  context: BatchContext,
  stage: StartableStage,
): Promise<'started' | 'past' | 'busy'> {
  const started = await start(context, stage);
  if (typeof started === 'object') {
    const { id, stage: { name } = { name: id } } = stage.definition;
    throw new BatchError(`Stage '${name}' (${id}) was not started: ${started.error}.`, { batchId: id });
  }
  return started;
}

function start(context: BatchContext, { definition, plan, planLength }: StartableStage): Promise<StageStarted> {
  if (definition.run !== undefined) {
    return startStage(context.redis, definition, { how: 'run' });
  }
  if (definition.stage?.forEach !== undefined || plan.length < planLength) {
    return startStage(context.redis, definition, { how: 'fill' });
  }
  const members = plan.map((json, position) => plannedMember(context, definition, json, position));
  const queues = [...new Set(members.map(({ queue }) => queue))];
  return inTrace(context.telemetry, definition.trace, () =>
    inProducerSpans(queues, members, async (traceOf) => {
      const adding = { batchId: definition.id, jobIds: members.map(({ id }) => id) };
      const jobs = memberEntries(context, definition, members, traceOf, adding);
      return startStage(context.redis, definition, { how: 'whole', jobs });
    }),
  );
}

/** A job of a stage's plan, with an id that is the same whenever, and by whomever, it is added. */
export function plannedMember(
  context: BatchContext,
  { id, nonce }: Pick<BatchDefinition, 'id' | 'nonce'>,
  json: string,
  position: number,
): Member {
  return stageMember(context, JSON.parse(json), `${id}~${position}~${nonce}`);
}

export function stageMember(context: BatchContext, { queue, name, data, opts = {} }: StoredJob, id: string): Member {
  return { queue: context.queueNamed(queue), name, data, opts, id, isNamed: false };
}
