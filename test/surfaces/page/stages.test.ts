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
  expect(out).toMatch(
    /stages +held: running, 0 of 1\n +bad: failed, 1 of 1\n +last: waiting, 0 of 0\n +never: skipped/,
  );
  expect((await cliOf(testbed).run('show', 'run.last')).out).toMatch(/state +waiting/);
  gate.open();
  await run.waitUntilFinished(10_000);
});
