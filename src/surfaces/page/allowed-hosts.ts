import { BatchOptionsError } from '../../index.js';

/** How a browser names the machine that it runs on: no foreign site can have one of these as its own name. */
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

/** What a Host header leaves out: a proxy may have ended TLS, so it is not known which of them is meant. */
const DEFAULT_PORTS = ['80', '443'];

interface Host {
  /** As browsers write it: in lower case, umlauts in Punycode. */
  readonly name: string;
  /** Undefined: any, in a host that is allowed; a default one, in a request. */
  readonly port: string | undefined;
}

/**
 * The hosts under which a page may change batches. With DNS rebinding a foreign site makes its own name point to the
 * page's address: its requests are of one origin with the page then, and only the name in `Host` tells them apart.
 */
export class AllowedHosts {
  readonly #hosts: readonly Host[];

  /** @throws BatchOptionsError for what is no host. */
  constructor(given: unknown) {
    const hosts: unknown = given ?? [];
    if (!Array.isArray(hosts)) {
      throw new BatchOptionsError(
        "batchPage(): allowedHosts must be a list of host names, e.g. ['admin.example.com'], " +
          `not ${JSON.stringify(hosts)}.`,
      );
    }
    this.#hosts = [...LOOPBACK, ...hosts].map((host: unknown) => checkHost(host));
  }

  has(host: string): boolean {
    const asked = parseHost(host);
    return (
      asked !== undefined && this.#hosts.some((allowed) => allowed.name === asked.name && isPortOf(asked, allowed))
    );
  }
}

function isPortOf(asked: Host, allowed: Host): boolean {
  return (
    allowed.port === undefined ||
    (asked.port === undefined ? DEFAULT_PORTS.includes(allowed.port) : asked.port === allowed.port)
  );
}

function checkHost(given: unknown): Host {
  const host = typeof given === 'string' ? parseHost(given) : undefined;
  if (host === undefined) {
    throw new BatchOptionsError(
      `batchPage(): allowedHosts holds host names, with or without a port, e.g. 'admin.example.com' or ` +
        `'admin.example.com:8443', and not ${JSON.stringify(given)}.`,
    );
  }
  return host;
}

function parseHost(host: string): Host | undefined {
  if (!/^(\[[\da-f:.]+\]|[^\s/?#@\\:[\]*]+)(:\d{1,5})?$/i.test(host)) {
    return undefined;
  }
  try {
    const [, port] = /:(\d+)$/.exec(host) ?? [];
    return { name: new URL(`http://${host}`).hostname, port };
  } catch {
    return undefined;
  }
}
