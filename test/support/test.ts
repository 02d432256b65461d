import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type Job, type Processor, Queue, type QueueOptions, Worker, type WorkerOptions } from 'bullmq';
import { Redis } from 'ioredis';
import { test as base, inject } from 'vitest';
import { type BatchQueue, BatchWorker, type BatchWorkerOptions, withBatches } from '../../src/index.js';
import { HeldConnection, type HeldConnectionOptions } from './held-connection.js';

export { describe, expect } from 'vitest';

/** The queue types that tests use: anything goes in and out. */
// biome-ignore lint/suspicious/noExplicitAny: a test's jobs have whatever data the test needs
export type AnyQueue = Queue<any, any, string>;
// biome-ignore lint/suspicious/noExplicitAny: as above
export type AnyJob = Job<any, any, string>;

const CLOSING_MS = 10_000;
const CLOSING_AFTER_FAILURE_MS = 3_000;
const UNREF = { ref: false };

export interface Testbed {
  readonly prefix: string;
  readonly connection: { host: string; port: number };
  readonly redis: Redis;
  queue(name: string, options?: Partial<QueueOptions>): BatchQueue<AnyQueue>;
  plainQueue(name: string, options?: Partial<QueueOptions>): AnyQueue;
  worker(name: string, processor: Processor, options?: Partial<WorkerOptions>): Worker;
  batchWorker(options?: Partial<BatchWorkerOptions>): BatchWorker;
  /** A way to Redis on which its user can be stopped; it goes on, and is closed, when the test has ended. */
  heldConnection(options?: HeldConnectionOptions): Promise<HeldConnection>;
  /**
   * Gives `use` a testbed with a prefix of its own, which is cleaned up when `use` has ended. For tests that set up many
   * situations: their queues and workers share one client, because clients of their own cost a fifth of the CPU time.
   */
  within<T>(name: string | number, use: (testbed: Testbed) => Promise<T>): Promise<T>;
  /** Says that keys of this queue are the test's own, which a child process has made. */
  owns(name: string): void;
  /** Closes on the end of the test. */
  use<T extends { close(): Promise<unknown> }>(closable: T): T;
}

/**
 * A prefix of its own, and everything that was opened is closed; afterwards only keys of the test's own queues may be
 * there.
 */
export const test = base.extend<{ testbed: Testbed }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest wants a pattern
  testbed: async ({}, use) => {
    const { hostname: host, port, username, password, pathname } = new URL(inject('redisUrl'));
    const connection = {
      host,
      port: Number(port || 6379),
      ...(username ? { username } : {}),
      ...(password ? { password } : {}),
      ...(pathname.length > 1 ? { db: Number(pathname.slice(1)) } : {}),
    };
    const redis = new Redis(connection);
    try {
      await withTestbed({ connection, redis, prefix: `test-${randomUUID().slice(0, 13)}` }, use);
    } finally {
      await redis.quit();
    }
  },
});

interface TestbedOptions extends Pick<Testbed, 'connection' | 'redis' | 'prefix'> {
  /** What its queues and workers share. Default: each connects by itself. */
  readonly client?: Redis | undefined;
}

/** Gives `use` a testbed; afterwards it is cleaned up, also when `use` throws. */
export async function withTestbed<T>(
  { connection: address, redis, prefix, client }: TestbedOptions,
  use: (testbed: Testbed) => Promise<T>,
): Promise<T> {
  const closables: { close(): Promise<unknown> }[] = [];
  const heldConnections: HeldConnection[] = [];
  const names = new Set(['batches', 'batch-callbacks']);
  const connection = client ?? address;
  let shared = client;
  const testbed: Testbed = {
    prefix,
    connection: address,
    redis,
    use(closable) {
      closables.push(closable);
      return closable;
    },
    owns: (name) => void names.add(name),
    plainQueue(name, options = {}) {
      testbed.owns(name);
      return testbed.use(new Queue(name, { connection, prefix, ...options }) as AnyQueue);
    },
    queue(name, options) {
      return withBatches(testbed.plainQueue(name, options));
    },
    worker(name, processor, options = {}) {
      testbed.owns(name);
      const worker = new Worker(name, processor, { connection, prefix, ...options });
      worker.on('error', () => {});
      testbed.use(onceReady(worker));
      return worker;
    },
    batchWorker(options = {}) {
      // Without the reconciler, unless the test is about it: what is to work must not work only because it is repaired.
      const worker = new BatchWorker({ connection, prefix, reconcileInterval: 3_600_000, ...options });
      testbed.use(onceReady(worker));
      return worker;
    },
    within(name, use) {
      shared ??= sharedBy(testbed);
      return withTestbed({ connection: address, redis, prefix: `${prefix}-${name}`, client: shared }, use);
    },
    async heldConnection(options = {}) {
      const held = new HeldConnection(address, options);
      heldConnections.push(held);
      await held.open();
      return held;
    },
  };
  let strays: string[] = [];
  let result: T;
  let patienceMs = CLOSING_AFTER_FAILURE_MS;
  try {
    result = await use(testbed);
    patienceMs = CLOSING_MS;
  } finally {
    for (const held of heldConnections) {
      held.release();
    }
    // A job that a failed test has left waiting would hold its worker, and the whole run, for ever.
    const closed = await Promise.all(
      closables.map((closable) => Promise.race([closable.close().then(() => true), pause(patienceMs, false, UNREF)])),
    );
    for (const held of heldConnections) {
      // BullMQ 5 spins, and nothing else runs any more, when a worker is cut off that is at work while it is being
      // closed.
      await (closed.every(Boolean) ? held.close() : held.freeze());
    }
    const keys = await keysOf(redis, prefix);
    strays = keys.filter((key) => !names.has(key.split(':')[1] ?? ''));
    for (let i = 0; i < keys.length; i += 1000) {
      await redis.del(...keys.slice(i, i + 1000));
    }
  }
  if (strays.length > 0) {
    throw new Error(`Keys of no queue of this test were left behind: ${strays.join(', ')}`);
  }
  return result;
}

function sharedBy(testbed: Testbed): Redis {
  const client = new Redis({ ...testbed.connection, maxRetriesPerRequest: null });
  testbed.use({ close: () => client.quit() });
  return client;
}

/** BullMQ 5 rejects a promise that nobody has when a worker is closed while it is connecting. */
function onceReady(worker: { waitUntilReady(): Promise<unknown>; close(): Promise<unknown> }) {
  return {
    async close() {
      await worker.waitUntilReady().catch(() => {});
      await worker.close();
    },
  };
}

export async function keysOf(redis: Redis, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of redis.scanStream({ match: `${prefix}*`, count: 1000 })) {
    keys.push(...(page as string[]));
  }
  return keys;
}

/**
 * Polls until `probe` stops throwing and returns something truthy; the last error says what was missing. The longer it
 * has waited, the longer are its pauses: a wait ends late by a tenth at most, and looks rarely.
 */
export async function eventually<T>(probe: () => Promise<T> | T, timeoutMs = 25_000): Promise<NonNullable<T>> {
  const began = Date.now();
  for (;;) {
    const waitedMs = Date.now() - began;
    try {
      const value = await probe();
      if (value) {
        return value;
      }
      if (waitedMs > timeoutMs) {
        throw new Error(`still ${String(value)} after ${timeoutMs} ms`);
      }
    } catch (error) {
      if (waitedMs > timeoutMs) {
        throw error;
      }
    }
    await pause(Math.min(10 + waitedMs / 10, 50));
  }
}

/** A gate that jobs wait at until the test opens it. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}
