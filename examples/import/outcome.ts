import type { Worker } from 'bullmq';
import { BatchNotFoundError, type BatchQueue, type BatchState } from '../../src/index.js';
import type { Customer } from './customers.js';
import { isCsJobId, usersBatchId } from './ids.js';
import type { CustomerImport, ImportBatch, UsersQueue } from './import.js';
import type { OrganizationProgress } from './progress.js';
import type { Rejected } from './report.js';

/** What an import has come to, in numbers. */
export interface ImportSummary {
  readonly organizations: number;
  readonly users: { readonly total: number; readonly succeeded: number; readonly failed: number };
  readonly csJobs: number;
  /** How many callbacks named finished-user-import have run. */
  readonly finishedUserImports: number;
  /** How many rows failed for which reason. */
  readonly reasons: Readonly<Record<string, number>>;
}

export interface Outcome {
  readonly imported: readonly Customer[];
  readonly rejected: readonly Rejected[];
  readonly summary: ImportSummary;
}

/** Collects what became of each row. It asks the batches, which is possible from any process and at any time. */
export async function outcomeOf(importBatch: ImportBatch, users: BatchQueue<UsersQueue>): Promise<Outcome> {
  const imported: Customer[] = [];
  const rejected: Rejected[] = [];
  let [organizations, total, csJobs, finishedUserImports] = [0, 0, 0, 0];
  for await (const { id, isBatch } of membersOf(importBatch)) {
    if (isCsJobId(id)) csJobs++;
    if (!isBatch) continue;
    const userBatch = await users.getBatch(id);
    const status = await userBatch.status();
    organizations++;
    total += status.total;
    finishedUserImports += status.callbacks.filter(({ state }) => state === 'succeeded').length;
    for await (const result of userBatch.results()) if (!result.isBatch) imported.push(result.value);
    for await (const { data, reason } of userBatch.failures()) if (data) rejected.push({ customer: data, reason });
  }
  const counts = { total, succeeded: imported.length, failed: rejected.length };
  const reasons = countReasons(rejected);
  return { imported, rejected, summary: { organizations, users: counts, csJobs, finishedUserImports, reasons } };
}

function countReasons(rejected: readonly Rejected[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { reason } of rejected) {
    const kind = reason.replace(/ of row \d+$/, '');
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}

/** All members, also those that could not be imported at all. */
async function* membersOf(batch: ImportBatch) {
  yield* batch.results();
  yield* batch.failures();
}

const STAGES: Readonly<Record<BatchState, OrganizationProgress['stage']>> = {
  open: 'importing',
  waiting: 'importing',
  running: 'importing',
  finishing: 'finishing',
  succeeded: 'done',
  failed: 'done',
  cancelled: 'done',
  skipped: 'done',
};

/** How far each organization is. One without a batch has not begun. */
export async function progressOf(
  importId: string,
  organizations: ReadonlyMap<string, number>,
  users: BatchQueue<UsersQueue>,
): Promise<OrganizationProgress[]> {
  return Promise.all(
    Array.from(organizations, async ([organization, rows], i) => {
      const status = await statusOf(usersBatchId(importId, i), users);
      if (status === undefined) return { organization, rows, succeeded: 0, failed: 0, stage: 'waiting' as const };
      const { succeeded, failed, state } = status;
      return { organization, rows, succeeded, failed, stage: STAGES[state] };
    }),
  );
}

async function statusOf(id: string, users: BatchQueue<UsersQueue>) {
  try {
    return await (await users.getBatch(id)).status();
  } catch (error) {
    if (error instanceof BatchNotFoundError) return undefined;
    throw error;
  }
}

/**
 * Waits for the report, and resolves with what it comes to. Rejects when a step has failed for good: it may have left a
 * batch open, and an open batch does not finish.
 */
export async function summaryOf(importBatch: ImportBatch, customers: CustomerImport): Promise<ImportSummary> {
  const broken = failureForGood(customers.organizationWorker);
  const { callbacks, failedReason } = await Promise.race([importBatch.waitUntilFinished(), broken]);
  const [callback] = callbacks;
  const job = callback?.state === 'succeeded' ? await customers.organizations.getJob(callback.jobId) : undefined;
  if (job === undefined) throw new Error(failedReason);
  return job.returnvalue as ImportSummary;
}

function failureForGood(worker: Worker): Promise<never> {
  return new Promise((_, reject) => {
    worker.on('failed', (job, error) => {
      const willBeRetried = job?.finishedOn === undefined;
      if (!willBeRetried) reject(error);
    });
  });
}
