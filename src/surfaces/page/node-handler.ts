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

/** Answers a request; without a mount it is none of ours. */
export type Respond = (request: Request, mount: Mount | undefined) => Promise<Response>;

/** A handler of node:http and Express; `next` is called for what is not below the page's path, and for errors. */
export type NodeHandler = (req: IncomingMessage, res: ServerResponse, next?: (error?: unknown) => void) => void;

/**
 * Requests of node:http, Express, and of whatever hands on the same two objects. `isGiven`: the host has said what the
 * browser sees, which then need not be where the framework has mounted us.
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

/** Undefined when the request is not below it. */
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

/** The path and the query. A proxy may be sent a whole address, of which they are the end. */
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
    // The rest of the body is on its way still: the connection cannot be used for another request.
    res.setHeader('Connection', 'close');
  }
  if (req.method !== 'HEAD') {
    res.setHeader('Content-Length', body.byteLength);
  }
  res.end(body);
}

/** Methods that a Request cannot have; they are refused like any other that is not ours. */
const FORBIDDEN = /^(connect|trace|track)$/i;

async function requestOf(req: MountedRequest): Promise<Request | undefined> {
  const method = FORBIDDEN.test(req.method ?? '') ? 'OPTIONS' : (req.method ?? 'GET');
  const headers = new Headers();
  try {
    for (const [name, value] of Object.entries(req.headers)) {
      // HTTP/2 tells its own things in names that begin with a colon.
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
    // A host that is none, or a connection that was cut.
    return undefined;
  }
}

async function bodyOf(req: MountedRequest): Promise<{ text: string | Buffer; isJson: boolean }> {
  const { body } = req;
  if (typeof body === 'string' || Buffer.isBuffer(body)) {
    return { text: body, isJson: false };
  }
  // A parser that was not meant leaves an empty object in Express 4, and the body where it was.
  if (typeof body === 'object' && body !== null && (Object.keys(body).length > 0 || req.readableEnded)) {
    return { text: JSON.stringify(body), isJson: true };
  }
  return { text: req.readableEnded ? '' : await readBody(req), isJson: false };
}

/** Reads one byte more than is allowed at most; leaving the loop early would close the connection before the answer. */
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
