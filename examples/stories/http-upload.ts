// An HTTP handler answers at once, with where to ask: the work is a run of a workflow, started under the request's id.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Queue, Worker } from 'bullmq';
import { BatchWorker, defineWorkflow, withBatches } from '../../src/index.js';
import { place } from './place.js';

const uploads = withBatches(new Queue('uploads', place));
const upload = defineWorkflow('upload', {
  scan: { queue: uploads, name: 'scan' },
  thumbnails: {
    after: 'scan',
    queue: uploads,
    jobs: ['small', 'large'].map((size) => ({ name: 'thumbnail', data: { size } })),
  },
}).withInput<{ file: string }>();

const worker = new Worker('uploads', async () => {}, place);
const batchWorker = new BatchWorker(place);

const server = createServer(async (request, response) => {
  const id = (request.url ?? '').split('/').at(-1) ?? '';
  if (request.method === 'POST') {
    // A request that is sent again finds the run that the first one has started.
    const run = await upload.start({ file: `${id}.png` }, { id });
    response.writeHead(202, { Location: `/uploads/${run.id}` }).end();
  } else {
    const { state, stages } = await (await upload.getRun(id)).status();
    response.end(JSON.stringify({ state, stages: stages.map(({ name, progress }) => `${name} ${progress} %`) }));
  }
}).listen(0);
await once(server, 'listening');
const url = `http://localhost:${(server.address() as AddressInfo).port}/uploads/photo-7`;

for (const _ of ['sent', 'sent again']) {
  const { status, headers } = await fetch(url, { method: 'POST' });
  console.log(status, headers.get('location'));
}
await (await upload.getRun('photo-7')).waitUntilFinished();
console.log(await (await fetch(url)).text());
// → 202 /uploads/photo-7
// → 202 /uploads/photo-7
// → {"state":"succeeded","stages":["scan 100 %","thumbnails 100 %"]}

server.close();
await Promise.all([worker, batchWorker, uploads].map((one) => one.close()));
