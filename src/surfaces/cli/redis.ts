import { Queue } from 'bullmq';
import { type BatchQueue, withBatches } from '../../index.js';
import { UsageError } from './failure.js';

export const DEFAULT_URL = 'redis://localhost:6379';
export const DEFAULT_PREFIX = 'bull';
export const DEFAULT_BATCHES_QUEUE = 'batches';

/** How long Redis gets to answer for the first time. */
const FIRST_ANSWER_MS = 2000;

/** How long closing a connection may take. A lost connection would never be closed. */
const CLOSE_MS = 500;

/** A connection that is lost later on is tried again so often, and with this pause. */
const RECONNECTS = 10;
const BETWEEN_RECONNECTS_MS = 200;

/** Where batches are in a Redis. */
export interface BatchesPlace {
  readonly prefix: string;
  readonly batchesQueue: string;
}

/** Where Redis is. `name` is what may be shown: the URL without user and password. */
export interface RedisAddress {
  readonly name: string;
  readonly connection: {
    readonly host: string;
    readonly port: number;
    readonly username?: string;
    readonly password?: string;
    readonly db: number;
    readonly tls?: { readonly servername?: string };
  };
}

/** @throws UsageError, which does not repeat the URL: it may hold a password. */
export function redisAddress(url: string, where: string): RedisAddress {
  const wrong = (what: string) =>
    new UsageError(
      `${where} ${what}: it has the form redis://[user:password@]host[:port][/database], or rediss://… for TLS.`,
    );
  if (!/^rediss?:\/\//i.test(url)) {
    throw wrong('is not the URL of a Redis');
  }
  if (!URL.canParse(url)) {
    throw wrong(`cannot be read (a password with / ? # @ : or % in it must be percent-encoded)`);
  }
  const { protocol, hostname, port, username, password, pathname } = new URL(url);
  const database = pathname.replace(/^\/|\/$/g, '');
  if (!/^\d{0,6}$/.test(database)) {
    throw wrong('does not end with the number of a database');
  }
  const host = hostname.replace(/^\[|\]$/g, '') || 'localhost';
  const isSecure = protocol === 'rediss:';
  return {
    name: `${protocol}//${hostname || 'localhost'}:${port || 6379}${database === '' ? '' : `/${database}`}`,
    connection: {
      host,
      port: Number(port || 6379),
      ...(username === '' ? {} : { username: decoded(username, wrong) }),
      ...(password === '' ? {} : { password: decoded(password, wrong) }),
      db: Number(database),
      ...(isSecure ? { tls: {} } : {}),
    },
  };
}

function decoded(part: string, wrong: (what: string) => Error): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw wrong('has a user or password that is not percent-encoded');
  }
}

export interface OpenBatches {
  readonly queue: BatchQueue<Queue>;
  close(): Promise<void>;
}

/**
 * Connects, or fails within seconds, and writes nothing. Any queue of the prefix finds the batches; this is the queue
 * that holds them.
 *
 * @throws what the connection failed with, for `failureOf`.
 */
export async function openBatches(
  { connection }: RedisAddress,
  { prefix, batchesQueue }: BatchesPlace,
): Promise<OpenBatches> {
  let isReady = false;
  const options = {
    ...connection,
    connectTimeout: FIRST_ANSWER_MS,
    retryStrategy: (times: number) => (isReady && times <= RECONNECTS ? BETWEEN_RECONNECTS_MS : null),
    // The check would print a warning about an old Redis into every output.
    skipVersionCheck: true,
  };
  const queue = new Queue(batchesQueue, { connection: options, prefix, skipMetasUpdate: true });
  try {
    await firstAnswer(queue);
    isReady = true;
    return { queue: withBatches(queue, { batchesQueue }), close: () => atMost(CLOSE_MS, queue.close()) };
  } catch (error) {
    // Disconnecting may wait for ever; the program ends without it.
    queue.disconnect().catch(() => {});
    throw error;
  }
}

/** Waits until the promise is settled, either way, or the time has passed. */
async function atMost(ms: number, promise: Promise<unknown>): Promise<void> {
  const late = new Promise((resolve) => void setTimeout(resolve, ms).unref());
  await Promise.race([promise.catch(() => {}), late]);
}

async function firstAnswer(queue: Queue): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      // Only this event tells that the database does not exist; commands would go to another one.
      queue.on('error', reject);
      timer = setTimeout(() => {
        reject(new Error(`no answer within ${FIRST_ANSWER_MS / 1000} s`));
      }, FIRST_ANSWER_MS);
      queue.waitUntilReady().then(() => resolve(), reject);
    });
  } finally {
    clearTimeout(timer);
  }
}
