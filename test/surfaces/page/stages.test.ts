import { defineWorkflow } from '../../../src/index.js';
import { batchPage } from '../../../src/surfaces/page/index.js';
import { gateOf } from '../../conformance/script.js';
import { eventually, expect, test } from '../../support/test.js';
import { fail, tell } from '../../workflow/story.js';
import { cliOf } from '../cli/run.js';

test('the page of a run draws its stages with their states, and the command line shows them', async ({ testbed }) => {
  const gate = gateOf(testbed);
  const { queue, ran } = tell(testbed, { held: () => gate.opened, bad: fail });
  testbed.batchWorker();
  const workflow = defineWorkflow('drawn', {
    held: { queue, name: 'held' },
    bad: { queue, name: 'bad' },
    last: { after: 'held', queue, name: 'last' },
    never: { after: ['bad', 'held'], queue, name: 'never' },
    rescue: { after: 'bad', when: 'failure', queue, name: 'rescue' },
  });
  const run = await workflow.start({}, { id: 'run' });
  await eventually(() => ran.includes('rescue') && ran.includes('held'));
  await eventually(async () => (await run.status()).stages[4]?.state === 'succeeded');

  const page = batchPage(queue);
  const text = await (await page.fetch(new Request('http://localhost/batches/run'))).text();
  const boxes = [
    ...text.matchAll(/<foreignObject data-key="run\.(\w+)" x="(\d+)" y="(\d+)"[^>]*><div class="stage (\w+)">/g),
  ];
  expect(boxes.map(([, ...box]) => box)).toEqual([
    ['held', '0', '0', 'running'],
    ['bad', '196', '0', 'failed'],
    ['last', '0', '92', 'waiting'],
    ['never', '196', '92', 'skipped'],
    ['rescue', '392', '92', 'succeeded'],
  ]);
  expect(text.match(/<path class="edge( failure)?"/g)).toEqual([
    ...['<path class="edge"', '<path class="edge"', '<path class="edge"'],
    '<path class="edge failure"',
  ]);
  expect(text).toContain('after bad, on failure');
  expect(text).not.toContain('style="');

  const { out } = await cliOf(testbed).run('show', 'run');
  expect(out).toMatch(/stages +held: running, 0 of 1\n +bad: failed, 1 of 1\n +last: waiting, 0 of 0, after held\n/);
  expect(out).toMatch(
    / never: skipped, 0 of 0, after bad and held\n +rescue: succeeded, 1 of 1, after bad, on failure/,
  );
  expect((await cliOf(testbed).run('show', 'run.last')).out).toMatch(/state +waiting/);
  gate.open();
  await run.waitUntilFinished(10_000);
});

test('a page draws the stages of a workflow inside of its stage; the command line shows them below', async ({
  testbed,
}) => {
  const { queue } = tell(testbed);
  testbed.batchWorker();
  const inner = defineWorkflow('inner', { x: { queue, name: 'x' }, y: { after: 'x', queue, name: 'y' } });
  const workflow = defineWorkflow('outer', {
    inner: { workflow: inner },
    beside: { queue, name: 'beside' },
    last: { after: 'inner', queue, name: 'last' },
  });
  const run = await workflow.start({}, { id: 'run' });
  await run.waitUntilFinished(10_000);
  const text = await (await batchPage(queue).fetch(new Request('http://localhost/batches/run'))).text();
  const boxes = [
    ...text.matchAll(
      /<foreignObject data-key="run\.([\w.]+)" x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"><div class="stage ([\w ]+)">/g,
    ),
  ];
  expect(boxes.map(([, ...box]) => box.join(' '))).toEqual([
    'inner 0 0 198 210 succeeded group',
    'inner.x 14 52 170 52 succeeded',
    'inner.y 14 144 170 52 succeeded',
    'beside 224 0 170 52 succeeded',
    'last 0 250 170 52 succeeded',
  ]);
  const { out } = await cliOf(testbed).run('show', 'run');
  expect(out).toMatch(
    /stages +inner: succeeded, 2 of 2\n +x: succeeded, 1 of 1\n +y: succeeded, 1 of 1, after x\n +beside: /,
  );
});
