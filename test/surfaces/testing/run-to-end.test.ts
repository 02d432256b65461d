import { BatchOptionsError, BatchTimeoutError, type CallbackJob } from '../../../src/index.js';
import { runToEnd } from '../../../src/surfaces/testing/index.js';
import { type AnyJob, describe, expect, test } from '../../support/test.js';

describe('runToEnd()', () => {
  test('says which argument is missing, and starts nothing', async ({ testbed }) => {
    const { connection, prefix } = testbed;
    const users = testbed.queue('users');
    const adding = users.addBatch({}, [{ name: 'import', data: {} }]);
    const batch = await adding;
    for (const [given, message] of [
      [[adding, { users: () => {} }, { connection, prefix }], 'must be a Batch: await what addBatch() returns'],
      [[batch], 'must have a function for each queue'],
      [[batch, { users: 'import' }, { connection, prefix }], 'must have a function for each queue'],
      [[batch, { users: () => {} }], 'must have the connection of the queues'],
    ] as const) {
      const run = runToEnd(...(given as unknown as Parameters<typeof runToEnd>));
      await expect(run).rejects.toThrow(BatchOptionsError);
      await expect(run).rejects.toThrow(message);
    }
    expect((await batch.explain()).reasons[0]).toContain('No BatchWorker is running');
  });

  test('runs members and callbacks to the end, tells what ran, and leaves no worker', async ({ testbed }) => {
    const { connection, prefix } = testbed;
    const users = testbed.queue('users');
    const mails = testbed.queue('mails');
    const batch = await users.createBatch({ on: { complete: 'report', death: { name: 'alarm', queue: mails } } });
    await batch.add('import', { name: 'Ada' });
    await batch.add('import', { name: '' }, { attempts: 2 });
    await batch.seal();
    const processors = {
      users: (job: AnyJob) => {
        if (job.data.name === '') throw new Error('no name');
        return job.data.name.length;
      },
      mails: async () => 'sent',
    };
    const callbacks = { report: (job: CallbackJob) => job.data.batch.failed };
    const { status, ran } = await runToEnd(batch, processors, { connection, prefix, callbacks });
    expect(status).toMatchObject({ state: 'failed', succeeded: 1, failed: 1 });
    const outcomes = ran.map(({ queue, name, value, error }) => [queue, name, value ?? (error as Error).message]);
    expect(outcomes).toHaveLength(5);
    expect(outcomes).toEqual(
      expect.arrayContaining([
        ['users', 'import', 3],
        ['users', 'import', 'no name'],
        ['mails', 'alarm', 'sent'],
        ['batch-callbacks', 'report', 1],
      ]),
    );
    expect(ran.find(({ name }) => name === 'report')?.data).toMatchObject({ batch: { id: batch.id } });
    expect(await users.getWorkersCount()).toBe(0);
  });

  test('fails with what explain() says when the batch does not finish in time', async ({ testbed }) => {
    const { connection, prefix } = testbed;
    const users = testbed.queue('users');
    const mails = testbed.queue('mails');
    const batch = await users.addBatch({}, [{ name: 'send', data: {}, queue: mails }]);
    const running = runToEnd(batch, { users: async () => 1 }, { connection, prefix, timeout: 300 });
    await expect(running).rejects.toThrow(BatchTimeoutError);
    await expect(running).rejects.toThrow(
      "has not finished after 300 ms.\n- 1 member is waiting in queue 'mails', and no worker is connected to it",
    );
  });

  test('does not wait for a job that hangs', async ({ testbed }) => {
    const { connection, prefix } = testbed;
    const users = testbed.queue('users');
    const batch = await users.addBatch({}, [{ name: 'hang', data: {} }]);
    const hang = { users: () => new Promise(() => {}) };
    await expect(runToEnd(batch, hang, { connection, prefix, timeout: 300 })).rejects.toThrow(
      "running in queue 'users'",
    );
  });

  test('runs several batches after one another, and a batch of which a job adds and seals', async ({ testbed }) => {
    const { connection, prefix } = testbed;
    const users = testbed.queue('users');
    for (const _ of [1, 2]) {
      const batch = await users.createBatch();
      await batch.add('grow', {});
      const grow = async (job: AnyJob) => {
        const own = await users.batchOf(job);
        if (job.name === 'grow') {
          await own?.add('more', {});
          await own?.seal();
        }
      };
      const { status } = await runToEnd(batch, { users: grow }, { connection, prefix });
      expect(status).toMatchObject({ state: 'succeeded', total: 2 });
    }
  });
});
