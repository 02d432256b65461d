import { keysOf, type Testbed } from './test.js';

/** The ends of the keys that a queue keeps for itself, whether or not it has jobs. */
const OF_QUEUES = [
  ...['meta', 'events', 'id', 'marker', 'pc', 'wait', 'active', 'delayed', 'prioritized', 'completed', 'failed'],
  ...['waiting-children', 'stalled-check', 'reconciler:leader', 'reconciler:sweeper'],
];

/** The keys of batches and jobs, of one queue or of all; not what queues keep for themselves. */
export async function jobKeys(testbed: Testbed, queue = '', alsoOfQueues: readonly string[] = []): Promise<string[]> {
  const own = new RegExp(`:(${[...OF_QUEUES, ...alsoOfQueues].join('|')})$`);
  const keys = await keysOf(testbed.redis, testbed.prefix);
  return keys.filter((key) => key.startsWith(`${testbed.prefix}:${queue}`) && !own.test(key));
}
