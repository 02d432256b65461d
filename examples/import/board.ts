import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createBullBoard } from '@bull-board/api';
import { ExpressAdapter } from '@bull-board/express';
import { type ConnectionOptions, Queue } from 'bullmq';
import express from 'express';
import { BatchBoardAdapter } from '../../src/surfaces/bull-board/index.js';
import { batchPage } from '../../src/surfaces/page/index.js';
import type { CustomerImport } from './import.js';

/** The web pages of one run of the demo. */
export interface Board {
  /** Bull Board, with the queue `batches` and those of the members. */
  readonly board: string;
  /** The page of batches beside it. */
  readonly page: string;
  close(): Promise<void>;
}

/** Serves both on a free port, to this machine only. */
export async function serveBoard(
  redis: { connection: ConnectionOptions; prefix: string },
  { organizations, users }: Pick<CustomerImport, 'organizations' | 'users'>,
): Promise<Board> {
  const batches = new Queue('batches', redis);
  const serverAdapter = new ExpressAdapter();
  serverAdapter.setBasePath('/queues');
  createBullBoard({
    queues: [batches, organizations, users].map((queue) => new BatchBoardAdapter(queue, { page: '/batches' })),
    serverAdapter,
    options: { uiConfig: { boardTitle: 'Customer import', miscLinks: [{ text: 'Batches', url: '/batches' }] } },
  });
  const app = express();
  app.use('/queues', serverAdapter.getRouter());
  // Whoever can reach this page may act: it is the reader's own machine.
  app.use('/batches', batchPage(users, { title: 'Customer import', allowActions: true }).handler);
  app.get('/', (_request, response) => response.redirect('/batches'));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://localhost:${(server.address() as AddressInfo).port}`;
  return {
    board: `${origin}/queues`,
    page: `${origin}/batches`,
    async close() {
      server.closeAllConnections();
      server.close();
      await batches.close();
    },
  };
}
