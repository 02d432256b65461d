import { BatchOptionsError, defineWorkflow, type Stages } from '../../src/index.js';
import { describe, expect, test } from '../support/test.js';

const stage = { name: 'job' };

describe('defineWorkflow refuses', () => {
  const cases: Readonly<Record<string, readonly [stages: object, message: RegExp]>> = {
    'stages that go round, and shows how': [
      { a: { ...stage, after: 'c' }, b: { ...stage, after: 'a' }, c: { ...stage, after: ['b', 'd'] }, d: stage },
      /'w' form a cycle: (a → b → c → a|b → c → a → b|c → a → b → c)\. A stage cannot come after itself/,
    ],
    'a stage that comes after itself': [{ a: { ...stage, after: 'a' } }, /form a cycle: a → a\./],
    'an unknown stage, and says which may be meant': [
      { organizations: stage, users: { ...stage, after: 'organisations' } },
      new RegExp(
        "'users' of workflow 'w': after names the stage 'organisations', which does not exist\\. " +
          "Did you mean 'organizations'\\?",
      ),
    ],
    'an unknown stage, and lists those that there are': [
      { a: stage, users: { ...stage, forEach: 'something' } },
      /forEach names the stage 'something', which does not exist\. Stages are: a, users\./,
    ],
    'a stage twice in after': [{ a: stage, b: { ...stage, after: ['a', 'a'] } }, /after has 'a' twice/],
    'a mistyped option': [{ a: stage, b: { ...stage, afer: 'a' } }, /has no option 'afer'\. Did you mean 'after'\?/],
    'an unknown when': [{ a: stage, b: { ...stage, after: 'a', when: 'always' } }, /when is one of success, complete,/],
    'a when without after': [{ a: { ...stage, when: 'failure' } }, /has 'when' and comes after nothing/],
    'a stage without members': [
      { a: {} },
      /needs one of 'name' \(a job\), 'jobs' \(several\) and 'workflow', and has none/,
    ],
    'a stage with two kinds of members': [{ a: { ...stage, jobs: [] } }, /has name and jobs\./],
    'options that do not go together': [{ a: { jobs: [], data: {} } }, /has 'jobs', and with it there is no 'data'/],
    'data beside forEach': [
      { a: stage, b: { ...stage, forEach: 'a', data: {} } },
      /each job's data is a result of 'a'/,
    ],
    'a name that ids cannot carry': [{ 'a.b': stage }, /the name of a stage has no ':', '~', '\.' and no space/],
    'what is no workflow': [{ a: { workflow: {} } }, /is no workflow: pass what defineWorkflow\(\) returned/],
    'no stages': [{}, /has 0 stages/],
  };

  test.for(Object.keys(cases))('%s', (name, { testbed }) => {
    const [stages, message] = cases[name] as (typeof cases)[string];
    const define = () => defineWorkflow('w', stages as Stages, { queue: testbed.queue('work') });
    expect(define).toThrow(BatchOptionsError);
    expect(define).toThrow(message);
  });

  test('an output that is no stage, forEach of a workflow without output, and no queue at all', ({ testbed }) => {
    const queue = testbed.queue('work');
    const inner = defineWorkflow('inner', { a: { queue, name: 'a' } });
    expect(() => defineWorkflow('w', { a: { queue, name: 'a' } }, { output: 'b' as 'a' })).toThrow(
      /names the stage 'b'/,
    );
    expect(() => defineWorkflow('w', { a: { workflow: inner }, b: { forEach: 'a', queue, name: 'b' } })).toThrow(
      /a workflow without results of its own: give 'inner' an 'output'/,
    );
    expect(() => defineWorkflow('w', { a: { queue: 'work', name: 'a' } })).toThrow(/names no queue through which/);
  });
});

test('start() writes nothing when input is no JSON, a job has an id, or an option is unknown: it refuses', async ({
  testbed,
}) => {
  const queue = testbed.queue('work');
  const workflow = defineWorkflow('w', { a: { queue, name: 'a' } });
  await expect(workflow.start({ at: () => {} })).rejects.toThrow(/input of workflow 'w'\.at is a function/);
  await expect(workflow.start({}, { ids: 'x' } as never)).rejects.toThrow(
    /start\(\) has no option 'ids'\. Did you mean/,
  );
  const named = defineWorkflow('w', { a: { queue, jobs: [{ name: 'a', opts: { jobId: 'x' } }] } });
  await expect(named.start()).rejects.toThrow(/opts has no 'jobId' in a workflow/);
  expect(await queue.getBatchCounts()).toEqual({ open: 0, running: 0, succeeded: 0, failed: 0 });
});

test('toMermaid() draws the stages, and how they come after each other', ({ testbed }) => {
  const queue = testbed.queue('work');
  const workflow = defineWorkflow('w', {
    users: { queue, name: 'a' },
    cs: { after: 'users', queue, name: 'b' },
    notify: { after: ['users', 'cs'], when: 'complete', queue, name: 'c' },
  });
  expect(workflow.toMermaid()).toBe(
    [
      ...['flowchart TD', '  s0["users"]', '  s1["cs"]', '  s2["notify"]'],
      ...['  s0 --> s1', '  s0 -->|complete| s2', '  s1 -->|complete| s2'],
    ].join('\n'),
  );
});

test('toMermaid() draws a stage that is a workflow as a subgraph with its own stages, at any depth', ({ testbed }) => {
  const queue = testbed.queue('work');
  const grade = defineWorkflow('grade', { colours: { queue, name: 'a' } });
  const edit = defineWorkflow('edit', {
    cut: { queue, name: 'a' },
    grade: { after: 'cut', when: 'complete', workflow: grade },
  });
  const film = defineWorkflow('film', {
    edit: { workflow: edit },
    publish: { after: 'edit', queue, name: 'a' },
  });
  expect(film.toMermaid()).toBe(
    [
      ...['flowchart TD', '  subgraph s0["edit"]', '    direction TB', '    s0_0["cut"]'],
      ...['    subgraph s0_1["grade"]', '      direction TB', '      s0_1_0["colours"]', '    end', '  end'],
      ...['  s1["publish"]', '  s0_0 -->|complete| s0_1', '  s0 --> s1'],
    ].join('\n'),
  );
});

test('toMermaid() draws large workflows inside of others as single boxes', ({ testbed }) => {
  const queue = testbed.queue('work');
  const stages = Object.fromEntries(Array.from({ length: 150 }, (_, n) => [`s-${n}`, { queue, name: 'a' }]));
  const large = defineWorkflow('large', stages);
  const text = defineWorkflow('twice', { first: { workflow: large }, second: { workflow: large } }).toMermaid();
  expect(text.match(/subgraph/g)).toEqual(['subgraph']);
  expect(text.match(/\["/g)?.length).toBe(152);
  expect(text).toContain('  s1["second"]');
});

test('toMermaid() writes what means something to Mermaid as entities', ({ testbed }) => {
  const queue = testbed.queue('work');
  const names = [
    'a"b',
    '<b>',
    '#35;',
    '%%{init}%%',
    '`md`',
    '*em*',
    '_u_',
    'load_users_now',
    '1)',
    '-x',
    '$$x$$',
    '[z]',
  ];
  const workflow = defineWorkflow('odd', Object.fromEntries(names.map((name) => [name, { queue, name: 'a' }])));
  expect(workflow.toMermaid().split('\n').slice(1)).toEqual(
    [
      ...['a#34;b', '#60;b#62;', '#35;35;', '#37;#37;#123;init#125;#37;#37;', '#96;md#96;', '#42;em#42;', '#95;u#95;'],
      ...['load_users_now', '1#41;', '#45;x', '#36;#36;x#36;#36;', '#91;z#93;'],
    ].map((text, i) => `  s${i}["${text}"]`),
  );
});
