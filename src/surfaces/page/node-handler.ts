import type { IncomingMessage, ServerResponse } from 'node:http';
import { LARGEST_BODY } from './form.js';

/** What Express adds to a request: the path where it is mounted, the whole address, and the body if it was parsed. */
type MountedRequest = IncomingMessage & {
  readonly originalUrl?: string;
  readonly baseUrl?: string;
  readonly body?: unknown;
};

/** Where the page is mounted. */
export interface Mount {
  /** What the paths of requests begin with. */
  readonly path: string;
  /** What the browser sees instead: a proxy may have taken a prefix away. */
  readonly seenAs: string;
}

/** Answers a request. `mount` is undefined for a path that is not below the page's. */
export type Respond = (request: Request, mount: Mount | undefined) => Promise<Response>;

/** A handler of node:http and Express; `next` is called for what is not below the page's path, and for errors. */
export type NodeHandler = (req: IncomingMessage, res: ServerResponse, next?: (error?: unknown) => void) => void;

/**
 * Adapts the page to node:http, Express and frameworks that pass on Node's request and response. With `isGiven` the
 * application has named the path that browsers see, which may differ from where the framework has mounted the page.
 */
export function nodeHandler(base: { readonly path: string; readonly isGiven: boolean }, respond: Respond): NodeHandler {
  return (req, res, next) => {
    const mount = mountOf(req, base);
    if (mount === undefined && next !== undefined) {
      next();
      return;
    }
    answer(req, res, (request) => respond(request, mount)).catch((error: unknown) => {
      if (next !== undefined && !res.headersSent) {
        next(error);
      } else {
        res.destroy();
      }
    });
  };
}

/** Finds where the page is mounted; undefined when the request is not below that path. */
function mountOf(req: MountedRequest, base: { readonly path: string; readonly isGiven: boolean }): Mount | undefined {
  const path = targetOf(req).replace(/\?.*$/s, '');
  const baseUrl = (req.baseUrl ?? '').replace(/\/$/, '');
  const possible = [base.path, ...(baseUrl === '' ? [] : [`${baseUrl}${base.path}`, baseUrl])];
  const found = possible.find((candidate) => isBelow(path, candidate));
  if (found === undefined) {
    return undefined;
  }
  const isElsewhere = base.isGiven && found === baseUrl && !found.endsWith(base.path);
  return { path: found, seenAs: isElsewhere ? base.path : found };
}

export function isBelow(path: string, base: string): boolean {
  return path === base || path.startsWith(`${base}/`);
}

/** The path and query of a request. A proxy may be sent a whole URL instead, which ends with them. */
function targetOf(req: MountedRequest): string {
  return (req.originalUrl ?? req.url ?? '/').replace(/^[a-z]+:\/\/[^/]*/i, '');
}

async function answer(
  req: MountedRequest,
  res: ServerResponse,
  respond: (request: Request) => Promise<Response>,
): Promise<void> {
  const request = await requestOf(req);
  if (request === undefined) {
    res.statusCode = 400;
    res.end('This is not a request that can be understood.\n');
    return;
  }
  const response = await respond(request);
  const body = Buffer.from(await response.arrayBuffer());
  res.statusCode = response.status;
  response.headers.forEach((value, name) => {
    res.setHeader(name, value);
  });
  if (response.status === 413) {
    // The client is still sending the rest of the body, so the connection cannot serve another request.
    res.setHeader('Connection', 'close');
  }
  if (req.method !== 'HEAD') {
    res.setHeader('Content-Length', body.byteLength);
  }
  res.end(body);
}

/** Methods that the Request class does not accept. The page refuses them like all methods that it does not know. */
const FORBIDDEN = /^(connect|trace|track)$/i;

async function requestOf(req: MountedRequest): Promise<Request | undefined> {
  const method = FORBIDDEN.test(req.method ?? '') ? 'OPTIONS' : (req.method ?? 'GET');
  const headers = new Headers();
  try {
    for (const [name, value] of Object.entries(req.headers)) {
      // HTTP/2 pseudo-headers begin with a colon, which Headers does not accept.
      if (!name.startsWith(':') && value !== undefined) {
        headers.set(name, Array.isArray(value) ? value.join(', ') : value);
      }
    }
    const host = req.headers.host ?? String(req.headers[':authority'] ?? 'localhost');
    headers.set('host', host);
    const url = new URL(`http://${host}${targetOf(req)}`);
    if (method === 'GET' || method === 'HEAD') {
      return new Request(url, { method, headers });
    }
    const { text, isJson } = await bodyOf(req);
    if (isJson) {
      headers.set('content-type', 'application/json');
    }
    headers.delete('content-length');
    return new Request(url, { method, headers, body: text });
  } catch {
    // The Host header is malformed, or the connection was cut.
    return undefined;
  }
}

async function bodyOf(req: MountedRequest): Promise<{ text: string | Buffer; isJson: boolean }> {
  const { body } = req;
  if (typeof body === 'string' || Buffer.isBuffer(body)) {
    return { text: body, isJson: false };
  }
  // In Express 4, a body parser for another content type leaves an empty object and does not read the body.
  if (typeof body === 'object' && body !== null && (Object.keys(body).length > 0 || req.readableEnded)) {
    return { text: JSON.stringify(body), isJson: true };
  }
  return { text: req.readableEnded ? '' : await readBody(req), isJson: false };
}

/** Reads at most one byte more than is allowed. Events, because leaving a `for await` would destroy the connection. */
function readBody(req: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = () => resolve(Buffer.concat(chunks).subarray(0, LARGEST_BODY + 1));
    req.on('data', (chunk: Buffer | string) => {
      if (size <= LARGEST_BODY) {
        const bytes = Buffer.from(chunk);
        chunks.push(bytes);
        size += bytes.byteLength;
        if (size > LARGEST_BODY) {
          finish();
        }
      }
    });
    req.on('end', finish);
    req.on('error', reject);
    req.on('close', () => reject(new Error('The connection was closed.')));
  });
}
