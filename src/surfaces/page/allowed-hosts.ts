import { BatchOptionsError } from '../../index.js';

/** Names of the machine that a browser runs on, which no foreign site can have as its own. */
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

/** The ports that a Host header leaves out. A proxy may have ended TLS, so either of them may be meant. */
const DEFAULT_PORTS = ['80', '443'];

interface Host {
  /** As browsers write it: in lower case, with other than ASCII letters in Punycode. */
  readonly name: string;
  /** Undefined stands for any port in an allowed host, and for a default port in a request. */
  readonly port: string | undefined;
}

/**
 * The hosts under which a page may change batches. With DNS rebinding a foreign site makes its own name point to the
 * page's address: its requests then have the page's origin, and only the name in `Host` gives them away.
 */
export class AllowedHosts {
  readonly #hosts: readonly Host[];

  /** @throws BatchOptionsError for anything but a list of hosts. */
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
