import type { Job } from 'bullmq';
import { DelayedError } from 'bullmq';
import { Repetition } from '../../src/batch/repetition.js';
import type { Batch, BatchQueue } from '../../src/index.js';
import { type AnyJob, type AnyQueue, describe, eventually, expect, type Testbed, test } from '../support/test.js';

/** A batch with one member in queue 'parents', which runs this, and workers for what it adds to 'children'. */
async function withMember(
  testbed: Testbed,
  run: (job: AnyJob, children: BatchQueue<AnyQueue>, token?: string) => Promise<unknown>,
  opts: object = {},
) {
  const parents = testbed.queue('parents');
  const children = testbed.queue('children');
  testbed.worker('parents', (job: Job, token) => run(job as AnyJob, children, token), { lockDuration: 30_000 });
  testbed.worker('children', async () => 1);
  testbed.batchWorker();
  const batch = await parents.createBatch();
  await batch.add('grow', {}, opts);
  await batch.seal();
  return { batch };
}

const rowsOf = (children: { add: unknown }) =>
  [1, 2, 3].map((row) => ({ name: 'row', data: { row }, queue: children as never }));

describe('what a member adds that runs a second time', () => {
  test('is added once: in bulk, one by one, through jobs(fn), as a flow, and through a child batch', async ({
    testbed,
  }) => {
    const { batch } = await withMember(
      testbed,
      async (job, children) => {
        const own = (await children.batchOf(job)) as Batch;
        await own.addBulk(rowsOf(children));
        await own.add('single' as never, { of: 'grow' } as never);
        await own.jobs(() => children.add('implicit', { of: 'grow' }));
        await own.addFlow({ name: 'root', queueName: 'children', children: [{ name: 'leaf', queueName: 'children' }] });
        const child = await own.createBatch({ queue: children, description: 'child' });
        await child.addBulk(rowsOf(children));
        await child.seal();
        await children.addBatch({ parent: own }, rowsOf(children));
        if (job.attemptsMade === 0) {
          throw new Error('at the end of the first run');
        }
      },
      { attempts: 2 },
    );
    const status = await batch.waitUntilFinished(20_000);
    // The member; three rows, one single, one implicit, one flow, two child batches.
    expect(status).toMatchObject({ state: 'succeeded', total: 1 + 3 + 1 + 1 + 1 + 2 });
    expect((await batch.tree()).jobs.total).toBe(7 + 3 + 3);
  });

  test('is what is new, where the first run did not come to its end', async ({ testbed }) => {
    const { batch } = await withMember(
      testbed,
      async (job, children) => {
        const own = (await children.batchOf(job)) as Batch;
        await own.addBulk(rowsOf(children).slice(0, job.attemptsMade === 0 ? 2 : 3));
        if (job.attemptsMade === 0) {
          throw new Error('half-way');
        }
      },
      { attempts: 2 },
    );
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 4 });
  });

  test('is added as often as one run adds it, also through two handles', async ({ testbed }) => {
    const { batch } = await withMember(
      testbed,
      async (job, children) => {
        const handles = [await children.batchOf(job), await children.batchOf(job)];
        await Promise.all(handles.map((own) => own?.add('same', { content: 1 })));
        if (job.attemptsMade === 0) {
          throw new Error('again');
        }
      },
      { attempts: 2 },
    );
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 3 });
  });

  test('is added once when the batch is retried', async ({ testbed }) => {
    let isToFail = true;
    const { batch } = await withMember(testbed, async (job, children) => {
      await (await children.batchOf(job))?.addBulk(rowsOf(children));
      if (isToFail) {
        throw new Error('the first time');
      }
    });
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'failed', total: 4 });
    isToFail = false;
    await batch.retry();
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 4 });
  });

  test.for([0, 1, 2])(
    'is added once when the batch is retried several times, also where a job keeps %i stack traces',
    async (stackTraceLimit, { testbed }) => {
      let isToFail = true;
      const run = async (job: AnyJob, children: BatchQueue<AnyQueue>) => {
        await (await children.batchOf(job))?.addBulk(rowsOf(children));
        if (isToFail) {
          throw new Error('for now');
        }
      };
      const { batch } = await withMember(testbed, run, { attempts: 3, stackTraceLimit });
      for (let retries = 0; retries < 2; retries++) {
        expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'failed', total: 4 });
        await batch.retry();
      }
      expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'failed', total: 4 });
      isToFail = false;
      for await (const { id } of batch.failures()) {
        await (await testbed.plainQueue('parents').getJob(id))?.retry('failed');
      }
      await batch.retry();
      expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 4 });
    },
  );

  test('is added once when a worker that stalled had added it', async ({ testbed }) => {
    const parents = testbed.queue('parents');
    const children = testbed.queue('children');
    testbed.worker('children', async () => 1);
    testbed.batchWorker();
    const batch = await parents.createBatch();
    await batch.add('grow', {});
    await batch.seal();
    const runs: number[] = [];
    const options = { lockDuration: 200, stalledInterval: 100, skipLockRenewal: true };
    let isOver = false;
    for (const _ of [1, 2]) {
      testbed.worker(
        'parents',
        async (job) => {
          runs.push(job.stalledCounter);
          await (await children.batchOf(job))?.addBulk(rowsOf(children));
          // The first run hangs until its lock is gone, and another worker has finished the job.
          await eventually(() => isOver || job.stalledCounter > 0);
          isOver = true;
        },
        options,
      );
    }
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 4 });
    expect(runs).toEqual([0, 1]);
  });

  test('own ids win', async ({ testbed }) => {
    const { batch } = await withMember(testbed, async (job, children) => {
      const own = await children.batchOf(job);
      await own?.add('row', { row: 1 }, { jobId: 'row-a' });
      await own?.add('row', { row: 1 }, { jobId: 'row-b' });
      await (await own?.createBatch({ id: 'of-mine' }))?.seal();
    });
    await batch.waitUntilFinished(20_000);
    const ids: string[] = [];
    for await (const { id } of batch.results()) {
      ids.push(id);
    }
    expect(ids).toEqual(expect.arrayContaining(['row-a', 'row-b', 'of-mine']));
  });

  test('a member that runs in steps may add the same content in each', async ({ testbed }) => {
    const { batch } = await withMember(
      testbed,
      async (job, children, token) => {
        const { step = 1 } = job.data;
        await (await children.batchOf(job))?.add('tick', {});
        if (step < 3) {
          await job.updateData({ step: step + 1 });
          await job.moveToDelayed(Date.now(), token);
          throw new DelayedError();
        }
        if (job.attemptsMade === 0) {
          throw new Error('in the last step');
        }
      },
      { attempts: 2 },
    );
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 1 + 3 });
  });

  test('a job that was read from its queue may add the same content any number of times', async ({ testbed }) => {
    const queue = testbed.queue('parents');
    const batch = await queue.createBatch();
    const { id = '' } = await batch.add('waiting', {});
    for (const _ of [1, 2]) {
      const job = await queue.getJob(id);
      await (await queue.batchOf(job as AnyJob))?.add('same', {});
    }
    expect(await batch.status()).toMatchObject({ total: 3 });
  });

  test('a callback that runs twice adds once to the parent', async ({ testbed }) => {
    const queue = testbed.queue('parents');
    const callbacks = testbed.queue('callbacks');
    testbed.worker('parents', async () => 1);
    testbed.worker('callbacks', async (job) => {
      const parent = await (await callbacks.batchOf(job))?.parent();
      await parent?.add('follow-up', { org: 7 }, { attempts: 2 });
      if (job.attemptsMade === 0) {
        throw new Error('after it has added');
      }
    });
    testbed.worker('follow-ups', async () => 1);
    testbed.batchWorker();
    const batch = await queue.createBatch();
    const complete = { queue: callbacks, name: 'done', opts: { attempts: 2 } };
    await callbacks.addBatch({ parent: batch, on: { complete } }, [{ name: 'x', data: {}, queue }]);
    await batch.seal();
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ total: 2 });
  });

  test('has the same ids in a sandboxed processor, which gets a copy of the job', async ({ testbed }) => {
    const queue = testbed.queue('parents');
    const ids: (string | undefined)[] = [];
    testbed.worker('parents', async (job) => {
      // What BullMQ makes of a job in the process of a sandboxed processor.
      const copy = { ...job.asJSONSandbox(), data: job.data, async updateProgress() {} };
      ids.push(Repetition.of(job as AnyJob)?.nextId('a'), Repetition.of(copy as unknown as AnyJob)?.nextId('a'));
      if (job.attemptsMade === 0) {
        throw new Error('again');
      }
    });
    const batch = await queue.createBatch();
    await batch.add('row', {}, { attempts: 2 });
    await eventually(() => ids.length === 4);
    expect(ids[0]).toMatch(/^\w{18}$/);
    expect(new Set(ids).size).toBe(1);
  });

  test('has other ids when the starts of the job were reset, and the run cannot be told', async ({ testbed }) => {
    const queue = testbed.queue('parents');
    const repetitions: (Repetition | undefined)[] = [];
    testbed.worker('parents', async (job) => {
      repetitions.push(Repetition.of(job as AnyJob));
      throw new Error('again');
    });
    const job = await queue.add('row', {});
    await eventually(() => job.isFailed());
    await job.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true });
    await eventually(() => repetitions.length === 2);
    expect(repetitions[0]).toBeInstanceOf(Repetition);
    expect(repetitions[1]).toBeUndefined();
  });
});
