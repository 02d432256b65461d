import { type QueueLike, withBatches } from '../../index.js';
import { isBelow, type NodeHandler, nodeHandler } from './node-handler.js';
import { type BatchPageOptions, checkOptions } from './settings.js';
import { Site } from './site.js';

export type { BatchPageOptions } from './settings.js';

/** A page of batches, ready to be mounted. */
export interface BatchPage {
  /**
   * Answers a request with its whole path, for Hono, Bun, Deno, Next.js and all that speak `Request` and `Response`.
   */
  fetch(request: Request): Promise<Response>;
  /**
   * Answers requests of node:http, of Express (`app.use('/batches', page.handler)`), and Fastify's raw request and
   * reply.
   */
  readonly handler: NodeHandler;
}

/**
 * Makes a web page that shows the batches of a queue's Redis and prefix: list and search, progress, nested batches,
 * failures by reason, throughput over time, what holds a batch; and, if `allowActions` says so, retries, cancels and
 * seals them. It is rendered on the server and loads nothing from other hosts. Everybody who reaches the page sees the
 * data of failed jobs: mount it where your Bull Board is, behind your login.
 *
 * @param queue any queue of that Redis and prefix; it is wrapped with `withBatches` if it is not.
 * @throws BatchOptionsError for bad options, and for what `withBatches` refuses.
 *
 * @example
 * app.use('/batches', batchPage(users, { allowActions: true }).handler);   // Express
 */
export function batchPage(queue: QueueLike, options: BatchPageOptions = {}): BatchPage {
  const settings = checkOptions(options);
  const { basePath } = settings;
  const site = new Site(withBatches(queue), settings);
  return {
    async fetch(request) {
      const { pathname } = new URL(request.url);
      return site.respond(request, isBelow(pathname, basePath) ? { path: basePath, seenAs: basePath } : undefined);
    },
    handler: nodeHandler({ path: basePath, isGiven: options.basePath !== undefined }, (request, mount) =>
      site.respond(request, mount),
    ),
  };
}
