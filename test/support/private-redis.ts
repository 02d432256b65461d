import { rm } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchRedisServer, findApt, unpackedServer } from './fetch-redis-server.js';
import { findProgram, findRedisServers, HOMEBREW_FOLDERS, isExecutable } from './find-redis-server.js';
import { type RunningServer, runRedisServer } from './run-redis-server.js';

export interface PrivateRedis extends RunningServer {
  /** `redis://127.0.0.1:PORT`, or `REDIS_URL` as it was given. */
  readonly url: string;
  readonly how: 'REDIS_URL' | 'REDIS_SERVER_BIN' | 'installed' | 'fetched';
  /** Stops the server and waits for its end. Does nothing to a server that came from `REDIS_URL`. */
  stop(): Promise<void>;
}

export interface PrivateRedisOptions {
  /** Is told, in one line, about anything slower than starting an installed server. Default: stderr. */
  say?: (line: string) => void;
  /** Further `redis-server` arguments, such as `['--appendonly', 'yes']`. `REDIS_URL` servers do not get them. */
  args?: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** Where a fetched server is kept. Default: `node_modules/.cache/bullmq-batches-redis` of this repository. */
  cacheFolder?: string;
  /** Where to look for an installed server after `PATH`. Default: the folders Homebrew uses. */
  installFolders?: readonly string[];
  /** Proposes the port to try next. Default: one that is free at that moment. */
  choosePort?: () => Promise<number>;
}

export class NoRedisError extends Error {
  override readonly name = 'NoRedisError';

  constructor(tried: readonly string[]) {
    super(
      [
        'There is no Redis to run against. Do one of these, then run the same command again:',
        '  Debian, Ubuntu:  apt-get install redis-server',
        '  macOS:           brew install valkey',
        '  Docker:          docker compose up -d     and set REDIS_URL=redis://127.0.0.1:6379',
        '  another Redis:   REDIS_URL=redis://HOST:PORT (it is used as it is, and never flushed)',
        '  another binary:  REDIS_SERVER_BIN=PATH_OF_REDIS_SERVER',
        'What was tried:',
        ...tried.map((attempt) => `  - ${attempt.replaceAll('\n', '\n    ')}`),
      ].join('\n'),
    );
  }
}

type Run = (binary: string, libraryPath?: string) => Promise<RunningServer>;

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const CACHE_FOLDER = join(REPOSITORY, 'node_modules', '.cache', 'bullmq-batches-redis');

/**
 * Finds or starts a Redis that belongs to this process alone. It ends with `stop()`, and at the latest with this
 * process, however that ends. Never falls back to whatever listens on port 6379.
 */
export async function startPrivateRedis(options: PrivateRedisOptions = {}): Promise<PrivateRedis> {
  const { env = process.env, args = [], choosePort, installFolders = HOMEBREW_FOLDERS } = options;
  const { REDIS_URL: url, REDIS_SERVER_BIN: named } = env;
  const run: Run = (binary, libraryPath) =>
    runRedisServer(binary, { args, choosePort, env: libraryPath ? { ...env, LD_LIBRARY_PATH: libraryPath } : env });
  if (url) return { how: 'REDIS_URL', url, stop: async () => {} };
  if (named) return { how: 'REDIS_SERVER_BIN', ...(await runNamed(named, env, run)) };

  const tried: string[] = [];
  const installed = await findRedisServers(env, installFolders);
  if (installed.length === 0) tried.push('redis-server and valkey-server: neither is installed');
  for (const binary of installed) {
    const server = await orNote(tried, binary, () => run(binary));
    if (server) return { how: 'installed', ...server };
  }
  const fetched = await runFetched(options, env, run, tried);
  if (fetched) return { how: 'fetched', ...fetched };
  throw new NoRedisError(tried);
}

async function runNamed(value: string, env: NodeJS.ProcessEnv, run: Run): Promise<RunningServer> {
  const binary = basename(value) === value ? await findProgram(value, env) : resolve(value);
  const whatToDo = 'Set it to the path of a redis-server or valkey-server, or unset it to have one found.';
  if (!binary || !(await isExecutable(binary))) {
    throw new Error(`REDIS_SERVER_BIN=${value} is not an executable file. ${whatToDo}`);
  }
  try {
    return await run(binary);
  } catch (error) {
    throw new Error(`REDIS_SERVER_BIN=${value} did not start: ${messageOf(error)}\n${whatToDo}`, { cause: error });
  }
}

async function runFetched(
  { cacheFolder = CACHE_FOLDER, say = (line) => process.stderr.write(`${line}\n`) }: PrivateRedisOptions,
  env: NodeJS.ProcessEnv,
  run: Run,
  tried: string[],
): Promise<RunningServer | undefined> {
  // A container that shares the folder, and cannot run what its host has fetched, fetches its own.
  const folder = join(cacheFolder, `${process.platform}-${process.arch}`);
  const cached = await unpackedServer(folder);
  if (cached) {
    const server = await orNote(tried, `the server in ${folder}`, () => run(cached.binary, cached.libraryPath));
    if (server) return server;
    await rm(folder, { recursive: true, force: true });
  }
  const apt = await findApt(env);
  if (!apt) {
    tried.push('fetching a package: this is not a Debian or Ubuntu with apt-get, apt-cache and dpkg');
    return undefined;
  }
  const place = relative(REPOSITORY, folder);
  const shown = place.startsWith('..') ? folder : place;
  say(`no redis-server found: fetching the distribution's own package into ${shown} (not installed)…`);
  return orNote(tried, "fetching the distribution's own package", async () => {
    const { binary, libraryPath } = await fetchRedisServer(folder, apt, env);
    return run(binary, libraryPath);
  });
}

async function orNote<T>(tried: string[], what: string, attempt: () => Promise<T>): Promise<T | undefined> {
  try {
    return await attempt();
  } catch (error) {
    tried.push(`${what}: ${messageOf(error)}`);
    return undefined;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
