import type { Home } from '../batch/home.js';
import { type Member, memberJobs, optionsOf } from '../batch/member-jobs.js';
import { inProducerSpans, inTrace } from '../batch/trace.js';
import { BatchError } from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import type { StoredJob } from '../model/workflow.js';
import { type StageStarted, type StartableStage, startStage } from '../record/stages.js';

/** Starts a stage in the way that it needs, once, whoever starts it. */
export async function startStartable(home: Home, stage: StartableStage): Promise<'started' | 'past' | 'busy'> {
  const started = await start(home, stage);
  if (typeof started === 'object') {
    const { id, stage: { name } = { name: id } } = stage.definition;
    throw new BatchError(`Stage '${name}' (${id}) was not started: ${started.error}.`, { batchId: id });
  }
  return started;
}

function start(home: Home, { definition, plan, planLength }: StartableStage): Promise<StageStarted> {
  if (definition.run !== undefined) {
    return startStage(home.redis, definition, { how: 'run' });
  }
  if (definition.stage?.forEach !== undefined || plan.length < planLength) {
    return startStage(home.redis, definition, { how: 'fill' });
  }
  const members = plan.map((json, position) => plannedMember(home, definition, json, position));
  const queues = [...new Set(members.map(({ queue }) => queue))];
  return inTrace(home.telemetry, definition.trace, () =>
    inProducerSpans(queues, members, async (traceOf) => {
      const to = { home, batch: definition, options: optionsOf(definition) };
      const adding = { batchId: definition.id, jobIds: members.map(({ id }) => id) };
      const { entries } = memberJobs(to, members, traceOf, adding);
      return startStage(home.redis, definition, { how: 'whole', jobs: entries });
    }),
  );
}

/** A job of a stage's plan, with an id that is the same whenever, and by whomever, it is added. */
export function plannedMember(
  home: Home,
  { id, nonce }: Pick<BatchDefinition, 'id' | 'nonce'>,
  json: string,
  position: number,
): Member {
  return stageMember(home, JSON.parse(json), `${id}~${position}~${nonce}`);
}

export function stageMember(home: Home, { queue, name, data, opts = {} }: StoredJob, id: string): Member {
  return { queue: home.queueNamed(queue), name, data, opts, id, isNamed: false };
}
