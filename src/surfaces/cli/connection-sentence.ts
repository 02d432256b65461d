/*
 * Errors of a connection, said to people: what is wrong, and what to do. Neither ioredis nor Node has classes for them.
 */

const SAYS: readonly (readonly [pattern: RegExp, say: (redis: string, detail: string) => string])[] = [
  [
    /ECONNREFUSED/,
    (redis) => `There is no Redis at ${redis}: start one, or say where it is with --redis URL or REDIS_URL.`,
  ],
  [/ENOTFOUND|EAI_AGAIN/, (redis) => `The host of ${redis} is not known: check --redis or REDIS_URL.`],
  [/EHOSTUNREACH|ENETUNREACH/, (redis) => `There is no way to ${redis}: check the network, and --redis or REDIS_URL.`],
  [
    /CERT|certificate|ERR_TLS/,
    (redis, detail) =>
      `The certificate of ${redis} is not trusted (${detail}): give Node the authority that signed it with ` +
      `NODE_EXTRA_CA_CERTS=file.pem, and connect by the name that it was made for.`,
  ],
  [
    /ERR_SSL|SSL routines|EPROTO/,
    (redis) => `${redis} does not speak TLS: write redis:// instead of rediss:// if it is a Redis without TLS.`,
  ],
  [/^(NOAUTH|.*Authentication required)/i, (redis) => `${redis} asks for a password: ${WITH_PASSWORD}.`],
  [
    /WRONGPASS|invalid password|AUTH .*called without/i,
    (redis) => `${redis} refuses the user or the password: ${WITH_PASSWORD}.`,
  ],
  [/DB index/, (redis) => `${redis} has no database of this number: the number at the end of the URL is too large.`],
  [/^MOVED|^CLUSTERDOWN|^CROSSSLOT/, (redis) => `${redis} is part of a Redis Cluster, which this program cannot read.`],
  [/RESP type|Protocol error/i, (redis) => `What answers at ${redis} is no Redis: check --redis or REDIS_URL.`],
  [
    /Connection is closed|max retries|isn't writeable|Command aborted/i,
    (redis) => `${redis} has closed the connection: see whether Redis still runs there.`,
  ],
  [
    /ETIMEDOUT|no answer|ECONNRESET|EPIPE|Socket|timed? ?out/i,
    (redis, detail) =>
      `${redis} does not answer as a Redis does (${detail}): check --redis or REDIS_URL, and whether it must be ` +
      `${redis.startsWith('rediss:') ? 'redis:// (without TLS)' : 'rediss:// (with TLS)'}.`,
  ],
];

const WITH_PASSWORD = 'give the right ones as REDIS_URL=redis://USER:PASSWORD@HOST:PORT';

/** Errors of Redis and of the system, in contrast to those of batches. */
export function isOfTheConnection(error: unknown): boolean {
  return !isOfBatches(error) && SAYS.some(([pattern]) => pattern.test(textOf(error)));
}

/** One sentence about an error for which `isOfTheConnection` is true. */
export function sentenceOf(error: unknown, redis: string): string {
  const text = textOf(error);
  const [, say] = SAYS.find(([pattern]) => pattern.test(text)) ?? [];
  return say?.(redis, detailOf(error)) ?? text;
}

function isOfBatches(error: unknown): boolean {
  return error instanceof Error && error.name.startsWith('Batch');
}

/** The code, where there is one, and the message, of everything that happened. */
function textOf(error: unknown): string {
  return partsOf(error)
    .map(({ code = '', message }) => `${message}\n${code}`)
    .join('\n');
}

function detailOf(error: unknown): string {
  const [{ code, message } = { message: String(error) }] = partsOf(error);
  return code === undefined || /CERT|TLS/.test(code) ? message : code;
}

/** Node tries every address of a host, and puts what happened into an AggregateError without a message. */
function partsOf(error: unknown): readonly { readonly message: string; readonly code?: string }[] {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return error.errors.flatMap(partsOf);
  }
  return [error instanceof Error ? error : { message: String(error) }];
}
