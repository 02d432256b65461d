// A file with invalid rows: they are recorded and not tried again, and the owner is told of both kinds.
import { Queue, UnrecoverableError, Worker } from 'bullmq';
import { BatchWorker, defineWorkflow, withBatches } from '../../src/index.js';
import { place } from './place.js';

const rows = withBatches(new Queue('rows', place));
const FILE = ['ada,36', 'bill,', 'grace,85', 'eve,old'];

const importFile = defineWorkflow('import-file', {
  // What fails is recorded, and no reason to fail the run.
  rows: {
    queue: rows,
    jobs: (input: { lines: readonly string[] }) => input.lines.map((line) => ({ name: 'row', data: { line } })),
    jobOptions: { attempts: 3 },
    onFailure: 'allow',
  },
  notify: { after: 'rows', queue: rows, name: 'notify' },
});

const worker = new Worker(
  'rows',
  async (job) => {
    if (job.name === 'notify') {
      const { run, results } = await importFile.of(job);
      const [saved, rejected]: [unknown[], string[]] = [[], []];
      for await (const row of results('rows')) saved.push(row);
      const stage = await rows.getBatch(`${run.id}.rows`);
      for await (const { data, reason } of stage.failures()) rejected.push(`${data.line}: ${reason}`);
      console.log(`saved: ${saved.sort().join(', ')}`);
      return console.log(`rejected: ${rejected.sort().join('; ')}`);
    }
    const [name, age] = job.data.line.split(',');
    // Trying it again would not make it valid.
    if (!/^\d+$/.test(age)) throw new UnrecoverableError('no age');
    return name;
  },
  place,
);
const batchWorker = new BatchWorker(place);

const run = await importFile.start({ lines: FILE });
console.log((await run.waitUntilFinished()).state);
// → saved: ada, grace
// → rejected: bill,: no age; eve,old: no age
// → succeeded

await Promise.all([worker, batchWorker, rows].map((one) => one.close()));
