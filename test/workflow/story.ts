import type { Job } from 'bullmq';
import type { Testbed } from '../support/test.js';

export type Handler = (job: Job) => unknown;

/** A queue `work` with a worker that runs a handler by the job's name, and notes the names in their order. */
export function tell(testbed: Testbed, handlers: Readonly<Record<string, Handler>> = {}) {
  const queue = testbed.queue('work');
  const ran: string[] = [];
  const worker = testbed.worker(
    'work',
    async (job) => {
      ran.push(job.name);
      return handlers[job.name]?.(job);
    },
    { concurrency: 20 },
  );
  return { queue, ran, worker };
}

export type Story = ReturnType<typeof tell>;

export const fail = () => {
  throw new Error('bad');
};

/** Fails until it is told to heal. */
export function healing() {
  const state = { isHealed: false };
  return {
    heal: () => {
      state.isHealed = true;
    },
    handler: () => {
      if (!state.isHealed) {
        throw new Error('bad');
      }
      return 'healed';
    },
  };
}

/** The states of a run's stages by their names. */
export const statesOf = ({ stages }: { readonly stages: readonly { name: string; state: string }[] }) =>
  Object.fromEntries(stages.map(({ name, state }) => [name, state]));

export async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) {
    items.push(item);
  }
  return items;
}
