import { BatchOptionsError } from '../errors.js';
import type { When } from '../model/workflow.js';
import { checkKeys, checkName, checkObject, describe, nearest } from '../validation.js';

/*
 * What a definition says of the order of its stages, checked. No Redis here.
 */

/** A stage in the order of its workflow. */
export interface GraphStage {
  readonly name: string;
  readonly after: readonly string[];
  readonly when: When;
  readonly forEach: string | undefined;
  /** Those that come after it. */
  readonly next: readonly string[];
}

/** More are no stages but members: give one stage many jobs. */
const MOST_STAGES = 1000;

const WHENS: readonly When[] = ['success', 'complete', 'failure'];

const STAGE_KEYS = [
  ...['after', 'when', 'forEach', 'queue', 'name', 'data', 'opts', 'jobs', 'workflow', 'input'],
  ...['description', 'on', 'jobOptions', 'onFailure'],
];

/** Checks the stages of a workflow as far as their order goes. */
export function graphOf(workflow: string, stages: unknown): GraphStage[] {
  checkObject(`The stages of workflow '${workflow}'`, stages);
  const names = Object.keys(stages);
  if (names.length === 0 || names.length > MOST_STAGES) {
    throw new BatchOptionsError(
      `Workflow '${workflow}' has ${names.length} stages: it needs 1 to ${MOST_STAGES.toLocaleString('en')}. What is ` +
        'many and alike are members of one stage: forEach, or jobs.',
    );
  }
  const before = names.map((name) => predecessors(workflow, name, stages[name], names));
  refuseCycles(workflow, before);
  return before.map((stage) => ({
    ...stage,
    next: before.flatMap(({ name, after }) => (after.includes(stage.name) ? [name] : [])),
  }));
}

type Ordered = Omit<GraphStage, 'next'>;

function predecessors(workflow: string, name: string, stage: unknown, names: readonly string[]): Ordered {
  const what = `Stage '${name}' of workflow '${workflow}'`;
  checkStageName(what, name);
  checkObject(what, stage);
  checkKeys(what, stage, STAGE_KEYS);
  const { when = 'success', after: given = [], forEach } = stage;
  const after: string[] = Array.isArray(given) ? given : [given];
  for (const name of after) {
    checkKnown(`${what}: after`, name, names);
  }
  if (forEach !== undefined) {
    checkKnown(`${what}: forEach`, forEach, names);
  }
  const [twice] = after.filter((one, i) => after.indexOf(one) !== i);
  if (twice !== undefined) {
    throw new BatchOptionsError(`${what}: after has '${twice}' twice.`);
  }
  if (!WHENS.includes(when as When)) {
    throw new BatchOptionsError(`${what}: when is one of ${WHENS.join(', ')}, not ${describe(when)}.`);
  }
  const all = forEach === undefined || after.includes(forEach) ? after : [...after, forEach];
  if (stage.when !== undefined && all.length === 0) {
    throw new BatchOptionsError(`${what} has 'when' and comes after nothing: it starts at once. Say 'after' what.`);
  }
  return { name, after: all, when: when as When, forEach };
}

function checkStageName(what: string, name: string): void {
  checkName(what, name);
  if (/[:~.\s]/.test(name)) {
    throw new BatchOptionsError(`${what}: the name of a stage has no ':', '~', '.' and no space.`);
  }
}

/** Refuses the name of a stage that is none of these. */
export function checkKnown(what: string, name: unknown, names: readonly string[]): asserts name is string {
  checkName(what, name);
  if (!names.includes(name)) {
    const near = nearest(name, names);
    const hint = near === undefined ? `Stages are: ${names.join(', ')}.` : `Did you mean '${near}'?`;
    throw new BatchOptionsError(`${what} names the stage '${name}', which does not exist. ${hint}`);
  }
}

/** Takes away stages that come after nothing that is left, until none does: what stays goes round. */
function refuseCycles(workflow: string, stages: readonly Ordered[]): void {
  const left = new Map(stages.map((stage) => [stage.name, stage]));
  for (let taken = true; taken; ) {
    taken = false;
    for (const { name, after } of left.values()) {
      if (!after.some((one) => left.has(one))) {
        taken = left.delete(name);
      }
    }
  }
  const [start] = left.values();
  if (start !== undefined) {
    throw new BatchOptionsError(
      `The stages of workflow '${workflow}' form a cycle: ${cycleFrom(start, left).join(' → ')}. A stage cannot come ` +
        'after itself.',
    );
  }
}

/** Walks back, and reads the cycle that it comes to in the order in which its stages would run. */
function cycleFrom(start: Ordered, left: ReadonlyMap<string, Ordered>): string[] {
  const path: string[] = [];
  for (let at: Ordered | undefined = start; at !== undefined && !path.includes(at.name); ) {
    path.push(at.name);
    at = left.get(at.after.find((one) => left.has(one)) ?? '');
    if (at !== undefined && path.includes(at.name)) {
      return [...path.slice(path.indexOf(at.name)), at.name].reverse();
    }
  }
  return path;
}
