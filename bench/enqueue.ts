import { compare } from './compare.js';
import { openQueue, producerFor } from './jobs.js';
import type { Scenario } from './scenario.js';

export const enqueue: Scenario = {
  name: 'enqueue',
  title: 'adds jobs: batch.addBulk(iterable) against queue.addBulk in chunks of 1,000',
  jobs: 100_000,
  runs: 7,
  measure: (setting) =>
    compare(setting, {
      conditions: 'timed: the adding, to a new queue without workers; the batch was created before and is open',
      target: 0.65,
      async prepare(side, prefix) {
        const queue = await openQueue(setting.redis.connection, prefix);
        const producer = await producerFor(side, queue);
        return { timed: () => producer.add(setting.jobs), close: () => queue.close() };
      },
    }),
};
