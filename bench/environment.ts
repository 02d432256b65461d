import { availableParallelism, cpus } from 'node:os';
import { openQueue } from './jobs.js';
import type { BenchRedis } from './redis.js';

/** What the figures depend on. */
export interface Environment {
  readonly node: string;
  readonly bullmq: string;
  readonly redis: string;
  readonly redisFrom: string;
  readonly cpus: number;
  readonly cpuModel: string;
}

export async function environmentOf(redis: BenchRedis, redisFrom: string): Promise<Environment> {
  return {
    node: process.versions.node,
    bullmq: await bullmqVersion(redis),
    redis: await redis.version(),
    redisFrom,
    cpus: availableParallelism(),
    cpuModel: cpus()[0]?.model ?? 'unknown',
  };
}

/** A queue writes the version that it was made by to Redis, as 'bullmq:6.7.0'. */
async function bullmqVersion(redis: BenchRedis): Promise<string> {
  return redis.withPrefix(async (prefix) => {
    const queue = await openQueue(redis.connection, prefix);
    const version = await queue.getVersion();
    await queue.close();
    return version?.split(':').pop() ?? 'unknown';
  });
}
