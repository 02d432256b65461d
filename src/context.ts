import { AsyncLocalStorage } from 'node:async_hooks';

/*
 * Which batch the running code is in: set by `batch.jobs(fn)`, read by the wrapped queues. This file imports nothing of
 * the library, so that all of it may import this file.
 */
const storage = new AsyncLocalStorage<unknown>();

export function runInside<T>(enclosing: unknown, fn: () => T): T {
  return storage.run(enclosing, fn);
}

export function enclosing(): unknown {
  return storage.getStore();
}
