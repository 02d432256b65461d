import { BatchConflictError, BatchNotFoundError, BatchOptionsError, defineWorkflow } from '../../src/index.js';
import { type AnyJob, describe, eventually, expect, gate, test } from '../support/test.js';

const rows = [1, 2, 3].map((row) => ({ name: 'row', data: { row } }));

describe('addBatch({ id, ifExists }) of a batch that exists', () => {
  test("joins it by default, and with 'join': nothing is added twice", async ({ testbed }) => {
    const users = testbed.queue('users');
    const first = await users.addBatch({ id: 'import-42' }, rows);
    const again = await users.addBatch({ id: 'import-42', ifExists: 'join' }, rows);
    expect(again.created).toBe(false);
    expect(await first.status()).toMatchObject({ total: 3, sealed: true });
  });

  test("'reject' refuses it, and changes nothing", async ({ testbed }) => {
    const users = testbed.queue('users');
    const first = await users.addBatch({ id: 'import-42', ifExists: 'reject' }, rows);
    const again = users.addBatch({ id: 'import-42', ifExists: 'reject' }, [...rows, { name: 'row', data: { row: 4 } }]);
    await expect(again).rejects.toThrow(BatchConflictError);
    await expect(again).rejects.toThrow("Batch 'import-42' exists.");
    expect(await first.status()).toMatchObject({ total: 3 });
  });

  test("'replace' removes it and its members' jobs, finished or not, and its callbacks do not run", async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const ran: unknown[] = [];
    const options = { id: 'import-42', ifExists: 'replace', on: { complete: { name: 'done' } } } as const;
    const first = await users.addBatch(options, rows);
    const own = { name: 'row', data: { row: 9 }, opts: { jobId: 'row-9' } };
    const second = await users.addBatch(options, [own]);
    expect(second.created).toBe(true);
    await expect(first.add('row', {})).rejects.toThrow(BatchNotFoundError);
    const third = await users.addBatch(options, [own]);
    expect(await users.getJobCounts('wait')).toEqual({ wait: 1 });
    testbed.worker('users', async (job) => ran.push(job.name === 'done' ? 'done' : job.data));
    testbed.batchWorker();
    expect(await third.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 1 });
    const fourth = await users.addBatch(options, [own]);
    expect(await fourth.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 1 });
    expect(ran).toEqual([{ row: 9 }, 'done', { row: 9 }, 'done']);
  });

  test("of callers that 'replace' at the same time, each gets a batch, and the last one stays", async ({ testbed }) => {
    const users = testbed.queue('users');
    const options = { id: 'import-42', ifExists: 'replace' } as const;
    const created = await Promise.allSettled([1, 2, 3, 4].map(() => users.addBatch(options, rows)));
    for (const outcome of created) {
      if (outcome.status === 'rejected') {
        expect(outcome.reason).toBeInstanceOf(BatchNotFoundError);
      }
    }
    expect(created.some(({ status }) => status === 'fulfilled')).toBe(true);
    await eventually(async () => (await users.getJobCounts('wait')).wait === 3);
    expect(await (await users.getBatch('import-42')).status()).toMatchObject({ total: 3, sealed: true });
  });

  test('a member that is running ends outside of any batch when its batch is replaced', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { opened, open } = gate();
    let started = 0;
    testbed.worker('users', async (job: AnyJob) => {
      started += 1;
      await (job.data.row === 'slow' ? opened : undefined);
    });
    testbed.batchWorker();
    const options = { id: 'import-42', ifExists: 'replace' } as const;
    await users.addBatch(options, [{ name: 'row', data: { row: 'slow' } }]);
    await eventually(() => started === 1);
    const second = await users.addBatch(options, []);
    open();
    expect(await second.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 0 });
  });

  test('a child cannot replace, and other words are refused', async ({ testbed }) => {
    const users = testbed.queue('users');
    const parent = await users.createBatch();
    await expect(parent.createBatch({ id: 'a', ifExists: 'replace' })).rejects.toThrow('is not for a child batch');
    const ifExists = 'overwrite' as 'replace';
    await expect(users.addBatch({ id: 'a', ifExists }, [])).rejects.toThrow(BatchOptionsError);
    expect(await parent.status()).toMatchObject({ total: 0 });
  });
});

test("a batch's id may have the separators ':' and '~', as ids of scheduled jobs and of members have", async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  testbed.worker('users', async () => 1);
  testbed.batchWorker();
  const id = 'import-repeat:nightly:1700000000000~3';
  const batch = await users.addBatch({ id, on: { complete: { name: 'done' } } }, rows);
  expect(batch.id).toBe('import-repeat%3Anightly%3A1700000000000%7E3');
  expect((await users.getBatch(id)).id).toBe(batch.id);
  expect((await users.getBatch(batch.id)).id).toBe(batch.id);
  expect((await users.createBatch({ id, on: { complete: { name: 'done' } } })).created).toBe(false);
  expect(await batch.waitUntilFinished(20_000)).toMatchObject({ id: batch.id, state: 'succeeded', total: 3 });
});

test('a batch, or a run, that is not there is named in the error as it was asked for', async ({ testbed }) => {
  const users = testbed.queue('users');
  const error = { batchId: 'import:7', message: expect.stringContaining("There is no batch 'import:7':") };
  await expect(users.getBatch('import:7')).rejects.toMatchObject(error);
  const workflow = defineWorkflow('w', { a: { queue: users, name: 'a' } });
  await expect(workflow.getRun('import:7')).rejects.toMatchObject(error);
  await users.createBatch({ id: 'import:7' });
  await expect(workflow.getRun('import:7')).rejects.toThrow("Workflow 'w' has no run 'import:7': there is a batch");
});

test("a batch's id, and that of one above it, may have several lines, as text from a file has", async ({ testbed }) => {
  const users = testbed.queue('users');
  testbed.worker('users', async () => 1);
  testbed.batchWorker();
  const parent = await users.createBatch({ id: 'upload\r\n7', on: { complete: { name: 'done' } } });
  const on = { complete: { name: 'done' }, success: { name: 'well done' } };
  const batch = await users.addBatch({ id: 'file\n', parent, on }, rows);
  await parent.seal();
  expect(await parent.waitUntilFinished(10_000)).toMatchObject({ id: 'upload\r%0A7', state: 'succeeded', total: 1 });
  expect((await users.getBatch('file\n')).id).toBe(batch.id);
  expect(await batch.status()).toMatchObject({ id: 'file%0A', total: 3, succeeded: 3 });
});

test('a queue whose name has several lines, or a colon, is refused: its callbacks would not be found', async ({
  testbed,
}) => {
  const users = testbed.queue('users');
  for (const queue of ['mails\n', 'mails:a']) {
    const on = { complete: { name: 'done', queue } };
    await expect(users.createBatch({ on })).rejects.toThrow(BatchOptionsError);
    await expect(users.addBatch({}, [{ name: 'row', data: 1, queue }])).rejects.toThrow(BatchOptionsError);
  }
  expect(() => testbed.queue('a\nb')).toThrow('The name of a queue must be one line');
  expect(() => testbed.queue('users', { prefix: `${testbed.prefix}\n` })).toThrow('must be one line');
});
