// Checked by the compiler (npm run typecheck); nothing here runs.
import { type Job, Queue } from 'bullmq';
import { Queue as Queue5 } from 'bullmq5';
import { expectTypeOf } from 'vitest';
import { type Batch, type BatchStatus, BatchWorker, type CallbackJob, withBatches } from '../src/index.js';

type Upload = { file: string };
type Uploaded = { bytes: number };
const connection = {};

async function typesFlowFromTheQueue() {
  const images = withBatches(new Queue<Upload, Uploaded, 'upload' | 'thumbnail'>('images', { connection }));
  expectTypeOf(images).toExtend<Queue<Upload, Uploaded, 'upload' | 'thumbnail'>>();

  const batch = await images.createBatch();
  const job = await batch.add('upload', { file: 'a.png' }, { attempts: 3 });
  expectTypeOf(job).toEqualTypeOf<Job<Upload, Uploaded, 'upload' | 'thumbnail'>>();
  // @ts-expect-error a name that the queue does not have
  await batch.add('resize', { file: 'a.png' });
  // @ts-expect-error data that the queue does not take
  await batch.add('upload', { path: 'a.png' });
  // @ts-expect-error an option that would take the job out of its batch
  await batch.add('upload', { file: 'a.png' }, { repeat: { every: 1000 } });

  await batch.addBulk([{ name: 'thumbnail', data: { file: 'a.png' } }]);
  await batch.addBulk([{ name: 'anything', data: 17, queue: 'mail' }]);
  // @ts-expect-error data that the queue does not take
  await batch.addBulk([{ name: 'thumbnail', data: 17 }]);

  for await (const result of batch.results()) {
    if (result.isBatch) {
      expectTypeOf(result.value).toEqualTypeOf<BatchStatus>();
    } else {
      expectTypeOf(result.value).toEqualTypeOf<Uploaded>();
    }
  }
  for await (const failure of batch.failures()) {
    expectTypeOf(failure.data).toEqualTypeOf<Upload | undefined>();
  }
  expectTypeOf(await batch.jobs(async () => 7)).toEqualTypeOf<number>();
  expectTypeOf(await images.batchOf(job)).toEqualTypeOf<typeof batch | undefined>();
  expectTypeOf<typeof batch>().toExtend<Batch>();

  // @ts-expect-error an option that a batch does not have
  await images.createBatch({ descripton: 'x' });
  // @ts-expect-error a callback without a name
  await images.createBatch({ on: { complete: { data: {} } } });
  // @ts-expect-error an event that a batch does not have
  await images.createBatch({ on: { completed: { name: 'x' } } });
}

async function queuesOfBullMQ5FitToo() {
  const images = withBatches(new Queue5<Upload, Uploaded, 'upload'>('images', { connection }));
  const batch = await images.createBatch();
  expectTypeOf((await batch.add('upload', { file: 'a.png' })).returnvalue).toEqualTypeOf<Uploaded>();
  // @ts-expect-error data that the queue does not take
  await batch.add('upload', 17);
  const mail = withBatches(new Queue('mail', { connection }));
  await mail.createBatch({ parent: batch, on: { complete: { name: 'x', queue: images } } });
  const child = await (await mail.createBatch()).createBatch({ queue: images });
  expectTypeOf((await child.add('upload', { file: 'a.png' })).returnvalue).toEqualTypeOf<Uploaded>();
}

async function untypedQueuesTakeAnything() {
  const queue = withBatches(new Queue('anything', { connection }));
  const batch = await queue.createBatch();
  await batch.add('a', { whatever: true });
}

async function childrenHaveTheTypesOfTheirQueue() {
  const orgs = withBatches(new Queue<{ org: number }, void, 'import-org'>('orgs', { connection }));
  const images = withBatches(new Queue<Upload, Uploaded, 'upload'>('images', { connection }));
  const batch = await orgs.createBatch();
  const child = await batch.createBatch({ queue: images });
  expectTypeOf((await child.add('upload', { file: 'a.png' })).returnvalue).toEqualTypeOf<Uploaded>();
  // @ts-expect-error a job of the parent's queue
  await child.add('import-org', { org: 7 });
  await (await batch.createBatch()).add('import-org', { org: 7 });
  await (await batch.createBatch({ queue: 'mail' })).add('anything', 17);
  // @ts-expect-error a batch that is created from a queue is for that queue
  await orgs.createBatch({ queue: images });
}

async function callbacksAreTypedFromOneMap() {
  const callbacks = {
    'finished-import': async (job: CallbackJob<{ org: number }>) => job.data.org + job.data.batch.failed,
    'tell-ops': (job: CallbackJob) => job.data.batch.description,
  };
  new BatchWorker({ connection, callbacks });
  new BatchWorker({ connection, callbacks: { inline: async (job) => job.data.batch.succeeded } });
  // @ts-expect-error no function
  new BatchWorker({ connection, callbacks: { inline: 'later' } });
  const users = withBatches(new Queue<Upload>('users', { connection }), { callbacks });
  const batch = await users.createBatch({ on: { complete: 'finished-import', death: ['tell-ops', { name: 'x' }] } });
  // @ts-expect-error no callback of the map
  await users.createBatch({ on: { complete: 'finished-imports' } });
  // @ts-expect-error nor in a child
  await batch.createBatch({ on: { complete: 'finished-imports' } });
  // @ts-expect-error nor later
  await batch.on('success', 'finished-imports');
  await batch.on('success', 'tell-ops');
  expectTypeOf(batch).toExtend<Batch>();
  const untyped = withBatches(new Queue('users', { connection }));
  await untyped.createBatch({ on: { complete: 'anything' } });
}

// @ts-expect-error not a queue
withBatches({ name: 'users' });

void [childrenHaveTheTypesOfTheirQueue, callbacksAreTypedFromOneMap];
void [typesFlowFromTheQueue, queuesOfBullMQ5FitToo, untypedQueuesTakeAnything];
