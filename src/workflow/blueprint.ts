import { isQueue } from '../batch/batch-context.js';
import type { QueueLike } from '../batch/queue-like.js';
import { BatchOptionsError } from '../errors.js';
import { checkKeys, checkName, checkObject, describe } from '../validation.js';
import { checkKnown, type GraphStage, graphOf } from './graph.js';
import type { AnyStage, Stages } from './stage-options.js';

/** A stage as it was defined, with its place in the order. */
export interface BlueprintStage extends GraphStage {
  readonly spec: AnyStage;
}

/** A workflow as it was defined, found to be in order. */
export interface Blueprint {
  readonly name: string;
  readonly description: string | undefined;
  /** All queues that it was given as such. Its runs are created through the first one. */
  readonly queues: readonly [QueueLike, ...QueueLike[]];
  readonly stages: readonly BlueprintStage[];
  readonly output: string | undefined;
}

const blueprints = new WeakMap<object, Blueprint>();

export function keepBlueprint(workflow: object, blueprint: Blueprint): void {
  blueprints.set(workflow, blueprint);
}

/** What a workflow was defined as; for what defineWorkflow() has returned. */
export function blueprintOf(workflow: object): Blueprint {
  const blueprint = blueprints.get(workflow);
  if (blueprint === undefined) {
    throw new BatchOptionsError(`${describe(workflow)} is no workflow: pass what defineWorkflow() returned.`);
  }
  return blueprint;
}

/** Checks a definition whole, without asking Redis. */
export function makeBlueprint(name: string, stages: Stages, options: unknown): Blueprint {
  checkName('The name of a workflow', name);
  checkObject(`The options of workflow '${name}'`, options);
  checkKeys(`Workflow '${name}'`, options, ['queue', 'description', 'output']);
  const { queue, description, output } = options;
  const graph = graphOf(name, stages).map((stage) => ({ ...stage, spec: stages[stage.name] as AnyStage }));
  if (output !== undefined) {
    checkKnown(`Workflow '${name}': output`, output, Object.keys(stages));
  }
  if (description !== undefined) {
    checkName(`Workflow '${name}': description`, description);
  }
  for (const stage of graph) {
    checkMembers(`Stage '${stage.name}' of workflow '${name}'`, stage, stages);
  }
  return { name, description, output, queues: queuesOf(name, queue, stages), stages: graph };
}

/** Which of the options that say what a stage's members are go with which others. */
const KINDS = {
  name: ['queue', 'data', 'opts', 'forEach', 'jobOptions'],
  jobs: ['queue', 'jobOptions'],
  workflow: ['input'],
} as const;

function checkMembers(what: string, { spec, forEach }: BlueprintStage, stages: Stages): void {
  const kinds = (Object.keys(KINDS) as (keyof typeof KINDS)[]).filter((kind) => spec[kind] !== undefined);
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1) {
    throw new BatchOptionsError(
      `${what} needs one of 'name' (a job), 'jobs' (several) and 'workflow', and has ${kinds.join(' and ') || 'none'}.`,
    );
  }
  const others = Object.values(KINDS).flat();
  for (const option of others) {
    if (spec[option] !== undefined && !(KINDS[kind] as readonly string[]).includes(option)) {
      throw new BatchOptionsError(`${what} has '${kind}', and with it there is no '${option}'.`);
    }
  }
  if (kind === 'workflow') {
    blueprintOf(spec.workflow ?? {});
  }
  if (forEach !== undefined) {
    checkSource(what, forEach, spec, stages);
  }
}

function checkSource(what: string, forEach: string, { data }: AnyStage, stages: Stages): void {
  if (data !== undefined) {
    throw new BatchOptionsError(
      `${what} has forEach, so each job's data is a result of '${forEach}': it has no 'data'.`,
    );
  }
  const { workflow } = stages[forEach] ?? {};
  if (workflow !== undefined && blueprintOf(workflow).output === undefined) {
    throw new BatchOptionsError(
      `${what} has forEach: '${forEach}', which is a workflow without results of its own: give '${workflow.name}' an ` +
        `'output'.`,
    );
  }
}

function queuesOf(name: string, own: unknown, stages: Stages): [QueueLike, ...QueueLike[]] {
  const candidates: unknown[] = [
    own,
    ...Object.values(stages).flatMap(({ queue, jobs, workflow }) => [
      queue,
      ...(Array.isArray(jobs) ? (jobs as { readonly queue?: unknown }[]).map((job) => job.queue) : []),
      ...(workflow === undefined ? [] : blueprintOf(workflow).queues),
    ]),
  ];
  const [first, ...others] = candidates.filter(isQueue);
  if (first === undefined) {
    throw new BatchOptionsError(
      `Workflow '${name}' names no queue through which it reaches Redis: give a stage, or the workflow, a BullMQ ` +
        'Queue (a name alone does not tell the connection).',
    );
  }
  return [first, ...others];
}
