import { BatchOptionsError, BatchWorker, type CallbackJob, type FailedCallback, withBatches } from '../../src/index.js';
import { describe, eventually, expect, test } from '../support/test.js';

describe('callbacks that the BatchWorker runs', () => {
  test('a callback that is given by name is run by the function of that name, and the batch finishes', async ({
    testbed,
  }) => {
    const seen: CallbackJob[] = [];
    const callbacks = { 'finished-import': async (job: CallbackJob) => void seen.push(job) };
    const users = withBatches(testbed.queue('users'), { callbacks });
    testbed.worker('users', async () => 1);
    testbed.batchWorker({ callbacks });
    const batch = await users.addBatch({ on: { complete: 'finished-import' } }, [{ name: 'a', data: {} }]);
    const { state } = await batch.waitUntilFinished(20_000);
    expect(state).toBe('succeeded');
    expect(seen.map(({ data }) => data.batch)).toEqual([
      expect.objectContaining({ id: batch.id, event: 'complete', succeeded: 1 }),
    ]);
  });

  test('is in no batch, also in a BatchWorker that was made inside of jobs(fn)', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    const callbacks = { report: async () => void (await mail.add('report', {})) };
    const users = withBatches(testbed.queue('users'), { callbacks });
    const other = await users.createBatch();
    await other.jobs(() => void testbed.batchWorker({ callbacks }));
    const batch = await users.addBatch({ on: { complete: 'report' } }, []);
    expect((await batch.waitUntilFinished(20_000)).state).toBe('succeeded');
    expect(await mail.getWaitingCount()).toBe(1);
    expect(await other.status()).toMatchObject({ total: 0 });
  });

  test('callbacks of both kinds go to their queues, and data can be given with the queue of the BatchWorker', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch({
      on: {
        complete: [{ name: 'report' }, { queue: 'batch-callbacks', name: 'finished-import', data: { org: 7 } }],
        success: 'celebrate',
      },
    });
    const { callbacks } = await batch.status();
    expect(callbacks.map(({ queue, name }) => `${queue}/${name}`)).toEqual([
      'users/report',
      'batch-callbacks/finished-import',
      'batch-callbacks/celebrate',
    ]);
  });

  test('a name that is not in the map is refused when the batch is created, with those that are', async ({
    testbed,
  }) => {
    const callbacks = { 'finished-import': () => {}, 'tell-ops': () => {} };
    const users = withBatches(testbed.queue('users'), { callbacks });
    const misspelt: { on: object } = { on: { complete: 'finished-imports' } };
    await expect(users.createBatch(misspelt)).rejects.toThrow(
      "on.complete: there is no callback 'finished-imports' among 'callbacks'. Did you mean 'finished-import'? " +
        'Known are: finished-import, tell-ops.',
    );
    const late = await users.createBatch();
    await expect(late.on('success', 'nobody' as 'tell-ops')).rejects.toThrow(BatchOptionsError);
    const child = late.createBatch({ queue: 'orgs', on: { complete: 'nobody' as 'tell-ops' } });
    await expect(child).rejects.toThrow('Known are: finished-import, tell-ops.');
    expect(await users.getBatchCounts()).toMatchObject({ open: 1 });
  });

  test('a BatchWorker that does not know a callback fails it, and its batch, with those that it knows', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const failed: FailedCallback[] = [];
    testbed.batchWorker({ callbacks: { other: () => {} } }).on('callbackFailed', (callback) => failed.push(callback));
    const batch = await users.addBatch({ on: { complete: 'finished-import' } }, []);
    const { state, failedReason } = await batch.waitUntilFinished(20_000);
    expect(state).toBe('failed');
    expect(failedReason).toContain("there is no callback 'finished-import' among 'callbacks'. Known are: other");
    expect(failed).toEqual([
      expect.objectContaining({ batchId: batch.id, event: 'complete', name: 'finished-import', isTriedAgain: false }),
    ]);
  });

  test('a callback is retried under its own options', async ({ testbed }) => {
    const users = testbed.queue('users');
    const runs: number[] = [];
    const tried: boolean[] = [];
    const callbacks = {
      flaky(job: CallbackJob) {
        runs.push(job.attemptsMade);
        if (job.attemptsMade === 0) {
          throw new Error('not yet');
        }
      },
    };
    testbed.batchWorker({ callbacks }).on('callbackFailed', ({ isTriedAgain }) => tried.push(isTriedAgain));
    const flaky = { queue: 'batch-callbacks', name: 'flaky', opts: { attempts: 2 } };
    const batch = await users.addBatch({ on: { complete: flaky } }, []);
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded' });
    expect({ runs, tried }).toEqual({ runs: [0, 1], tried: [true] });
  });

  test('without a BatchWorker that runs callbacks, explain() says how to start one', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    const batch = await users.addBatch({ on: { complete: 'finished-import' } }, []);
    const { reasons } = await eventually(async () => {
      const explanation = await batch.explain();
      return explanation.callbacks.some(({ state }) => state === 'enqueued') ? explanation : undefined;
    });
    expect(reasons[0]).toBe(
      "The complete callback 'finished-import' is waiting in queue 'batch-callbacks', and no worker is connected to " +
        `it: start one with new BatchWorker({ connection, prefix: '${testbed.prefix}', callbacks }).`,
    );
  });

  test('callbacks that are no functions are refused', ({ testbed }) => {
    const callbacks = { report: 'later' } as never;
    expect(() => new BatchWorker({ connection: testbed.connection, callbacks })).toThrow(
      "BatchWorker: callbacks['report'] must be a function of the job, not 'later'.",
    );
    expect(() => withBatches(testbed.queue('users'), { callbacks })).toThrow("withBatches: callbacks['report']");
  });
});
