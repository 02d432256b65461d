// A nested import by callbacks: organizations → their users → customer success, and a report when all has ended.
// import-as-workflow.ts is the same program, declared in one place.
import { type Job, Queue, Worker } from 'bullmq';
import { BatchWorker, withBatches } from '../../src/index.js';
import { FILE, place, saveUser } from './customers.js';

const organizations = withBatches(new Queue('organizations', place));
const users = withBatches(new Queue('users', place));
const cs = withBatches(new Queue('cs', place));
const mail = withBatches(new Queue('mail', place));

async function loadOrganizations(job: Job) {
  const upload = await organizations.batchOf(job);
  await upload?.addBulk(
    Object.keys(FILE).map((name) => ({ name: 'load-users', data: { name }, opts: { jobId: name } })),
  );
}

async function loadUsers(job: Job) {
  const upload = await organizations.batchOf(job);
  if (upload === undefined) return;
  const batch = await users.createBatch({
    parent: upload,
    id: `${upload.id}-users-${job.data.name}`,
    on: { complete: { name: 'users-imported', data: { organization: job.data.name } } },
  });
  const names = FILE[job.data.name] ?? [];
  await batch.addBulk(names.map((user) => ({ name: 'import-user', data: { user }, opts: { jobId: `user-${user}` } })));
  await batch.seal();
}

// The callback of an organization's users: the next step goes into the batch above.
async function assignCustomerSuccess(job: Job) {
  const { organization } = job.data;
  const upload = await (await users.batchOf(job))?.parent();
  if (upload === undefined) return;
  const batch = await cs.createBatch({ parent: upload, id: `${upload.id}-cs-${organization}` });
  await batch.add('assign-cs', { organization }, { jobId: `cs-${organization}` });
  await batch.seal();
}

async function sendReport(job: Job) {
  const upload = await mail.getBatch(job.data.batch.id);
  const { children, jobs } = await upload.tree();
  const of = (kind: string) => children.filter(({ id }) => id.includes(`-${kind}-`));
  const imported = of('users').reduce((sum, batch) => sum + batch.jobs.succeeded, 0);
  console.log(`${imported} users imported, ${jobs.failed} failed`);
  console.log(`${of('cs').length} organizations have somebody to talk to`);
}

const processors: Record<string, (job: Job) => Promise<unknown>> = {
  'load-organizations': loadOrganizations,
  'load-users': loadUsers,
  'import-user': (job) => saveUser(job.data.user),
  'users-imported': assignCustomerSuccess,
  'assign-cs': async (job) => `${job.data.organization}: Eve`,
  'send-report': sendReport,
};
const workers = [organizations, users, cs, mail].map(
  ({ name }) => new Worker(name, (job) => processors[job.name]?.(job) ?? Promise.resolve(), place),
);
const batchWorker = new BatchWorker(place);

const upload = await organizations.createBatch({ on: { complete: { name: 'send-report', queue: mail } } });
await upload.add('load-organizations', { file: 'customers.csv' });
await upload.seal();
const { state } = await upload.waitUntilFinished();
console.log(`the upload has ${state}`);
// → 4 users imported, 1 failed
// → 2 organizations have somebody to talk to
// → the upload has failed

await Promise.all([...workers, batchWorker, organizations, users, cs, mail].map((one) => one.close()));
