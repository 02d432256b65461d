import { UnrecoverableError } from 'bullmq';
import { vi } from 'vitest';
import { chromiumPath, test } from '../support/browser.js';
import { describe, eventually, expect, gate, type Testbed } from '../support/test.js';
import { onPhone, serve, serveUsers } from './serve.js';

vi.setConfig({ testTimeout: 120_000 });

const rows = (count: number) => Array.from({ length: count }, (_, n) => ({ name: 'import-user', data: { n } }));

/** How long Redis was kept busy by its slowest command so far, in ms. */
async function slowest({ redis }: Testbed): Promise<number> {
  const entries = (await redis.slowlog('GET', 1000)) as [id: number, at: number, microseconds: number][];
  return Math.max(0, ...entries.map(([, , microseconds]) => microseconds / 1000));
}

// Skipped without a Chromium, which support/browser.ts says; with CI set that is an error.
describe.skipIf(chromiumPath === undefined)('in a browser (needs Chromium; with CI set, none is an error)', () => {
  test('a nested import advances on the page until it has succeeded, and the board shows the same', async ({
    testbed,
    browser: { page, picture, elsewhere, errors },
  }) => {
    const users = testbed.queue('users');
    const origin = await serve(testbed, users);
    // A BatchWorker adds up the jobs below a batch after each of its intervals.
    testbed.batchWorker({ reconcileInterval: 500 });
    const steps = [gate(), gate()];
    testbed.worker('users', async (job) => (job.name === 'import-user' ? steps[job.data.n % 2]?.opened : undefined), {
      concurrency: 100,
    });
    const upload = await users.createBatch({
      id: 'upload',
      description: 'Import of ACME',
      on: { complete: { name: 'report' } },
    });
    for (const organization of ['Aurora Foods', 'Harbour & Sons']) {
      const child = await upload.createBatch({ description: `Users of ${organization}` });
      await child.addBulk(rows(20));
      await child.seal();
    }
    await upload.seal();

    await page.goto(`${origin}/batches`);
    await page.getByRole('link', { name: 'Import of ACME' }).click();
    await page.getByRole('heading', { level: 1, name: 'Import of ACME' }).waitFor();
    await page.getByText('0 of 40 jobs settled').waitFor();
    steps[0]?.open();
    // By itself: nobody reloads the page.
    await page.getByText('20 of 40 jobs settled').waitFor({ timeout: 60_000 });
    // The pace is that of the jobs below: neither child batch has ended.
    await page.getByText(/\d per (second|minute), with the jobs of child batches, in the last/).waitFor();
    await picture('page-nested');

    await page.goto(`${origin}/queues/queue/batches?status=waiting-children`);
    // Of the import, and of both batches below it.
    await page.getByText('50%').nth(2).waitFor();
    await page.setViewportSize({ width: 1280, height: 1180 });
    await picture('board-batches');
    await page.setViewportSize({ width: 1280, height: 860 });
    await page.goto(`${origin}/queues/queue/batches/upload`);
    await page.getByText('Import of ACME').first().waitFor();
    await page.getByText('Users of Aurora Foods').first().waitFor();
    await picture('board-batch');

    // The links that the board was given are behind its last icon.
    await page.locator('button[aria-haspopup=menu]').first().click();
    const link = page.getByRole('menuitem', { name: 'Batches' });
    expect(await link.getAttribute('href')).toBe('/batches');
    await page.goto(`${origin}/batches/upload`);
    const progress = page.getByRole('progressbar', { name: 'Progress', exact: true });
    expect(await progress.getAttribute('aria-valuenow')).toBe('50');
    // The state comes with the numbers: as long as the page has not come, "succeeded" is not shown beside older ones.
    let isTold = false;
    const [asked, held] = [gate(), gate()];
    await page.route('**/batches/upload.json', async (route) => {
      const response = await route.fetch();
      isTold ||= (await response.json()).state === 'succeeded';
      await route.fulfill({ response });
    });
    await page.route('**/batches/upload', async (route) => {
      if (isTold) {
        asked.open();
        await held.opened;
      }
      await route.continue();
    });
    steps[1]?.open();
    await asked.opened;
    const shown = page.locator('.facts [data-badge]');
    expect(await shown.textContent()).not.toContain('succeeded');
    held.open();
    await shown.getByText('succeeded').waitFor({ timeout: 60_000 });
    expect(await progress.getAttribute('aria-valuenow')).toBe('100');
    expect(elsewhere.every((url) => url.startsWith('https://fonts.'))).toBe(true);
    expect(errors).toEqual([]);
  });

  test('a batch that has failed is retried on the page, and succeeds', async ({
    testbed,
    browser: { page, picture, errors },
  }) => {
    const { users, origin } = await serveUsers(testbed);
    let isBroken = true;
    testbed.worker('users', async ({ data, name }) => {
      if (isBroken && name === 'import-user' && data.n % 3 === 0) {
        throw new UnrecoverableError(`no e-mail <b>for</b> user ${data.n}`);
      }
    });
    const batch = await users.addBatch(
      { description: 'Import <script>alert(1)</script>', on: { success: { name: 'publish' } } },
      rows(30),
    );
    await batch.waitUntilFinished();

    await page.goto(`${origin}/batches/${batch.id}`);
    await page.getByText('10 of 30 members failed').waitFor();
    await picture('page-failed');
    await page.getByRole('link', { name: 'All 10 failures' }).click();
    await page.getByText('no e-mail <b>for</b> user 0').waitFor();
    await picture('page-failures');
    isBroken = false;
    await page.goto(`${origin}/batches/${batch.id}`);
    // With the keyboard alone.
    await page.getByRole('link', { name: 'Retry…' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Retry what failed?' }).waitFor();
    await picture('page-confirm');
    await page.getByRole('button', { name: 'Yes, retry' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('status').getByText('10 jobs run again').waitFor();
    await page.locator('.facts').getByText('succeeded').waitFor({ timeout: 60_000 });
    await page.getByText('Recovered:').waitFor();
    expect(await batch.status()).toMatchObject({ state: 'succeeded', recovered: true });
    expect(errors).toEqual([]);
  });

  test('a page that is not up to date says why, and what to do', async ({ testbed, browser: { page } }) => {
    const { users, origin } = await serveUsers(testbed);
    const held = gate();
    testbed.worker('users', async () => held.opened);
    await users.addBatch({ id: 'upload' }, rows(1));
    await page.goto(`${origin}/batches/upload`);
    const [warning, state] = [page.locator('#stale'), page.locator('.facts [data-badge]')];
    // It has succeeded, and the page that says so does not come: the state that is seen is that of the numbers.
    await page.route('**/batches/upload', (route) => route.fulfill({ status: 503 }), { times: 2 });
    held.open();
    await warning.getByText('the server does not answer. Trying again.').waitFor();
    expect(await state.textContent()).not.toContain('succeeded');
    await state.getByText('succeeded').waitFor({ timeout: 60_000 });
    expect(await warning.isVisible()).toBe(false);

    const batch = await users.createBatch({ id: 'mailing' });
    await page.goto(`${origin}/batches/mailing`);
    await page.route('**/batches/mailing.json', (route) => route.fulfill({ status: 401 }), { times: 1 });
    await warning.getByText('reload it, you may have to sign in again').waitFor();
    await page.reload();
    await batch.remove({ force: true });
    await warning.getByText('This batch has been removed.').waitFor();
  });

  test('a batch that changes its state again before its page has come is followed to its end', async ({
    testbed,
    browser: { page },
  }) => {
    const { users, origin } = await serveUsers(testbed);
    const held = gate();
    testbed.worker('mail', async () => held.opened);
    testbed.worker('users', async () => {});
    const batch = await users.createBatch({ id: 'upload', on: { complete: { name: 'report', queue: 'mail' } } });
    await page.goto(`${origin}/batches/upload`);
    const state = page.locator('.facts [data-badge]');
    // The page is asked for because the batch is finishing, and shows that it has succeeded.
    await page.route(
      '**/batches/upload',
      async (route) => {
        held.open();
        await batch.waitUntilFinished(10_000);
        await route.continue();
      },
      { times: 1 },
    );
    await batch.add('import-user', {});
    await batch.seal();
    await state.getByText('succeeded').waitFor({ timeout: 60_000 });
    await page.locator('#said').getByText('succeeded, 100 %').waitFor({ state: 'attached' });
    expect(await page.title()).toMatch(/^upload/);
  });

  test('Retry all in Bull Board runs a failed batch again', async ({ testbed, browser: { page, picture } }) => {
    const { users, origin } = await serveUsers(testbed);
    let isBroken = true;
    testbed.worker('users', async () => {
      if (isBroken) {
        throw new UnrecoverableError('no e-mail');
      }
    });
    const batch = await users.addBatch({ description: 'Import of ACME' }, rows(3));
    await batch.waitUntilFinished();
    isBroken = false;
    await page.goto(`${origin}/queues/queue/batches?status=failed`);
    await page.getByText('Import of ACME').waitFor();
    await page.getByText('3 of 3 members failed').first().waitFor();
    await picture('board-failed');
    await page.getByRole('button', { name: 'Retry all' }).click();
    await page.getByRole('button', { name: 'Confirm' }).click();
    await eventually(async () => (await batch.status()).state === 'succeeded');
  });

  test('what the board refuses, it says in a sentence', async ({ testbed, browser: { page, picture } }) => {
    const users = testbed.queue('users');
    const origin = await serve(testbed, users);
    const batch = await users.createBatch({ description: 'Import of ACME' });
    await page.goto(`${origin}/queues/queue/batches?status=delayed`);
    await page.getByText(batch.id).first().waitFor();
    await page.locator('button[aria-haspopup=menu]').last().click();
    await page.getByRole('menuitem', { name: 'Empty' }).click();
    await page.getByRole('button', { name: 'Confirm' }).click();
    await page.getByText('nothing was removed').waitFor();
    await picture('board-refusal');
    expect(await batch.status()).toMatchObject({ state: 'open' });
  });

  test('cancelling 50,000 members takes two clicks and never keeps Redis busy for long', async ({
    testbed,
    browser: { page, picture, errors },
  }) => {
    const { users, origin } = await serveUsers(testbed);
    const before = await slowest(testbed);
    const batch = await users.addBatch(
      { description: 'Mailing', on: { complete: { name: 'summary', queue: 'mail' } } },
      rows(50_000),
    );
    await page.goto(`${origin}/batches/${batch.id}`);
    await page.getByText(/50000 members are waiting in queue 'users'/).waitFor({ timeout: 60_000 });
    await picture('page-large');
    await page.getByRole('link', { name: 'Cancel…' }).click();
    await page.getByLabel(/Reason/).fill('wrong price');
    await page.getByRole('button', { name: 'Yes, cancel the batch' }).click();
    testbed.worker('mail', async () => {});
    await page.locator('.facts').getByText('cancelled').waitFor({ timeout: 60_000 });
    expect(await batch.status()).toMatchObject({ state: 'cancelled', cancelled: 50_000, cancelReason: 'wrong price' });
    // BullMQ's own button takes 15 seconds for this, in one command.
    expect(Math.max(await slowest(testbed), before)).toBeLessThan(1000);
    expect(errors).toEqual([]);
  });

  test('the board shows, and removes, a running batch of 50,000 members without keeping Redis busy for long', async ({
    testbed,
    browser: { page, picture },
  }) => {
    const { users, origin } = await serveUsers(testbed);
    const batch = await users.addBatch({ description: 'Mailing' }, rows(50_000));
    await page.goto(`${origin}/queues/queue/batches/${batch.id}`);
    await page.getByText('Mailing').first().waitFor();
    await page.getByText('50000 unfinished').or(page.getByText('50,000 unfinished')).first().waitFor();
    await picture('board-large');
    const press = (button: string, id: string) =>
      page.evaluate(
        async (url) => (await fetch(url, { method: 'PUT' })).status,
        `${origin}/queues/api/queues/batches/${id}/${button}`,
      );
    expect(await press('clean', batch.id)).toBe(204);
    expect(await users.getBatches()).toEqual([]);
    const other = await users.addBatch({}, rows(50_000));
    expect(await press('remove-unprocessed-children', other.id)).toBe(200);
    await eventually(async () => (await other.status()).state === 'cancelled');
    expect(await users.getJobCounts('waiting')).toMatchObject({ waiting: 0 });
    expect(await slowest(testbed)).toBeLessThan(1000);
  });

  test('the page fits a phone, in the dark, and the list finds a batch', async ({
    testbed,
    browser: { page, picture },
  }) => {
    const { users, origin } = await serveUsers(testbed);
    testbed.worker('users', async () => {});
    for (const organization of ['Aurora Foods', 'Harbour & Sons', 'Kowalczyk i Wspólnicy']) {
      await (await users.addBatch({ description: `Import of ${organization}` }, rows(5))).waitUntilFinished();
    }
    await users.createBatch({
      description: 'A description that is so long that it has to be broken somewhere, x'.repeat(3),
    });
    await page.goto(`${origin}/batches`);
    await picture('page-list');
    const phone = await onPhone(page, 700);
    expect(await phone.fits()).toBe(true);
    await picture('page-list-phone');
    await page.getByRole('searchbox').fill('harbour');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'Import of Harbour & Sons' }).waitFor();
    expect(await page.getByRole('link', { name: 'Import of Aurora Foods' }).count()).toBe(0);
    await page.getByRole('link', { name: 'Import of Harbour & Sons' }).click();
    await page.getByRole('heading', { level: 1, name: 'Import of Harbour & Sons' }).waitFor();
    expect(await phone.fits()).toBe(true);
    await picture('page-batch-phone');
  });
});
