import { BatchError, BatchOptionsError } from '../errors.js';
import { DEFAULT_PREFIX } from '../model/place.js';

/** What scripts need of a Redis client, whichever library it comes from. */
export interface ScriptClient {
  defineCommand(name: string, definition: { numberOfKeys: number; lua: string }): void;
  runCommand(name: string, args: readonly unknown[]): Promise<unknown>;
  /** The scripts that BullMQ has defined on it, by name; ioredis shows them, other clients do not. */
  readonly scriptsSet?: Readonly<Record<string, DefinedScript>> | undefined;
  /** The options and the ping of ioredis, see script.ts; other clients have no pipelines of their own accord. */
  readonly options?: { readonly enableAutoPipelining?: boolean | undefined } | undefined;
  ping?(): Promise<unknown>;
}

/** A script as it was defined on a client. */
export interface DefinedScript {
  readonly numberOfKeys: number;
  readonly lua: string;
}

/** What a BullMQ queue or worker, 5 or 6, may offer to get at its Redis client. */
export interface ClientOwner {
  /** The name of the queue. */
  readonly name: string;
  /** The options that the queue was made with. */
  readonly opts: {
    /** The prefix of its keys; BullMQ's default is 'bull'. */
    readonly prefix?: string | undefined;
    /** BullMQ's connection: options, or a client. */
    readonly connection?: unknown;
    /** BullMQ's telemetry, if it is used. */
    readonly telemetry?: unknown;
  };
  /** BullMQ 6: returns the backend, which has the client. */
  getBackend?(): object;
  /** BullMQ 5: the client. */
  readonly client?: Promise<unknown>;
}

/** BullMQ 6 has `getBackend().client`, BullMQ 5 has `client`; a backend without a client is not Redis. */
export async function rawClientOf(owner: ClientOwner): Promise<object> {
  const backend = owner.getBackend?.();
  const client = backend === undefined ? await owner.client : await (backend as { client?: Promise<unknown> }).client;
  if (typeof client !== 'object' || client === null) {
    throw new BatchError(`Queue '${owner.name}' has no Redis client: batches need BullMQ's Redis backend.`);
  }
  if ((client as { options?: { stringNumbers?: unknown } }).options?.stringNumbers === true) {
    throw new BatchOptionsError(
      `Queue '${owner.name}' has a connection with 'stringNumbers': batches, and BullMQ's workers, need the numbers ` +
        'that Redis returns. Leave that option out.',
    );
  }
  return client;
}

const scriptClients = new WeakMap<object, ScriptClient>();

/**
 * Returns the client as one that runs scripts. BullMQ 6's clients do so themselves; a bare ioredis has one method per
 * command.
 */
export function scriptClientOf(client: object): ScriptClient {
  if (typeof (client as ScriptClient).runCommand === 'function') {
    return client as ScriptClient;
  }
  const known = scriptClients.get(client);
  if (known !== undefined) {
    return known;
  }
  const ioredis = client as Record<string, (args: readonly unknown[]) => Promise<unknown>> & ScriptClient;
  const adapter: ScriptClient = {
    defineCommand: (name, definition) => ioredis.defineCommand(name, definition),
    runCommand: async (name, args) => ioredis[name]?.(args),
    scriptsSet: ioredis.scriptsSet,
    options: ioredis.options,
    ping: async () => ioredis.ping?.(),
  };
  scriptClients.set(client, adapter);
  return adapter;
}

/** Refuses a queue that cannot hold batches, as far as that shows without a connection. */
export function checkBackend(owner: ClientOwner): void {
  const backend = owner.getBackend?.();
  if (backend !== undefined && !('client' in backend)) {
    throw new BatchOptionsError(
      `Queue '${owner.name}' does not use BullMQ's Redis backend. Batches rest on Redis scripts: on PostgreSQL, ` +
        'BullMQ releases a parent too early when an ignored child is retried. Use a Redis connection for the queues ' +
        'with batches.',
    );
  }
  const prefix = owner.opts.prefix ?? DEFAULT_PREFIX;
  const { connection } = owner.opts;
  const isCluster =
    typeof connection === 'object' && connection !== null && 'isCluster' in connection && connection.isCluster;
  if (isCluster && !hasHashTag(prefix)) {
    const example = prefix.replace(/[{}]/g, '') || DEFAULT_PREFIX;
    throw new BatchOptionsError(
      `Queue '${owner.name}' is on a Redis Cluster with the prefix '${prefix}': a batch, its members and its ` +
        'callbacks must be in one slot. Give all queues of an application the same prefix with a hash tag, e.g. { ' +
        `prefix: '{${example}}' }.`,
    );
  }
}

/** Whether two connections of BullMQ's lead to the same database by their options; undefined when they do not tell. */
export function isSameAddress(a: unknown, b: unknown): boolean | undefined {
  const [one, other] = [addressOf(a), addressOf(b)];
  return one === undefined || other === undefined ? undefined : one === other;
}

/** Host, port and database of options or of an ioredis client; undefined when they do not tell. */
function addressOf(connection: unknown): string | undefined {
  type Options = { host?: unknown; port?: unknown; db?: unknown; path?: unknown; url?: unknown; sentinels?: unknown };
  const { options = connection } = (connection ?? {}) as { options?: unknown };
  const { host = 'localhost', port = 6379, db = 0, path, url, sentinels } = (options ?? {}) as Options;
  const isPlain = path === undefined && url === undefined && !sentinels;
  return isPlain ? `${host === '127.0.0.1' ? 'localhost' : host}:${port}/${db}` : undefined;
}

/**
 * Whether a prefix has a hash tag: Redis Cluster hashes what is between the first '{' and the first '}' after it, and
 * the whole key when that is empty.
 */
function hasHashTag(prefix: string): boolean {
  return /^[^{]*\{[^}]+\}/.test(prefix);
}
