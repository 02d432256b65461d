import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createBullBoard } from '@bull-board/api';
import { ExpressAdapter } from '@bull-board/express';
import express from 'express';
import type { Page } from 'playwright-core';
import { BatchBoardAdapter } from '../../src/surfaces/bull-board/index.js';
import { batchPage } from '../../src/surfaces/page/index.js';
import type { AnyQueue, Testbed } from '../support/test.js';

/** An application with Bull Board and the page of batches, as the README mounts them. */
export async function serve(testbed: Testbed, ...queues: AnyQueue[]) {
  const [first = testbed.plainQueue('users')] = queues;
  const serverAdapter = new ExpressAdapter();
  serverAdapter.setBasePath('/queues');
  createBullBoard({
    queues: [testbed.plainQueue('batches'), ...queues].map((queue) => new BatchBoardAdapter(queue as never)),
    serverAdapter,
    options: { uiConfig: { miscLinks: [{ text: 'Batches', url: '/batches' }] } },
  });
  const app = express();
  app.use('/queues', serverAdapter.getRouter());
  app.use('/batches', batchPage(first, { allowActions: true }).handler);
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  testbed.use({
    async close() {
      server.closeAllConnections();
      server.close();
    },
  });
  return `http://localhost:${(server.address() as AddressInfo).port}`;
}

/** The queue `users`, served, with a BatchWorker. */
export async function serveUsers(testbed: Testbed) {
  const users = testbed.queue('users');
  const origin = await serve(testbed, users);
  testbed.batchWorker();
  return { users, origin };
}

/** Makes the window that of a phone in the dark; `fits()` tells whether nothing is cut off at its side. */
export async function onPhone(page: Page, height: number): Promise<{ fits(): Promise<boolean> }> {
  await page.setViewportSize({ width: 375, height });
  await page.emulateMedia({ colorScheme: 'dark' });
  return { fits: () => page.evaluate<boolean>('document.documentElement.scrollWidth <= window.innerWidth') };
}
