import { UnrecoverableError } from 'bullmq';
import { eventually, expect, test } from '../support/test.js';

/*
 * The lives that the project came from, one per document. Each is written as its author would write it today.
 */

test('import: organization → users → CS step → summary, nested as in the wiki picture', async ({ testbed }) => {
  const organizations = testbed.queue('organizations');
  const users = testbed.queue('users');
  const log: string[] = [];

  testbed.worker(
    'organizations',
    async (job) => {
      const batch = await organizations.batchOf(job);
      log.push(`${job.name} ${job.data.org ?? ''}`.trim());
      if (job.name === 'import-organization') {
        // "I should have added jobs to the batch object from ImportBatchUploader": existing code, run inside of it.
        await batch?.jobs(async () => {
          const userBatch = await users.createBatch({
            id: `${batch.id}-${job.data.org}`,
            on: { complete: { name: 'finished-user-import', queue: organizations, data: { org: job.data.org } } },
          });
          await userBatch.jobs(() => users.addBulk([1, 2, 3].map((user) => ({ name: 'import-user', data: { user } }))));
          await userBatch.seal();
        });
      }
      if (job.name === 'finished-user-import') {
        expect(job.data.batch).toMatchObject({ total: 3, succeeded: 2, failed: 1 });
        await (await batch?.parent())?.add('import-cs-data', { org: job.data.org });
      }
      return job.data.org;
    },
    { concurrency: 5 },
  );
  testbed.worker(
    'users',
    async (job) => {
      if (job.data.user === 2) throw new UnrecoverableError('no such user');
    },
    { concurrency: 5 },
  );
  testbed.batchWorker();

  const upload = await organizations.createBatch({
    description: 'adminifi import',
    on: { complete: { name: 'finished-adminifi-import' }, success: { name: 'never' } },
  });
  await upload.addBulk(['a', 'b'].map((org) => ({ name: 'import-organization', data: { org } })));
  await upload.seal();
  const status = await upload.waitUntilFinished(20_000);

  // 2 organizations, 2 child batches (failed: a user of each was bad), 2 CS jobs.
  expect(status).toMatchObject({ state: 'failed', total: 6, succeeded: 4, failed: 2, missing: 0 });
  expect(log.filter((line) => line.startsWith('import-cs-data')).sort()).toEqual([
    'import-cs-data a',
    'import-cs-data b',
  ]);
  expect(log.indexOf('finished-user-import a')).toBeLessThan(log.indexOf('import-cs-data a'));
  expect(log.filter((line) => line.startsWith('finished-adminifi-import'))).toHaveLength(1);
  expect(log.at(-1)).toBe('finished-adminifi-import');
});

test('spreadsheet: one job per row, then the owner is mailed a sheet of successes and one of errors', async ({
  testbed,
}) => {
  const rows = testbed.queue('rows');
  const sheets = { success: [] as string[], error: [] as string[] };
  let mailedTo = '';
  testbed.worker(
    'rows',
    async (job) => {
      if (job.name === 'mail-results') {
        const batch = await rows.batchOf(job);
        for await (const { value } of batch?.results() ?? []) sheets.success.push(value);
        for await (const { data, reason } of batch?.failures() ?? []) sheets.error.push(`${data?.record}: ${reason}`);
        mailedTo = job.data.owner;
        return;
      }
      if (!job.data.record.includes('@')) throw new UnrecoverableError('no e-mail');
      return job.data.record;
    },
    { concurrency: 10 },
  );
  testbed.batchWorker();
  const batch = await rows.createBatch({
    on: { complete: { name: 'mail-results', data: { owner: 'boss@example.com' } } },
  });
  await batch.addBulk(
    Array.from({ length: 50 }, (_, i) => ({
      name: 'row',
      data: { record: i % 5 === 0 ? `row ${i}` : `u${i}@example.com` },
    })),
  );
  await batch.seal();
  await batch.waitUntilFinished(20_000);
  expect(mailedTo).toBe('boss@example.com');
  expect(sheets.success).toHaveLength(40);
  expect(sheets.error).toHaveLength(10);
  expect(sheets.error).toContain('row 5: no e-mail');
});

test('images: the product becomes visible when the last image is there, and only then', async ({ testbed }) => {
  const images = testbed.queue('images');
  const uploaded = new Set<number>();
  const visible: number[] = [];
  testbed.worker(
    'images',
    async (job) => {
      if (job.name === 'mark-visible') {
        expect(uploaded.size).toBe(10);
        visible.push(job.data.pid);
        return;
      }
      if (job.data.image === 3 && job.attemptsMade === 0) throw new Error('S3 is slow');
      uploaded.add(job.data.image);
    },
    { concurrency: 4 },
  );
  testbed.batchWorker();
  const upload = (pid: number, jobOptions: { attempts: number }) =>
    images.addBatch(
      { on: { success: { name: 'mark-visible', data: { pid } } }, jobOptions },
      Array.from({ length: 10 }, (_, image) => ({ name: 'upload', data: { image } })),
    );
  const good = await upload(1, { attempts: 2 });
  expect(await good.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded' });
  const bad = await upload(2, { attempts: 1 });
  expect(await bad.waitUntilFinished(20_000)).toMatchObject({ state: 'failed', failed: 1 });
  expect(visible).toEqual([1]);
});

test('workflow: rows in parallel without retries, then one notification that knows all outcomes', async ({
  testbed,
}) => {
  const imports = testbed.queue('imports');
  const notified: unknown[] = [];
  const runs: string[] = [];
  testbed.worker(
    'imports',
    async (job) => {
      runs.push(job.name);
      if (job.name === 'load-file') {
        // "The slow part was the queueing of the jobs, I might turn it into a background job itself."
        const batch = await imports.batchOf(job);
        async function* lines() {
          for (let line = 1; line <= 30; line++) yield { name: 'import-row', data: { line } };
        }
        await batch?.addBulk(lines());
      } else if (job.name === 'notify-user') {
        notified.push(job.data);
      } else if (job.data.line % 10 === 0) {
        throw new UnrecoverableError(`line ${job.data.line} is invalid`);
      }
    },
    { concurrency: 5 },
  );
  testbed.batchWorker();
  const workflow = await imports.addBatch(
    { jobOptions: { attempts: 5 }, on: { complete: { name: 'notify-user', data: { user: 42 } } } },
    [{ name: 'load-file', data: { file: 's3://bucket/file.csv' } }],
  );
  expect(await workflow.waitUntilFinished(20_000)).toMatchObject({ total: 31, succeeded: 28, failed: 3 });
  expect(notified).toMatchObject([{ user: 42, batch: { total: 31, succeeded: 28, failed: 3, missing: 0 } }]);
  expect(runs.filter((name) => name === 'import-row')).toHaveLength(30);
});

test('weekly mail: members are removed as they complete, and the admins are told at the end', async ({ testbed }) => {
  const mail = testbed.queue('mail', { defaultJobOptions: { removeOnComplete: true, removeOnFail: true } });
  const told: unknown[] = [];
  testbed.worker(
    'mail',
    async (job) => {
      if (job.name === 'notify-admin') {
        told.push(job.data.batch);
      } else if (job.data.to === 'bounce@example.com') {
        throw new Error('bounced');
      }
    },
    { concurrency: 20 },
  );
  testbed.batchWorker();
  const recipients = [...Array.from({ length: 200 }, (_, i) => `reader${i}@example.com`), 'bounce@example.com'];
  const batch = await mail.createBatch({ id: 'email-blast-2026-47', on: { complete: { name: 'notify-admin' } } });
  await batch.addBulk(recipients.map((to) => ({ name: 'weekly', data: { to } })));
  await eventually(async () => (await batch.status()).pending === 0);
  expect(told, 'nobody is told before the list is complete').toEqual([]);
  await batch.seal();
  expect(await batch.waitUntilFinished(20_000)).toMatchObject({ total: 201, succeeded: 200, failed: 1, missing: 0 });
  expect(told).toEqual([
    { id: batch.id, event: 'complete', total: 201, pending: 0, cancelled: 0, succeeded: 200, failed: 1, missing: 0 },
  ]);
  expect(await mail.getJobCounts('completed', 'failed'), 'only the callback is kept').toEqual({
    completed: 1,
    failed: 0,
  });
});
