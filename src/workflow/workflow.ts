import type { Queue } from 'bullmq';
import { asParent, type Batch } from '../batch/batch.js';
import { checkSameBatches, type MemberQueue, memberQueueOf, type QueueContext } from '../batch/batch-context.js';
import { type BatchOptions, checkBatchOptions } from '../batch/batch-options.js';
import { enclosingBatch } from '../batch/enclosing-batch.js';
import { batchOf } from '../batch/lookup.js';
import type { JobLike, QueueLike } from '../batch/queue-like.js';
import { resultsOf } from '../batch/settled.js';
import { BatchError, BatchNotFoundError } from '../errors.js';
import { type DrawnStage, mermaid } from '../model/mermaid.js';
import { stageId } from '../model/workflow.js';
import { readDefinition } from '../record/change-definition.js';
import { checkKeys, checkName, checkObject, describe, escapedId } from '../validation.js';
import { type Blueprint, blueprintOf, keepBlueprint, makeBlueprint } from './blueprint.js';
import { checkKnown } from './graph.js';
import { WorkflowRun } from './run.js';
import type { Checked, InputOf, StageResult, Stages, WorkflowTypes } from './stage-options.js';
import { queueContextOf, startRun } from './start.js';

/** What a new run is to be beside its input. Everything is optional, and as for a batch. */
export type StartOptions = Pick<
  BatchOptions,
  'id' | 'description' | 'on' | 'parent' | 'openTimeout' | 'keep' | 'onFailure' | 'deadline' | 'metadata' | 'tags'
>;

const START_KEYS = [
  ...['id', 'description', 'on', 'parent', 'openTimeout', 'keep', 'onFailure', 'deadline', 'metadata', 'tags'],
];

/** Options of a workflow beside its stages; all are optional. */
export interface WorkflowOptions<Output extends string = string> {
  /** The queue of the stages that name none. Default: that of the first stage which names one. */
  readonly queue?: QueueLike;
  /** What people read in lists. Default: the workflow's name. */
  readonly description?: string;
  /** The stage whose results are those of a run, and of a stage that is this workflow. */
  readonly output?: Output;
}

/** Where a job is in a run. */
export interface WorkflowContext<Input, All extends Stages, Result = unknown> {
  /** What `start()` was given. */
  readonly input: Input;
  /** The stage that the job is a member, or a callback, of; undefined in a callback of the run itself. */
  readonly stage: (keyof All & string) | undefined;
  /** The run. */
  readonly run: WorkflowRun<Result>;
  /**
   * The batch that the job belongs to, mostly the stage's, with the job's right to add to it: what is added without a
   * `queue` goes to the job's own.
   */
  readonly batch: Batch<Queue>;
  /**
   * Yields what the jobs of a stage have returned, page by page, in no particular order. A job that returns nothing
   * (undefined or null) has no result.
   */
  results<Name extends keyof All & string>(stage: Name): AsyncGenerator<StageResult<All[Name]>, void>;
}

/** What a run of a workflow returns: the results of its output stage. */
export type OutputOf<All, Output> = [Output] extends [never]
  ? unknown
  : Output extends keyof All
    ? StageResult<All[Output]>
    : unknown;

/**
 * A workflow: stages that come after each other, declared in one place. See {@link defineWorkflow}.
 *
 * @example
 * const run = await importCustomers.start({ file: 'customers.csv' }, { id: 'upload-7' });
 */
export class Workflow<Input, All extends Stages, Output extends string = never> {
  /** The workflow's name. */
  readonly name: string;
  /** For the compiler only: undefined when the program runs. */
  declare readonly types?: WorkflowTypes<Input, OutputOf<All, Output>>;
  readonly #blueprint: Blueprint;

  /**
   * Workflows come from {@link defineWorkflow}.
   *
   * @internal
   */
  constructor(blueprint: Blueprint) {
    this.name = blueprint.name;
    this.#blueprint = blueprint;
    keepBlueprint(this, blueprint);
  }

  /**
   * Starts a run: creates it with all of its stages, and lets the first of them start. With an `id` it can be called
   * again after a crash, or by two processes at once: the run is the one that has the id, with the input that it was
   * given first, and each stage starts once.
   *
   * @param input what the run is about; processors find it with `of(job)`. It is kept in the run: pass what is large as
   * a reference.
   * @throws BatchOptionsError for input that JSON cannot carry, and for jobs that could not be added.
   * @throws BatchConflictError when the id is that of another batch, or of a run that was abandoned or cancelled before
   * it had all of its stages.
   *
   * @example
   * const run = await importCustomers.start({ file: 'customers.csv' }, { id: 'upload-7' });
   */
  async start(
    ...[input, options = {}]: unknown extends Input
      ? [input?: unknown, options?: StartOptions]
      : [input: Input, options?: StartOptions]
  ): Promise<WorkflowRun<OutputOf<All, Output>>> {
    checkObject('The options of start', options);
    checkKeys('start()', options, START_KEYS);
    const { parent: given, ...own } = options as StartOptions;
    checkBatchOptions(own);
    const above = given ?? enclosingBatch(`start() of workflow '${this.name}'`);
    const context = await queueContextOf(this.#blueprint);
    const parent = above && asParent(above);
    if (parent !== undefined) {
      checkSameBatches(`A run below batch '${parent.id}'`, context.own, context);
    }
    const run = await startRun(context, this.#blueprint, { input, options: own, parent: parent?.access });
    return new WorkflowRun({ ...run, context });
  }

  /**
   * Returns the handle of a run that exists.
   *
   * @throws BatchNotFoundError when there is no run of this workflow with the id.
   *
   * @example
   * await (await importCustomers.getRun('upload-7')).retry();
   */
  async getRun(wanted: string): Promise<WorkflowRun<OutputOf<All, Output>>> {
    checkName('The id of a run', wanted);
    const id = escapedId(wanted);
    const context = await queueContextOf(this.#blueprint);
    const definition = await readDefinition(context.redis, id);
    if (definition === undefined) {
      throw new BatchNotFoundError(wanted);
    }
    const { run } = definition;
    if (run?.workflow !== this.name) {
      const what = run === undefined ? 'a batch without a workflow' : `a run of '${run.workflow}'`;
      const message = `Workflow '${this.name}' has no run '${wanted}': there is ${what} with this id.`;
      throw new BatchNotFoundError(wanted, message);
    }
    return new WorkflowRun({ context, definition });
  }

  /**
   * Tells a processor, or a callback, where its job is: the run, its input, the stage, and the results of stages
   * before.
   *
   * @throws BatchError when the job is no part of a run of this workflow.
   *
   * @example
   * new Worker('cs', async (job) => {
   *   const { input, results } = await importCustomers.of(job);
   *   for await (const user of results('users')) await assign(user, input.file);
   * }, { connection });
   */
  async of(job: JobLike): Promise<WorkflowContext<Input, All, OutputOf<All, Output>>> {
    const context = await queueContextOf(this.#blueprint);
    const batch = await batchOf<Queue>({ ...context, own: this.#queueOf(job, context) }, job);
    let below: Batch | undefined;
    for (let at: Batch | undefined = batch; at !== undefined; at = await at.parent()) {
      if (batch !== undefined && at.definition.run?.workflow === this.name) {
        return this.#contextOf(context, { run: at, below, batch });
      }
      below = at;
    }
    throw new BatchError(
      `Job '${describe(job.id).slice(1, -1)}' of queue '${job.queueQualifiedName}' is no part of a run of workflow ` +
        `'${this.name}'.`,
    );
  }

  /**
   * Draws the stages as the text of a Mermaid flowchart; a stage that is a workflow is a subgraph with its own stages.
   *
   * @example
   * console.log(importCustomers.toMermaid());
   */
  toMermaid(): string {
    return mermaid(drawnStages(this.#blueprint));
  }

  /**
   * Says, for the compiler, what `start()` takes and `of(job)` gives as `input`: the same workflow. Not needed when a
   * function of a stage says so: `data: (input: { file: string }) => …`.
   *
   * @example
   * export const importCustomers = defineWorkflow('import-customers', stages).withInput<{ file: string }>();
   */
  withInput<NewInput extends Input>(): Workflow<NewInput, All, Output> {
    return this as unknown as Workflow<NewInput, All, Output>;
  }

  /** The queue that a job is in. */
  #queueOf(job: Partial<JobLike> | undefined, context: QueueContext): MemberQueue {
    const { own } = context;
    const qualifiedName = job?.queueQualifiedName ?? '';
    const queue = this.#blueprint.queues.find((one) => one.qualifiedName === qualifiedName);
    if (queue !== undefined) {
      return memberQueueOf(queue);
    }
    const isInReach = qualifiedName.startsWith(`${own.prefix}:`);
    return isInReach ? context.queueNamed(qualifiedName.slice(own.prefix.length + 1)) : own;
  }

  #contextOf(
    context: QueueContext,
    { run, below, batch }: { readonly run: Batch; readonly below: Batch | undefined; readonly batch: Batch<Queue> },
  ): WorkflowContext<Input, All, OutputOf<All, Output>> {
    const { id, definition } = run;
    const names = definition.run?.stages ?? [];
    return {
      input: definition.run?.input as Input,
      stage: below?.definition.stage?.name,
      run: new WorkflowRun({ context, definition }),
      batch,
      async *results(stage) {
        checkKnown('results()', stage, names);
        for await (const { isBatch, value } of resultsOf<never>(context, stageId(id, stage))) {
          if (!isBatch && value !== null) {
            yield value;
          }
        }
      },
    };
  }
}

function drawnStages({ stages }: Blueprint): DrawnStage[] {
  return stages.map(({ name, after, when, spec: { workflow } }) => ({
    ...{ name, after, when },
    stages: workflow && drawnStages(blueprintOf(workflow)),
  }));
}

/**
 * Declares a workflow: its stages, and which come after which. Each stage is a batch of its own, a child of the run,
 * with everything a batch can do. A stage without `after` starts at once; the others when all that they come after have
 * finished as `when` asks for, or they are *skipped*, which is no failure. Nothing is written: `start()` does.
 *
 * A stage is `{ queue, name }`, one job, with `forEach: 'stage'` one job per result of that stage; or `{ jobs: […] }`;
 * or `{ workflow }`, another workflow, made of this one's input with `input`.
 *
 * @param name of the workflow: processors find their run by it.
 * @throws BatchOptionsError for stages that go round, unknown or repeated names, and options that do not fit.
 *
 * @example
 * export const importCustomers = defineWorkflow('import-customers', {
 *   organizations: { queue: organizations, name: 'load-organizations' },
 *   users: { after: 'organizations', forEach: 'organizations', queue: users, name: 'import-user' },
 *   notify: { after: 'users', when: 'complete', queue: mail, name: 'send-report' },
 * });
 */
export function defineWorkflow<const All extends Stages, const Output extends keyof All & string = never>(
  name: string,
  stages: All & Checked<All>,
  options: WorkflowOptions<Output> = {},
): Workflow<InputOf<All>, All, Output> {
  return new Workflow(makeBlueprint(name, stages, options));
}
