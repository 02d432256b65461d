import { Redis } from 'ioredis';
import { startPrivateRedis } from '../../test/support/private-redis.js';

/** The Redis of one run of the demo. */
export interface RunRedis {
  readonly connection: { readonly url: string };
  readonly prefix: string;
  /** The option with which the command line finds it; none where REDIS_URL says it. */
  readonly option: string;
  /** Deletes the keys of this run, and stops the server if it was started for it. */
  end(): Promise<void>;
}

/** There is no Redis to run against. */
export class RunRedisError extends Error {
  override readonly name = 'RunRedisError';
}

/** Starts a Redis, or takes the one that REDIS_URL names: of that one, everything but the prefix belongs to others. */
export async function startRunRedis(prefix: string): Promise<RunRedis> {
  const { url, how, stop } = await startPrivateRedis().catch((error: Error) => {
    throw new RunRedisError(error.message, { cause: error });
  });
  if (how === 'REDIS_URL') await reach(url);
  return {
    connection: { url },
    prefix,
    option: how === 'REDIS_URL' ? '' : ` --redis ${url}`,
    async end() {
      if (how === 'REDIS_URL') await deleteKeys(url, prefix);
      await stop();
    },
  };
}

async function reach(url: string): Promise<void> {
  (await connect(url)).disconnect();
}

async function deleteKeys(url: string, prefix: string): Promise<void> {
  const redis = await connect(url);
  const pattern = `${prefix.replace(/[\\*?[\]]/g, '\\$&')}:*`;
  for await (const keys of redis.scanStream({ match: pattern, count: 1000 })) {
    if (keys.length > 0) await redis.unlink(...keys);
  }
  redis.disconnect();
}

/**
 * BullMQ waits for a Redis that is not there, which is right for a service. A user at a terminal wants to hear of it.
 */
async function connect(url: string): Promise<Redis> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 });
  let why = 'the connection was closed';
  redis.on('error', (error) => {
    why = error.message;
  });
  try {
    await redis.connect();
    await redis.ping();
    return redis;
  } catch (error) {
    redis.disconnect();
    throw new RunRedisError(`Redis cannot be reached at REDIS_URL: ${why}.`, { cause: error });
  }
}
