import type { Worker } from 'bullmq';
import type { BatchQueue, BatchWorkerOptions } from '../../src/index.js';
import { type AnyJob, type AnyQueue, gate, type Testbed } from '../support/test.js';

export type Users = BatchQueue<AnyQueue>;

/** What the jobs of a name do; jobs of any other name succeed at once. */
export type Script = Readonly<Record<string, (job: AnyJob, users: Users) => unknown>>;

interface Options extends Partial<BatchWorkerOptions> {
  /** Of the worker of the jobs. Default: 10. */
  readonly jobsAtOnce?: number;
}

/** A queue, its worker that plays the script and notes the names of the jobs as they start, and a BatchWorker. */
export function play(
  testbed: Testbed,
  script: Script = {},
  { jobsAtOnce = 10, ...options }: Options = {},
): { users: Users; ran: string[]; worker: Worker } {
  const users = testbed.queue('users');
  const ran: string[] = [];
  const worker = testbed.worker(
    'users',
    async (job) => {
      ran.push(job.name);
      return script[job.name]?.(job, users);
    },
    { concurrency: jobsAtOnce },
  );
  testbed.batchWorker(options);
  return { users, ran, worker };
}

/**
 * A gate that opens when the test ends, if not before: closing a worker waits for its jobs, and a test that fails is
 * not to hang.
 */
export function gateOf(testbed: Testbed): ReturnType<typeof gate> {
  const held = gate();
  testbed.use({ close: async () => held.open() });
  return held;
}

export const fail = () => {
  throw new Error('no');
};

export const job = (name: string, opts = {}) => ({ name, data: {}, opts });

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) {
    list.push(item);
  }
  return list;
}
