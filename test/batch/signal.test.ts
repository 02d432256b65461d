import { BatchError, BatchOptionsError } from '../../src/index.js';
import { type AnyJob, describe, eventually, expect, gate, test } from '../support/test.js';

describe('signalOf(job)', () => {
  test('aborts a running member when its batch, or one above it, is cancelled, with the reason', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const reasons: unknown[] = [];
    let running = 0;
    testbed.worker(
      'users',
      async (job) => {
        const signal = users.signalOf(job as AnyJob);
        expect(users.signalOf(job as AnyJob)).toBe(signal);
        running += 1;
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        reasons.push(signal.reason);
        signal.throwIfAborted();
      },
      { concurrency: 3 },
    );
    testbed.batchWorker();
    const parent = await users.createBatch();
    await users.addBatch({ parent }, [{ name: 'row', data: {} }]);
    await parent.add('row', {});
    await parent.addFlow({ name: 'root', queueName: 'users', children: [{ name: 'leaf', queueName: 'users' }] });
    await parent.seal();
    await eventually(() => running === 3);
    await parent.cancel('wrong file');
    expect(await parent.waitUntilFinished(20_000)).toMatchObject({ state: 'cancelled' });
    expect(reasons).toHaveLength(3);
    for (const reason of reasons) {
      expect(reason).toBeInstanceOf(BatchError);
      expect((reason as Error).message).toMatch(/^Batch '.+' was cancelled: wrong file\.$/);
    }
  });

  test('aborts when the batch is removed by force', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { opened, open } = gate();
    testbed.worker('users', async (job) => {
      const signal = users.signalOf(job as AnyJob);
      open();
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return 'stopped';
    });
    const batch = await users.createBatch();
    const job = await batch.add('row', {});
    await opened;
    await batch.remove({ force: true });
    await eventually(async () => (await users.getJob(job.id ?? ''))?.returnvalue === 'stopped');
  });

  test('never aborts after the job has ended, nor outside of batches', async ({ testbed }) => {
    const users = testbed.queue('users');
    const signals: AbortSignal[] = [];
    testbed.worker('users', async (job) => {
      signals.push(users.signalOf(job as AnyJob));
      if (job.name === 'bad' && job.attemptsMade === 0) throw new Error('no');
    });
    testbed.batchWorker();
    const alone = await users.add('alone', {});
    const batch = await users.createBatch();
    await batch.add('good', {});
    await batch.add('bad', {}, { attempts: 2 });
    await eventually(async () => (await batch.status()).succeeded === 2 && (await alone.isCompleted()));
    await batch.cancel();
    await batch.waitUntilFinished(20_000);
    expect(signals).toHaveLength(4);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false, false, false]);
  });

  test('takes a job', ({ testbed }) => {
    const users = testbed.queue('users');
    for (const job of [undefined, null, 'job']) {
      expect(() => users.signalOf(job as never)).toThrow(BatchOptionsError);
    }
  });
});
