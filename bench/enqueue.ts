import { withBatches } from '../src/index.js';
import { compare } from './compare.js';
import { addInChunks, mixedJobs, openQueue, plainMixed, producerFor } from './jobs.js';
import type { Scenario } from './scenario.js';

export const enqueue: Scenario = {
  name: 'enqueue',
  title: 'adds jobs: batch.addBulk(iterable) against queue.addBulk in chunks of 1,000',
  jobs: 100_000,
  runs: 5,
  measure: (setting) =>
    compare(setting, {
      conditions: 'timed: the adding, to a new queue without workers; the batch was created before and is open',
      target: 4,
      async prepare(side, prefix) {
        const queue = await openQueue(setting.redis.connection, prefix);
        const producer = await producerFor(side, queue);
        return { timed: () => producer.add(setting.jobs), close: () => queue.close() };
      },
    }),
};

export const enqueueMixed: Scenario = {
  name: 'enqueue-mixed',
  title: 'adds jobs with priorities, delays and ids of their own to three queues',
  jobs: 30_000,
  runs: 5,
  measure: (setting) =>
    compare(setting, {
      conditions: 'timed: as enqueue; of ten jobs two have a priority, two a delay, two an id, two go to other queues',
      target: 2,
      async prepare(side, prefix) {
        const { connection } = setting.redis;
        const queues = await Promise.all(
          ['bench', 'mails', 'bills'].map((name) => openQueue(connection, prefix, name)),
        );
        const [bench] = queues;
        if (bench === undefined) {
          throw new Error('There is no queue.');
        }
        const batch = side === 'batch' ? await withBatches(bench).createBatch() : undefined;
        return {
          timed: () =>
            batch === undefined
              ? plainMixed(queues, setting.jobs, addInChunks)
              : batch.addBulk(mixedJobs(setting.jobs, queues)),
          close: () => Promise.all(queues.map((queue) => queue.close())),
        };
      },
    }),
};
