// A product is shown when all of its images have been uploaded, and not before.
import { Queue, Worker } from 'bullmq';
import { BatchWorker, withBatches } from '../../src/index.js';
import { place } from './place.js';

const images = withBatches(new Queue('images', place));
let uploaded = 0;

const worker = new Worker(
  'images',
  async (job) => {
    if (job.name === 'show-product') return console.log(`product ${job.data.product}: ${uploaded} images, visible now`);
    uploaded += 1;
  },
  { ...place, concurrency: 10 },
);
const batchWorker = new BatchWorker(place);

const files = ['front.png', 'back.png', 'box.png', 'manual.png'];
const batch = await images.addBatch(
  { id: 'images-of-7', on: { success: { name: 'show-product', data: { product: 7 } } } },
  files.map((file) => ({ name: 'upload', data: { file }, opts: { attempts: 3 } })),
);
console.log((await batch.waitUntilFinished()).state);
// → product 7: 4 images, visible now
// → succeeded

await Promise.all([worker, batchWorker, images].map((one) => one.close()));
