// Checked by the compiler (npm run typecheck); nothing here runs.
import { type Job, Queue } from 'bullmq';
import { expectTypeOf } from 'vitest';
import { defineWorkflow, type Stages, withBatches } from '../../src/index.js';

type Organization = { name: string };
type User = { email: string };
const connection = {};

const organizations = withBatches(new Queue<{ file: string }, Organization, 'load'>('organizations', { connection }));
const users = withBatches(new Queue<Organization, User, 'import' | 'check'>('users', { connection }));
const mail = withBatches(new Queue('mail', { connection }));
const job = {} as Job;

async function typesFlowFromTheStages() {
  const workflow = defineWorkflow(
    'import',
    {
      load: { queue: organizations, name: 'load', data: (input: { file: string }) => input },
      users: { after: 'load', forEach: 'load', queue: users, name: 'import' },
      report: { after: ['load', 'users'], when: 'complete', queue: mail, name: 'report' },
    },
    { output: 'users' },
  );
  const run = await workflow.start({ file: 'a.csv' }, { id: 'run' });
  // @ts-expect-error an input that the stages' functions do not take
  await workflow.start({ path: 'a.csv' });
  // @ts-expect-error no input
  await workflow.start();
  // @ts-expect-error an option that a run does not have
  await workflow.start({ file: 'a.csv' }, { ids: 'run' });

  const context = await workflow.of(job);
  expectTypeOf(context.input).toEqualTypeOf<{ file: string }>();
  expectTypeOf(context.stage).toEqualTypeOf<'load' | 'users' | 'report' | undefined>();
  for await (const organization of context.results('load')) {
    expectTypeOf(organization).toEqualTypeOf<Organization>();
  }
  for await (const user of context.results('users')) {
    expectTypeOf(user).toEqualTypeOf<User>();
  }
  // @ts-expect-error a stage that there is not
  context.results('user');
  for await (const result of run.results()) {
    if (!result.isBatch) {
      expectTypeOf(result.value).toEqualTypeOf<User>();
    }
  }

  const outer = defineWorkflow('outer', {
    inner: { workflow, input: (input: { files: string[] }) => ({ file: input.files[0] ?? '' }) },
    last: { after: 'inner', queue: mail, name: 'last' },
  });
  await outer.start({ files: ['a.csv'] });
  for await (const user of (await outer.of(job)).results('inner')) {
    expectTypeOf(user).toEqualTypeOf<User>();
  }
}

function namesAreKnown() {
  // @ts-expect-error a stage that there is not
  defineWorkflow('w', { a: { queue: mail, name: 'a' }, b: { after: 'c', queue: mail, name: 'b' } });
  // @ts-expect-error a stage that there is not, among others
  defineWorkflow('w', { a: { queue: mail, name: 'a' }, b: { after: ['a', 'c'], queue: mail, name: 'b' } });
  // @ts-expect-error a stage that there is not
  defineWorkflow('w', { a: { queue: mail, name: 'a' }, b: { forEach: 'c', queue: mail, name: 'b' } });
  // @ts-expect-error results that the queue does not take as data
  defineWorkflow('w', { a: { queue: users, name: 'import' }, b: { forEach: 'a', queue: organizations, name: 'load' } });
  // @ts-expect-error a name that the queue does not have
  defineWorkflow('w', { a: { queue: users, name: 'imports' } });
  // @ts-expect-error data that the queue does not take
  defineWorkflow('w', { a: { queue: organizations, name: 'load', data: { path: 'a.csv' } } });
  // @ts-expect-error an output that is no stage
  defineWorkflow('w', { a: { queue: mail, name: 'a' } }, { output: 'b' });
  // @ts-expect-error a way that there is not
  defineWorkflow('w', { a: { queue: mail, name: 'a' }, b: { after: 'a', when: 'always', queue: mail, name: 'b' } });
}

async function inputCanBeSaid() {
  const workflow = defineWorkflow('w', { a: { queue: mail, name: 'a' } });
  await workflow.start();
  await workflow.start({ anything: 1 });
  const typed = workflow.withInput<{ file: string }>();
  await typed.start({ file: 'a.csv' });
  // @ts-expect-error another input
  await typed.start({ path: 'a.csv' });
  expectTypeOf((await typed.of(job)).input).toEqualTypeOf<{ file: string }>();
}

async function stagesCanBeMadeAtRunTime() {
  const stages: Record<string, Stages[string]> = {};
  for (let n = 0; n < 20; n++) {
    stages[`layer-${n}`] = { queue: mail, jobs: [{ name: 'job' }], ...(n === 0 ? {} : { after: `layer-${n - 1}` }) };
  }
  await defineWorkflow('layers', stages).start();
}

void [typesFlowFromTheStages, namesAreKnown, inputCanBeSaid, stagesCanBeMadeAtRunTime];
