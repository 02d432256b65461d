import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { basename, delimiter, dirname, join } from 'node:path';
import { executablesNamed, findProgram, SERVER_NAMES } from './find-redis-server.js';

const APT_MS = 180_000;

/** A server that lies in a folder of its own, with the libraries that it needs. */
export interface UnpackedServer {
  readonly binary: string;
  readonly libraryPath: string;
}

/** The programs of Debian and Ubuntu that a package is fetched with. */
export interface Apt {
  readonly get: string;
  readonly cache: string;
  readonly dpkg: string;
}

interface RunOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
}

export async function findApt(env: NodeJS.ProcessEnv): Promise<Apt | undefined> {
  const [get, cache, dpkg] = await Promise.all(['apt-get', 'apt-cache', 'dpkg'].map((name) => findProgram(name, env)));
  return get && cache && dpkg ? { get, cache, dpkg } : undefined;
}

/** The server that was fetched into this folder before. */
export async function unpackedServer(folder: string): Promise<UnpackedServer | undefined> {
  const [binary] = await executablesNamed(SERVER_NAMES, [join(folder, 'usr', 'bin')]);
  if (binary === undefined) return undefined;
  const entries = await readdir(folder, { recursive: true });
  const libraries = entries.filter((entry) => /\.so(\.|$)/.test(basename(entry)));
  const libraryFolders = new Set(libraries.map((library) => join(folder, dirname(library))));
  return { binary, libraryPath: [...libraryFolders].join(delimiter) };
}

/** Unpacks the distribution's own server, and the libraries it needs, into the folder; nothing is installed. */
export async function fetchRedisServer(folder: string, apt: Apt, env: NodeJS.ProcessEnv): Promise<UnpackedServer> {
  await mkdir(dirname(folder), { recursive: true });
  // A sibling gets the final name when it is complete: what an interrupted fetch leaves is not taken for a server.
  const partial = await mkdtemp(`${folder}.partial-`);
  try {
    const unpacked = join(partial, 'unpacked');
    for (const part of ['lists/partial', 'cache/archives/partial', 'packages', 'unpacked']) {
      await mkdir(join(partial, part), { recursive: true });
    }
    for (const file of await downloadPackages(partial, apt, env)) {
      await run(apt.dpkg, ['-x', file, unpacked], { env, cwd: partial });
    }
    await rename(unpacked, folder).catch(async (error) => {
      // A run beside this one was faster, and what it put there is as complete.
      if ((await unpackedServer(folder)) === undefined) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true, maxRetries: 3 });
  }
  const server = await unpackedServer(folder);
  if (server === undefined) throw new Error('the packages contain no redis-server or valkey-server');
  return server;
}

async function downloadPackages(partial: string, apt: Apt, env: NodeJS.ProcessEnv): Promise<string[]> {
  const packages = join(partial, 'packages');
  // English, because the output of apt-cache is read below.
  const options = { env: { ...env, LC_ALL: 'C' }, cwd: packages };
  const settings = [
    `Dir::State::Lists=${join(partial, 'lists')}`,
    `Dir::Cache=${join(partial, 'cache')}`,
    'Debug::NoLocking=1',
    // Container images switch this cache off, and reading the lists anew takes a second for every command.
    'Dir::Cache::pkgcache=pkgcache.bin',
    'Dir::Cache::srcpkgcache=srcpkgcache.bin',
    // As root, apt-get would drop to a user who may not be allowed into our folder.
    'APT::Sandbox::User=root',
    'Acquire::Languages=none',
    'Acquire::http::Timeout=20',
    'Acquire::https::Timeout=20',
  ].flatMap((setting) => ['-o', setting]);
  const problems: string[] = [];
  const noting = (error: Error) => void problems.push(error.message);
  // Fails also when one foreign source of many does; whether the lists suffice is seen when they are used.
  await run(apt.get, [...settings, '-q', 'update'], options).catch(noting);
  for (const server of SERVER_NAMES) {
    const depends = (name: string) => run(apt.cache, [...settings, 'depends', name], options).catch(() => '');
    const names = await packagesOf(server, depends);
    const isThere = await run(apt.get, [...settings, '-q', 'download', ...names], options).then(() => true, noting);
    if (isThere) return (await readdir(packages)).map((file) => join(packages, file));
  }
  throw new Error(problems.join('\n'));
}

/**
 * The server's package and those it cannot start without: the tools package that holds the actual binary, and the
 * libraries of both. What else they depend on (users, init scripts) matters to an installed server only.
 */
async function packagesOf(server: string, depends: (name: string) => Promise<string>): Promise<string[]> {
  const names = [server];
  // Grows while it is walked through.
  for (const name of names) {
    if (!/^(redis|valkey)-/.test(name)) continue;
    for (const [, dependency] of (await depends(name)).matchAll(/^[ |]*(?:Pre)?Depends: ([a-z0-9][a-z0-9.+-]*)$/gm)) {
      // The C library has to fit the system's own loader, and every system has one.
      const isNeeded = /^(redis|valkey|lib|lua)/.test(dependency ?? '') && !/^libc6/.test(dependency ?? '');
      if (dependency && isNeeded && !names.includes(dependency)) names.push(dependency);
    }
  }
  return names;
}

/** What the program prints; when it fails, an error with its last words. */
function run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
  const limits = { timeout: APT_MS, killSignal: 'SIGKILL', maxBuffer: 2 ** 26, ...options } as const;
  return new Promise((resolve, reject) => {
    execFile(command, args, limits, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      const why = error.killed ? `took longer than ${APT_MS} ms` : stderr.trim() || error.message;
      reject(new Error(`${basename(command)}: ${why.split('\n').slice(-4).join('\n')}`));
    });
  });
}
