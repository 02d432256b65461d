import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import express from 'express';
import { BatchBoardAdapter } from '../../src/surfaces/bull-board/index.js';
import type { AnyQueue, Testbed } from './test.js';

export type AdapterName = 'BullMQAdapter' | 'BatchBoardAdapter';

const ADAPTERS = { BullMQAdapter, BatchBoardAdapter } as const;

/** What the board answered. */
export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks at whatever the board sends
  readonly body: any;
}

export interface Board {
  readonly url: string;
  get(path: string): Promise<Answer>;
  /** Presses the button of this route, e.g. `/batches/import/retry`. */
  put(path: string, body?: object): Promise<Answer>;
  patch(path: string, body: object): Promise<Answer>;
  post(path: string, body: object): Promise<Answer>;
}

/** Bull Board as an application serves it, with these queues. */
export async function boardOf(
  testbed: Testbed,
  queues: readonly AnyQueue[],
  adapter: AdapterName,
  options: ConstructorParameters<typeof BullMQAdapter>[1] = {},
): Promise<Board> {
  const serverAdapter = new ExpressAdapter();
  serverAdapter.setBasePath('/board');
  createBullBoard({ queues: queues.map((queue) => new ADAPTERS[adapter](queue as never, options)), serverAdapter });
  const app = express();
  app.use('/board', serverAdapter.getRouter());
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  testbed.use({ close: async () => void server.close() });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/board`;
  const ask =
    (method: string) =>
    async (path: string, body?: object): Promise<Answer> => {
      const response = await fetch(`${url}/api/queues${path}`, {
        method,
        headers: { 'content-type': 'application/json' },
        ...(method === 'GET' ? {} : { body: JSON.stringify(body ?? {}) }),
      });
      const text = await response.text();
      return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
    };
  return { url, get: ask('GET'), put: ask('PUT'), patch: ask('PATCH'), post: ask('POST') };
}
