import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UnrecoverableError } from 'bullmq';
import { vi } from 'vitest';
import { surveyFile } from '../../examples/import/customers.js';
import { CustomerImport } from '../../examples/import/import.js';
import { chromiumPath, test } from '../support/browser.js';
import { type AnyJob, describe, eventually, expect, gate, type Testbed } from '../support/test.js';
import { onPhone, serve, serveUsers } from './serve.js';

vi.setConfig({ testTimeout: 120_000 });

const SAMPLE = fileURLToPath(new URL('../../examples/import/data/customers.csv', import.meta.url));

const ORGANIZATIONS = ['Aurora Foods', 'Harbour & Sons', 'Kowalczyk i Wspólnicy', 'Blue Ridge', '北京云图科技有限公司'];

/** An import with a child batch for each organization, of which some rows fail. */
async function importOf(testbed: Testbed, name: string, rowsOfEach: number) {
  const users = testbed.queue('users');
  const upload = await users.createBatch({
    id: name,
    description: `Import of ${name}.csv`,
    tags: ['crm', name],
    metadata: { file: `${name}.csv`, uploadedBy: 'ada@example.com' },
  });
  for (const [i, organization] of ORGANIZATIONS.entries()) {
    const child = await upload.createBatch({ id: `${name}-${i}`, description: `Users of ${organization}` });
    await child.addBulk(
      Array.from({ length: rowsOfEach }, (_, row) => ({ name: 'import-user', data: { row, organization } })),
    );
    await child.seal();
  }
  await upload.seal();
  return upload;
}

function problemOf({ data: { row } }: AnyJob): string | undefined {
  if (row % 10 === 3) return `duplicate of row ${row - 1}`;
  return row % 25 === 7 ? 'name is missing' : undefined;
}

async function importUser(job: AnyJob): Promise<void> {
  const problem = job.name === 'import-user' ? problemOf(job) : undefined;
  if (problem !== undefined) throw new UnrecoverableError(problem);
}

describe.skipIf(chromiumPath === undefined)('in a browser (needs Chromium; with CI set, none is an error)', () => {
  test('child batches are below their parent, which opens with the keyboard, on a phone in the dark too', async ({
    testbed,
    browser: { page, picture, errors },
  }) => {
    const { users, origin } = await serveUsers(testbed);
    testbed.worker('users', importUser, { concurrency: 50 });
    for (const name of ['october', 'november']) {
      await (await importOf(testbed, name, 50)).waitUntilFinished(60_000);
    }
    await users.createBatch({ description: 'Mailing' });
    await page.goto(`${origin}/batches`);
    const [child, summary] = [
      page.getByRole('link', { name: 'Users of Blue Ridge' }),
      page.getByText('5 failed child batches'),
    ];
    expect(await summary.count()).toBe(2);
    expect(await child.first().isVisible()).toBe(false);
    await picture('page-list-folded');
    await summary.first().focus();
    await page.keyboard.press('Enter');
    await child.first().waitFor();
    await picture('page-list-nested');
    const phone = await onPhone(page, 900);
    expect(await phone.fits()).toBe(true);
    await picture('page-list-nested-phone');
    await child.first().click();
    const above = page.getByRole('navigation', { name: 'Breadcrumb' }).getByRole('link');
    await page.getByRole('heading', { level: 1, name: 'Users of Blue Ridge' }).waitFor();
    expect(await above.allTextContents()).toEqual(['Batches', 'Import of november.csv']);
    await above.last().click();
    await page.getByText('Metadata').click();
    await page.getByText('"uploadedBy": "ada@example.com"').waitFor();
    await picture('page-metadata-phone');
    await page.getByRole('link', { name: 'crm' }).click();
    await page.getByRole('heading', { name: '2 batches found' }).waitFor();
    await picture('page-search-phone');
    expect(errors).toEqual([]);
  });

  test('the import of the demo is seen as it goes: progress, throughput, failures, and what is below', async ({
    testbed,
    browser: { page, picture, errors },
  }) => {
    for (const queue of ['organizations', 'users']) testbed.plainQueue(queue);
    const { connection, prefix } = testbed;
    const customers = testbed.use(new CustomerImport({ connection, prefix }, { msPerUser: 250 }));
    const origin = await serve(testbed, customers.users as never, customers.organizations as never);
    const { organizations } = await surveyFile(SAMPLE);
    const folder = await mkdtemp(join(tmpdir(), 'bullmq-batches-report-'));
    testbed.use({ close: () => rm(folder, { recursive: true, force: true }) });
    const report = join(folder, 'report.xlsx');
    const batch = await customers.start('import', SAMPLE, [...organizations.keys()], report);
    await page.setViewportSize({ width: 1280, height: 1640 });
    await page.goto(`${origin}/batches/import`);
    await page.getByRole('img', { name: /Throughput over time.* jobs failed/ }).waitFor({ timeout: 60_000 });
    await page.getByText(/[2-9],\d{3} of 5,0\d\d jobs settled/).waitFor({ timeout: 60_000 });
    // A slow browser must not come too late to see it run.
    await customers.users.pause();
    const reasons = await page.locator('.groups summary').allTextContents();
    expect(reasons).toContainEqual(expect.stringMatching(/^\d+ duplicate of row …$/));
    await picture('page-batch');
    await page.getByText(/^\d+ name is missing$/).click();
    await page
      .getByRole('link', { name: /^\d+ in Users of/ })
      .first()
      .waitFor();
    await page.goto(`${origin}/batches`);
    await page.getByText(/running child batch/).click();
    await picture('page-list-running');
    await batch.cancel('seen enough');
    await page.goto(`${origin}/batches/import`);
    await page.locator('.facts').getByText('cancelled').waitFor({ timeout: 60_000 });
    await picture('page-cancelled');
    expect(errors).toEqual([]);
  });

  test('failures are counted by reason, and each group opens its rows with their data', async ({
    testbed,
    browser: { page, picture, errors },
  }) => {
    const { origin } = await serveUsers(testbed);
    testbed.worker('users', importUser, { concurrency: 50 });
    await (await importOf(testbed, 'november', 100)).waitUntilFinished(60_000);
    await page.goto(`${origin}/batches/november-0`);
    await page.getByText('10 duplicate of row …').waitFor();
    await picture('page-groups');
    const group = page.getByText('4 name is missing');
    await group.focus();
    await page.keyboard.press('Enter');
    await page.getByText('"row": 57').waitFor();
    expect(await page.locator('.failures pre.reason').allTextContents()).toEqual(Array(4).fill('name is missing'));
    await picture('page-group-opened');
    await page.getByRole('link', { name: 'All 14 failures' }).click();
    await page.getByRole('link', { name: 'duplicate of row … 10' }).click();
    await page.getByText('duplicate of row 92').waitFor();
    expect(await page.locator('.failures pre.reason').count()).toBe(10);
    await picture('page-failures-of-reason');
    const phone = await onPhone(page, 900);
    expect(await phone.fits()).toBe(true);
    await picture('page-failures-phone');
    await page.goto(`${origin}/batches/november-0`);
    await page.getByText('10 duplicate of row …').click();
    await page.getByText('duplicate of row 92').waitFor();
    expect(await phone.fits()).toBe(true);
    await picture('page-groups-phone');
    expect(errors).toEqual([]);
  });

  test('throughput and failures are drawn over time, and are still there for the next reader', async ({
    testbed,
    browser: { page, picture, errors },
  }) => {
    const { users, origin } = await serveUsers(testbed);
    const steps = Array.from({ length: 5 }, gate);
    testbed.worker(
      'users',
      async (job) => {
        await steps[Math.floor(job.data.row / 40)]?.opened;
        await importUser(job);
      },
      { concurrency: 200 },
    );
    const batch = await users.createBatch({ id: 'mailing', description: 'Mailing of November' });
    await batch.addBulk(Array.from({ length: 200 }, (_, row) => ({ name: 'import-user', data: { row } })));
    await batch.seal();
    await page.goto(`${origin}/batches/mailing`);
    const chart = page.getByRole('img', { name: /Throughput over time/ });
    expect(await chart.count()).toBe(0);
    for (const [i, step] of steps.entries()) {
      step.open();
      await page
        .getByRole('progressbar', { name: 'Progress', exact: true })
        .and(page.locator(`[aria-valuetext*="${(i + 1) * 40} of 200 settled"]`))
        .waitFor();
    }
    await page.locator('.facts').getByText('failed').waitFor({ timeout: 60_000 });
    const name = await chart.getAttribute('aria-label');
    expect(name).toMatch(/from .* to now: at most [\d.]+ per second, and 28 members failed/);
    await picture('page-chart');
    await page.reload();
    expect(await chart.getAttribute('aria-label')).toContain('28 members failed');
    expect(await chart.locator('rect.failed').count()).toBeGreaterThan(0);
    const phone = await onPhone(page, 900);
    expect(await phone.fits()).toBe(true);
    await picture('page-chart-phone');
    await eventually(async () => errors.length === 0);
  });

  test('the throughput stays when a page takes long to read, and its numbers are newer than the last status', async ({
    testbed,
    browser: { page },
  }) => {
    const held = await testbed.heldConnection();
    const users = testbed.queue('users');
    const served = testbed.queue('users', { connection: held.connection, skipMetasUpdate: true });
    const origin = await serve(testbed, served);
    testbed.batchWorker();
    const steps = Array.from({ length: 5 }, gate);
    testbed.worker('users', async (job) => steps[Math.floor(job.data.row / 10)]?.opened, { concurrency: 50 });
    const batch = await users.createBatch({ id: 'mailing' });
    await batch.addBulk(Array.from({ length: 50 }, (_, row) => ({ name: 'mail', data: { row } })));
    await batch.seal();
    await page.goto(`${origin}/batches/mailing`);
    const progress = page.getByRole('progressbar', { name: 'Progress', exact: true });
    const settled = (count: number) => progress.and(page.locator(`[aria-valuetext*="${count} of 50 settled"]`));
    for (const [i, step] of steps.slice(0, 3).entries()) {
      step.open();
      await settled(10 * (i + 1)).waitFor();
    }
    const chart = page.getByRole('img', { name: /Throughput over time/ });
    await chart.waitFor();
    await page.route(
      '**/batches/mailing',
      async (route) => {
        steps[3]?.open();
        await eventually(async () => (await batch.status()).pending === 10);
        // What is read within half a second is one look.
        await halfASecond();
        await held.idle();
        held.countFrom();
        // After the batch and its status, before what holds it.
        held.holdBefore(3);
        const fetched = route.fetch();
        await held.heldOrEnded(fetched);
        await halfASecond();
        held.release();
        await route.fulfill({ response: await fetched });
      },
      { times: 1 },
    );
    await settled(40).waitFor();
    expect(await chart.count()).toBe(1);
    for (const step of steps) step.open();
  });
});

async function halfASecond(): Promise<void> {
  const from = performance.now();
  await eventually(() => performance.now() - from > 600);
}
