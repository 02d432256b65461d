// The weekly e-mail goes to a long list, which is read as it is sent; the admin gets one notice when all is done.
import { Queue, UnrecoverableError, Worker } from 'bullmq';
import { BatchWorker, withBatches } from '../../src/index.js';
import { place } from './place.js';

const mail = withBatches(new Queue('mail', place));

/** Stands for a cursor of a database: any number of readers, few of them in memory. */
async function* readers() {
  for (let n = 1; n <= 300; n++) yield { name: 'weekly', data: { to: n === 42 ? '' : `reader-${n}@example.com` } };
}

const worker = new Worker(
  'mail',
  async (job) => {
    if (job.name === 'tell-admin') {
      const { succeeded, failed } = job.data.batch;
      console.log(`${succeeded} e-mails sent, ${failed} failed`);
      const week = await mail.getBatch(job.data.batch.id);
      for await (const { reason } of week.failures()) console.log(reason);
    } else if (job.data.to === '') {
      throw new UnrecoverableError('no address');
    }
  },
  { ...place, concurrency: 50 },
);
const batchWorker = new BatchWorker(place);

const week = await mail.addBatch({ id: 'week-45', on: { complete: { name: 'tell-admin' } } }, readers());
await week.waitUntilFinished();
// → 299 e-mails sent, 1 failed
// → no address

await Promise.all([worker, batchWorker, mail].map((one) => one.close()));
