import { vi } from 'vitest';
import { defineWorkflow } from '../../src/index.js';
import { gateOf } from '../conformance/script.js';
import { chromiumPath, test } from '../support/browser.js';
import { describe, eventually, expect } from '../support/test.js';
import { fail, statesOf, tell } from '../workflow/story.js';
import { serve } from './serve.js';

vi.setConfig({ testTimeout: 120_000 });

describe.skipIf(chromiumPath === undefined)('in a browser (needs Chromium; with CI set, none is an error)', () => {
  test('a stage that is a workflow is a live box around its own stages, on a phone in the dark too', async ({
    testbed,
    browser: { page, picture, errors },
  }) => {
    const gate = gateOf(testbed);
    const { queue } = tell(testbed, { held: () => gate.opened, bad: fail });
    testbed.batchWorker();
    const grade = defineWorkflow('grade', {
      colours: { queue, name: 'colours' },
      sound: { after: 'colours', queue, name: 'held' },
    });
    const edit = defineWorkflow('edit', {
      cut: { queue, jobs: Array.from({ length: 4 }, () => ({ name: 'cut' })) },
      grade: { after: 'cut', workflow: grade },
      check: { after: ['cut', 'grade'], queue, name: 'check' },
    });
    const film = defineWorkflow('film', {
      shoot: { queue, name: 'shoot' },
      trailer: { after: 'shoot', queue, name: 'bad' },
      edit: { after: 'shoot', workflow: edit },
      apologize: { after: 'trailer', when: 'failure', queue, name: 'apologize' },
      publish: { after: ['edit', 'trailer'], when: 'complete', queue, name: 'publish' },
      advertise: { after: ['trailer', 'edit'], queue, name: 'advertise' },
    });
    const run = await film.start({}, { id: 'film', description: 'Rope' });
    await eventually(async () => {
      const { stages } = await run.status();
      const { apologize, edit } = Object.fromEntries(stages.map((stage) => [stage.name, stage]));
      const grading = edit?.stages?.[1]?.stages?.[1];
      return apologize?.state === 'succeeded' && grading?.state === 'running';
    });

    const origin = await serve(testbed, queue);
    await page.setViewportSize({ width: 1280, height: 1100 });
    await page.goto(`${origin}/batches/film`);
    const stages = page.getByRole('region', { name: 'Stages' });
    const boxes = stages.locator('.stage');
    const names = stages.locator('.stage > a');
    expect(await names.allInnerTexts()).toEqual([
      ...['shoot', 'trailer', 'edit', 'cut', 'grade', 'colours', 'sound', 'check'],
      ...['apologize', 'publish', 'advertise'],
    ]);
    const [edits, sounds] = [boxes.nth(2), boxes.nth(6)];
    expect(await edits.innerText()).toContain('running · 1 of 3');
    expect(await sounds.getAttribute('class')).toBe('stage running');
    const [outer, inner] = [await edits.boundingBox(), await sounds.boundingBox()];
    if (outer === null || inner === null) throw new Error('a box is not drawn');
    expect(inner.x).toBeGreaterThan(outer.x);
    expect(inner.y).toBeGreaterThan(outer.y);
    expect(inner.x + inner.width).toBeLessThan(outer.x + outer.width);
    expect(inner.y + inner.height).toBeLessThan(outer.y + outer.height);
    await picture('page-stages');
    await page.emulateMedia({ colorScheme: 'dark' });
    await picture('page-stages-dark');
    await page.setViewportSize({ width: 375, height: 900 });
    expect(await page.evaluate<boolean>('document.documentElement.scrollWidth <= window.innerWidth')).toBe(true);
    await stages.scrollIntoViewIfNeeded();
    await picture('page-stages-phone');

    gate.open();
    expect(statesOf(await run.waitUntilFinished(10_000))).toMatchObject({ edit: 'succeeded', publish: 'succeeded' });
    await eventually(async () => (await stages.locator('.stage.succeeded').count()) === 9);
    expect(await sounds.getAttribute('class')).toBe('stage succeeded');
    await stages.getByRole('link', { name: 'grade' }).click();
    await page.getByRole('heading', { level: 1, name: 'grade' }).waitFor();
    expect(errors).toEqual([]);
  });
});
