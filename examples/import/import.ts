import { basename } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type ConnectionOptions, type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import { type Batch, type BatchQueue, BatchWorker, withBatches } from '../../src/index.js';
import { type Customer, customersOf, problemOf } from './customers.js';
import { csJobId, usersBatchId } from './ids.js';
import { type ImportSummary, outcomeOf } from './outcome.js';
import { writeReport } from './report.js';

/*
 * A file of customers, imported organization by organization. As batches:
 *
 *   Import of customers.csv        batch, complete → finished-import: writes the report
 *   ├─ import-organization         one job per organization: fills the child batch of its users
 *   ├─ Users of Aurora Foods       child batch, complete → finished-user-import: adds import-cs to the batch above
 *   │  ├─ import-user              one job per row; the job of an invalid row fails
 *   │  └─ …
 *   ├─ import-cs                   one job per organization, once its users are done
 *   └─ …
 *
 * Jobs run at least once, so every step may run twice. That does no harm: what it adds has an id that follows from the
 * id of the import, and what exists already is left alone.
 */

type Step = { readonly organization: string };
type OrganizationsJob =
  | Job<Step & { readonly file: string; readonly usersBatchId: string }, Step, 'import-organization'>
  | Job<Step, Step, 'finished-user-import'>
  | Job<Step, Step, 'import-cs'>
  | Job<{ readonly report: string }, ImportSummary, 'finished-import'>;

export type OrganizationsQueue = Queue<OrganizationsJob>;
export type ImportBatch = Batch<OrganizationsQueue>;
export type UsersQueue = Queue<Customer, Customer, 'import-user'>;

const RETRIES = { attempts: 3, backoff: { type: 'exponential', delay: 500 } };

export class CustomerImport {
  readonly organizations: BatchQueue<OrganizationsQueue>;
  readonly users: BatchQueue<UsersQueue>;
  readonly organizationWorker: Worker;
  readonly #userWorker: Worker;
  readonly #batchWorker: BatchWorker;
  readonly #closing = new AbortController();

  constructor(redis: { connection: ConnectionOptions; prefix: string }, { msPerUser = 0 } = {}) {
    this.organizations = withBatches(new Queue<OrganizationsJob>('organizations', redis));
    this.users = withBatches(new Queue<Customer, Customer, 'import-user'>('users', redis));
    const runStep = (job: Job) => this.#runStep(job as OrganizationsJob);
    this.organizationWorker = new Worker('organizations', runStep, { ...redis, concurrency: 2 });
    const importSlowly = async (job: Job<Customer>) => {
      if (msPerUser > 0) await pause(msPerUser);
      return importUser(job);
    };
    this.#userWorker = new Worker('users', importSlowly, { ...redis, concurrency: 50 });
    this.#batchWorker = new BatchWorker(redis);
  }

  /** Starts an import: a job per organization now, and all else follows from them. */
  start(id: string, file: string, organizations: readonly string[], report: string): Promise<ImportBatch> {
    return this.organizations.addBatch(
      {
        id,
        description: `Import of ${basename(file)}`,
        on: { complete: { name: 'finished-import', data: { report }, opts: RETRIES } },
        jobOptions: RETRIES,
      },
      organizations.map((organization, i) => ({
        name: 'import-organization',
        data: { organization, file, usersBatchId: usersBatchId(id, i) },
      })),
    );
  }

  async #runStep(job: OrganizationsJob): Promise<Step | ImportSummary> {
    const batch = await this.organizations.batchOf(job);
    if (batch === undefined) throw new UnrecoverableError('This job belongs to no import.');
    switch (job.name) {
      case 'import-organization':
        return this.#importOrganization(batch, job.data.organization, job.data.file, job.data.usersBatchId);
      case 'finished-user-import':
        return this.#finishedUserImport(batch, job.data.organization);
      case 'import-cs':
        return this.#importCs(job.data.organization);
      case 'finished-import':
        return this.#finishedImport(batch, job.data.report);
    }
  }

  /** Streams the organization's rows from the file into a batch of its own, inside the batch of the import. */
  async #importOrganization(parent: Batch, organization: string, file: string, id: string): Promise<Step> {
    const rows = customersOf(file, organization, this.#closing.signal);
    const finished = { queue: this.organizations, name: 'finished-user-import', data: { organization }, opts: RETRIES };
    await this.users.addBatch(
      {
        id,
        parent,
        description: `Users of ${organization}`,
        on: { complete: finished },
        jobOptions: RETRIES,
        // Rows that are rejected are told in the report: they are no failure of the import.
        onFailure: 'allow',
      },
      userJobs(rows),
    );
    return { organization };
  }

  /** The organization's users are settled: goes on one level up, in the batch that is not over yet. */
  async #finishedUserImport(userBatch: Batch<OrganizationsQueue>, organization: string): Promise<Step> {
    const importBatch = await userBatch.parent();
    await importBatch?.add('import-cs', { organization }, { jobId: csJobId(userBatch.id) });
    return { organization };
  }

  async #importCs(organization: string): Promise<Step> {
    // This is where the customer success data would be imported, which refers to the organization's users.
    return { organization };
  }

  /** Everything in the import is settled: writes down what became of each row. */
  async #finishedImport(importBatch: ImportBatch, report: string): Promise<ImportSummary> {
    const { imported, rejected, summary } = await outcomeOf(importBatch, this.users);
    await writeReport(report, imported, rejected);
    return summary;
  }

  /** Waits for the jobs that are running. All others would be there for the next process. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([this.organizationWorker.close(), this.#userWorker.close(), this.#batchWorker.close()]);
    await Promise.all([this.organizations.close(), this.users.close()]);
  }
}

/** Trying an invalid row again would not help, so it is not tried again. */
async function importUser({ data: customer }: Job<Customer>): Promise<Customer> {
  const problem = problemOf(customer);
  if (problem !== undefined) throw new UnrecoverableError(problem);
  return customer;
}

async function* userJobs(customers: AsyncIterable<Customer>) {
  for await (const customer of customers) yield { name: 'import-user' as const, data: customer };
}
