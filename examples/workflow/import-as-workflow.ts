// The nested import as a workflow: what comes after what stands in one place, and no processor starts another.
// import-by-callbacks.ts is the same program with callbacks.
import { type Job, Queue, Worker } from 'bullmq';
import { BatchWorker, defineWorkflow, withBatches } from '../../src/index.js';
import { FILE, place, saveUser } from './customers.js';

const organizations = withBatches(new Queue('organizations', place));
const users = withBatches(new Queue('users', place));
const cs = withBatches(new Queue('cs', place));
const mail = withBatches(new Queue('mail', place));

const importCustomers = defineWorkflow('import-customers', {
  organizations: { queue: organizations, name: 'load-organizations' },
  users: { forEach: 'organizations', queue: users, name: 'load-users' },
  cs: { after: 'users', when: 'complete', forEach: 'organizations', queue: cs, name: 'assign-cs' },
  report: { after: 'cs', when: 'complete', queue: mail, name: 'send-report' },
}).withInput<{ file: string }>();

// A job adds more jobs to its stage: what comes after it waits for them too.
async function loadOrganizations(job: Job) {
  const { batch } = await importCustomers.of(job);
  await batch.addBulk(Object.keys(FILE).map((name) => ({ name: 'organization', data: { name } })));
}

async function loadUsers(job: Job) {
  const { batch } = await importCustomers.of(job);
  await batch.addBulk((FILE[job.data.name] ?? []).map((user) => ({ name: 'import-user', data: { user } })));
}

async function sendReport(job: Job) {
  const { run } = await importCustomers.of(job);
  const { stages } = await run.status();
  const stage = (name: string) => stages.find((one) => one.name === name);
  const imported = (stage('users')?.succeeded ?? 0) - Object.keys(FILE).length;
  console.log(`${imported} users imported, ${stage('users')?.failed} failed`);
  console.log(`${stage('cs')?.succeeded} organizations have somebody to talk to`);
}

const processors: Record<string, (job: Job) => Promise<unknown>> = {
  'load-organizations': loadOrganizations,
  organization: async (job) => job.data,
  'load-users': loadUsers,
  'import-user': (job) => saveUser(job.data.user),
  'assign-cs': async (job) => `${job.data.name}: Eve`,
  'send-report': sendReport,
};
const workers = [organizations, users, cs, mail].map(
  ({ name }) => new Worker(name, (job) => processors[job.name]?.(job) ?? Promise.resolve(), place),
);
const batchWorker = new BatchWorker(place);

const run = await importCustomers.start({ file: 'customers.csv' });
const { state, stages } = await run.waitUntilFinished();
console.log(`the upload has ${state}`);
for (const stage of stages) console.log(`${stage.name}: ${stage.state}`);
// → 4 users imported, 1 failed
// → 2 organizations have somebody to talk to
// → the upload has failed
// → organizations: succeeded
// → users: failed
// → cs: succeeded
// → report: succeeded

await Promise.all([...workers, batchWorker, organizations, users, cs, mail].map((one) => one.close()));
