import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { connect, createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface PrivateRedis {
  /** `redis://127.0.0.1:PORT`, or `REDIS_URL` as it was given. */
  readonly url: string;
  readonly how: 'REDIS_URL' | 'REDIS_SERVER_BIN' | 'installed' | 'fetched' | 'docker';
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

interface Setup {
  readonly say: (line: string) => void;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cacheFolder: string;
  readonly installFolders: readonly string[];
  readonly choosePort: () => Promise<number>;
  /** Why the ways before this one did not work; becomes part of NoRedisError. */
  readonly tried: string[];
}

type RunningServer = Pick<PrivateRedis, 'url' | 'stop'>;

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const CACHE_FOLDER = join(REPOSITORY, 'node_modules', '.cache', 'bullmq-batches-redis');
const HOMEBREW_FOLDERS = ['/opt/homebrew/bin', '/usr/local/bin', '/home/linuxbrew/.linuxbrew/bin'];
const SERVER_NAMES = ['redis-server', 'valkey-server'];

const MILLISECONDS_TO_GET_READY = 10_000;
const MILLISECONDS_FOR_APT = 180_000;
const MILLISECONDS_FOR_DOCKER_INFO = 2_000;
const PORTS_TO_TRY = 5;

/**
 * Finds or starts a Redis that belongs to this process alone. It ends with `stop()`, and at the latest with this
 * process, however that ends. Never falls back to whatever listens on port 6379.
 */
export async function startPrivateRedis(options: PrivateRedisOptions = {}): Promise<PrivateRedis> {
  const setup: Setup = {
    say: options.say ?? ((line) => process.stderr.write(`${line}\n`)),
    args: options.args ?? [],
    env: options.env ?? process.env,
    cacheFolder: options.cacheFolder ?? CACHE_FOLDER,
    installFolders: options.installFolders ?? HOMEBREW_FOLDERS,
    choosePort: options.choosePort ?? portThatIsFreeNow,
    tried: [],
  };
  const { REDIS_URL: url, REDIS_SERVER_BIN: binary } = setup.env;

  if (url) return { how: 'REDIS_URL', url, stop: async () => {} };
  if (binary) return { how: 'REDIS_SERVER_BIN', ...(await startNamedServer(binary, setup)) };

  const installed = await startInstalledServer(setup);
  if (installed) return { how: 'installed', ...installed };
  const fetched = await startFetchedServer(setup);
  if (fetched) return { how: 'fetched', ...fetched };
  const contained = await startContainer(setup);
  if (contained) return { how: 'docker', ...contained };
  throw new NoRedisError(setup.tried);
}

// --- REDIS_SERVER_BIN, and what is installed -------------------------------------------------------------------------

async function startNamedServer(value: string, setup: Setup): Promise<RunningServer> {
  const isBareName = basename(value) === value;
  const binary = isBareName ? await findProgram(value, setup.env) : resolve(value);
  const whatToDo = 'Set it to the path of a redis-server or valkey-server, or unset it to have one found.';
  if (!binary || !(await isExecutable(binary))) {
    throw new Error(`REDIS_SERVER_BIN=${value} is not an executable file. ${whatToDo}`);
  }
  try {
    return await startServer(binary, setup);
  } catch (error) {
    throw new Error(`REDIS_SERVER_BIN=${value} did not start: ${messageOf(error)}\n${whatToDo}`, { cause: error });
  }
}

async function startInstalledServer(setup: Setup): Promise<RunningServer | undefined> {
  const binaries = await executablesNamed(SERVER_NAMES, [...foldersOnPath(setup.env), ...setup.installFolders]);
  if (binaries.length === 0) setup.tried.push('redis-server and valkey-server: neither is installed');
  for (const binary of binaries) {
    const server = await orNote(setup, binary, () => startServer(binary, setup));
    if (server) return server;
  }
  return undefined;
}

async function executablesNamed(names: readonly string[], folders: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const name of names) {
    for (const folder of folders) {
      const file = join(folder, name);
      if (!found.includes(file) && (await isExecutable(file))) found.push(file);
    }
  }
  return found;
}

async function findProgram(name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const [first] = await executablesNamed([name], foldersOnPath(env));
  return first;
}

function foldersOnPath(env: NodeJS.ProcessEnv): string[] {
  return (env.PATH ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

// --- a server of our own ---------------------------------------------------------------------------------------------

// Runs the server and, next to it, a watchdog that reads from a pipe whose other end only our process holds. The read
// returns when we close the pipe and also when we are gone, even by `kill -9`, where no handler of ours could run.
// SIGKILL for the server, because there is nothing to save and a server busy with a script or stopped by a test would
// not react to SIGTERM. SIGPIPE is ignored because nobody reads our output any more when the folder has to be removed.
const SERVER_AND_WATCHDOG = `
trap '' PIPE
PATH=$PATH:/usr/bin:/bin
folder=$1
shift
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ read -r _ <&3; kill -9 "$server"; } 2>/dev/null &
watchdog=$!
wait "$server"
status=$?
kill "$watchdog" 2>/dev/null
rm -rf "$folder"
exit "$status"
`;

async function startServer(binary: string, setup: Setup, libraryPath?: string): Promise<RunningServer> {
  const env = libraryPath ? { ...setup.env, LD_LIBRARY_PATH: libraryPath } : setup.env;
  return onAFreePort(setup, async (port) => {
    // The server reports its folder with links resolved, and that is what it is recognised by.
    const folder = await realpath(await mkdtemp(join(tmpdir(), 'bullmq-batches-redis-')));
    const command = [binary, ...serverArguments(port, folder, setup.args)];
    const server = runGuarded(SERVER_AND_WATCHDOG, [folder, ...command], { env, cwd: folder });
    try {
      await untilReady(server, port, folder);
    } catch (error) {
      await server.end();
      throw error;
    } finally {
      server.unref();
    }
    return { url: `redis://127.0.0.1:${port}`, stop: () => server.end() };
  });
}

function serverArguments(port: number, folder: string, extra: readonly string[]): string[] {
  const defaults = ['--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction'];
  return [...defaults, ...extra, '--bind', '127.0.0.1', '--port', String(port), '--dir', folder];
}

async function untilReady(server: Guarded, port: number, folder: string): Promise<void> {
  const deadline = Date.now() + MILLISECONDS_TO_GET_READY;
  while (Date.now() < deadline) {
    if (await answersFrom(port, folder)) return;
    await Promise.race([server.ended, pause(5)]);
    if (server.hasEnded()) throw whyItEnded(server);
  }
  throw new Error(`it did not answer PING within ${MILLISECONDS_TO_GET_READY} ms. ${lastWords(server)}`);
}

// Somebody else may have taken the port since it was found to be free. If that is another Redis it answers PING while
// ours is still giving up, so a PONG alone proves nothing: it has to be the server that works in our folder.
async function answersFrom(port: number, folder: string): Promise<boolean> {
  const answer = await ask(port, 'PING\r\nCONFIG GET dir\r\nQUIT\r\n');
  return answer.startsWith('+PONG\r\n') && answer.includes(`\r\n${folder}\r\n`);
}

async function ask(port: number, question: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.setEncoding('utf8').setTimeout(1_000, () => socket.destroy());
  socket.write(question);
  let answer = '';
  try {
    for await (const part of socket) answer += part;
  } catch {
    // Nobody listens yet; the caller asks again.
  }
  return answer;
}

function whyItEnded(server: Guarded): Error {
  const portWasTaken = /address already in use|failed listening on port|port is already allocated/i;
  if (portWasTaken.test(server.output())) return new PortTakenError(`the port was taken. ${lastWords(server)}`);
  return new Error(`it ended instead of starting. ${lastWords(server)}`);
}

function lastWords(process: Guarded): string {
  const said = process.output().trim();
  return said ? `It said:\n${said.split('\n').slice(-8).join('\n')}` : 'It said nothing.';
}

class PortTakenError extends Error {
  override readonly name = 'PortTakenError';
}

async function onAFreePort(
  setup: Setup,
  start: (port: number) => Promise<RunningServer>,
  portsLeft = PORTS_TO_TRY,
): Promise<RunningServer> {
  try {
    return await start(await setup.choosePort());
  } catch (error) {
    if (!(error instanceof PortTakenError) || portsLeft <= 1) throw error;
    return onAFreePort(setup, start, portsLeft - 1);
  }
}

async function portThatIsFreeNow(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address();
  listener.close();
  await once(listener, 'close');
  if (address === null || typeof address === 'string') throw new Error('The system gave no TCP port to listen on.');
  return address.port;
}

// --- processes that do not outlive this one --------------------------------------------------------------------------

interface Guarded {
  /** What it has written so far. */
  output(): string;
  readonly ended: Promise<void>;
  hasEnded(): boolean;
  /** Closes the pipe, which makes the script clean up, and waits until it has. */
  end(): Promise<void>;
  /** Lets this process exit although the script still runs. */
  unref(): void;
}

/** Runs a shell script that has to clean up and end when its standard input does. */
function runGuarded(
  script: string,
  args: readonly string[],
  options: { env: NodeJS.ProcessEnv; cwd: string },
): Guarded {
  // In a session of its own (`detached`) it does not get the terminal's Ctrl-C: an application that shuts down
  // gracefully after SIGINT still needs its Redis, and the watchdog ends it as soon as the application is done.
  const shell = spawn('/bin/sh', ['-c', script, 'sh', ...args], { ...options, detached: true, stdio: 'pipe' });
  let said = '';
  let over = false;
  const hear = (part: string) => {
    said = `${said}${part}`.slice(-16_384);
  };
  shell.stdout.setEncoding('utf8').on('data', hear);
  shell.stderr.setEncoding('utf8').on('data', hear);
  // The pipe breaks when the script ends first; its end is reported by `ended`.
  shell.stdin.on('error', () => {});
  const ended = new Promise<void>((done) => {
    const finish = () => {
      over = true;
      done();
    };
    shell.once('close', finish);
    shell.once('error', (error) => {
      hear(error.message);
      finish();
    });
  });
  return {
    output: () => said,
    ended,
    hasEnded: () => over,
    end: async () => {
      for (const handle of handlesOf(shell)) handle.ref();
      shell.stdin.end();
      await ended;
    },
    unref: () => {
      for (const handle of handlesOf(shell)) handle.unref();
    },
  };
}

function handlesOf(child: ChildProcessWithoutNullStreams): { ref(): void; unref(): void }[] {
  const pipes = [child.stdin, child.stdout, child.stderr].filter((pipe) => pipe instanceof Socket);
  return [child, ...pipes];
}

// --- the distribution's own package, unpacked but not installed ------------------------------------------------------

interface Distribution {
  readonly name: string;
  /** Names what was fetched for this release, so that a container that shares the folder fetches its own. */
  readonly key: string;
}

interface Apt {
  readonly get: string;
  readonly cache: string;
  readonly dpkg: string;
}

async function startFetchedServer(setup: Setup): Promise<RunningServer | undefined> {
  const distribution = await thisDistribution();
  const apt = await findApt(setup.env);
  const folder = join(setup.cacheFolder, distribution.key);
  if (await unpackedServer(folder)) {
    const cached = await orNote(setup, `the server in ${folder}`, () => startUnpackedServer(folder, setup));
    if (cached) return cached;
    await rm(folder, { recursive: true, force: true });
  }
  if (!apt) {
    setup.tried.push('fetching a package: this is not a Debian or Ubuntu with apt-get, apt-cache and dpkg');
    return undefined;
  }
  const place = relative(REPOSITORY, folder);
  setup.say(
    `no redis-server found: fetching ${distribution.name}'s own package into ` +
      `${place.startsWith('..') ? folder : place} (not installed)…`,
  );
  return orNote(setup, `fetching ${distribution.name}'s own package`, async () => {
    await fetchInto(folder, apt, setup);
    return startUnpackedServer(folder, setup);
  });
}

async function thisDistribution(): Promise<Distribution> {
  const description = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const field = (name: string) => new RegExp(`^${name}="?([^"\n]*)"?$`, 'm').exec(description)?.[1];
  const id = field('ID') ?? process.platform;
  return {
    name: id.charAt(0).toUpperCase() + id.slice(1),
    key: [id, field('VERSION_ID') ?? 'rolling', process.arch].join('-'),
  };
}

async function findApt(env: NodeJS.ProcessEnv): Promise<Apt | undefined> {
  const get = await findProgram('apt-get', env);
  const cache = await findProgram('apt-cache', env);
  const dpkg = await findProgram('dpkg', env);
  return get && cache && dpkg ? { get, cache, dpkg } : undefined;
}

async function startUnpackedServer(folder: string, setup: Setup): Promise<RunningServer> {
  const binary = await unpackedServer(folder);
  if (!binary) throw new Error('the packages contain no redis-server or valkey-server');
  return startServer(binary, setup, (await foldersOfLibraries(folder)).join(delimiter));
}

async function unpackedServer(folder: string): Promise<string | undefined> {
  const [binary] = await executablesNamed(SERVER_NAMES, [join(folder, 'usr', 'bin')]);
  return binary;
}

async function foldersOfLibraries(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true });
  const libraries = entries.filter((entry) => /\.so(\.|$)/.test(basename(entry)));
  return [...new Set(libraries.map((library) => join(folder, dirname(library))))];
}

// Everything happens in a sibling that gets the final name only when it is complete: an interrupted fetch leaves
// nothing that a later run would take for a server.
async function fetchInto(folder: string, apt: Apt, setup: Setup): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  await removeAbandonedFetches(folder);
  const partial = await mkdtemp(partialPrefix(folder));
  try {
    const unpacked = join(partial, 'unpacked');
    for (const part of ['lists/partial', 'cache/archives/partial', 'packages', 'unpacked']) {
      await mkdir(join(partial, part), { recursive: true });
    }
    const packages = await downloadServerPackages(partial, apt, setup.env);
    for (const file of packages) {
      await runOrThrow(apt.dpkg, ['-x', file, unpacked], { env: setup.env, cwd: partial });
    }
    await moveUnlessThere(unpacked, folder);
  } finally {
    await rm(partial, { recursive: true, force: true, maxRetries: 3 });
  }
}

function partialPrefix(folder: string): string {
  return `${folder}.partial-`;
}

// A fetch that was killed could not remove its sibling. One that is older than any fetch may take is not in use.
async function removeAbandonedFetches(folder: string): Promise<void> {
  const oldest = Date.now() - 5 * MILLISECONDS_FOR_APT;
  for (const name of await readdir(dirname(folder))) {
    const sibling = join(dirname(folder), name);
    if (!sibling.startsWith(partialPrefix(folder))) continue;
    const changed = await stat(sibling).catch(() => undefined);
    if (changed && changed.mtimeMs < oldest) await rm(sibling, { recursive: true, force: true });
  }
}

async function moveUnlessThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch {
    // A run next to this one was faster, and what it put there is as complete as ours. Anything else in that place is
    // the rest of an interrupted removal.
    if (await unpackedServer(to)) return;
    await rm(to, { recursive: true, force: true });
    await rename(from, to);
  }
}

async function downloadServerPackages(partial: string, apt: Apt, env: NodeJS.ProcessEnv): Promise<string[]> {
  const packages = join(partial, 'packages');
  // English, because the output of apt-cache is read below.
  const options = { env: { ...env, LC_ALL: 'C' }, cwd: packages };
  const inOurFolder = [
    ...['-o', `Dir::State::Lists=${join(partial, 'lists')}`],
    ...['-o', `Dir::Cache=${join(partial, 'cache')}`],
    ...['-o', 'Debug::NoLocking=1'],
    // Container images switch this cache off, and reading the lists anew takes a second for every command.
    ...['-o', 'Dir::Cache::pkgcache=pkgcache.bin', '-o', 'Dir::Cache::srcpkgcache=srcpkgcache.bin'],
    // As root, apt-get would drop to a user who may not be allowed into our folder.
    ...['-o', 'APT::Sandbox::User=root'],
    ...['-o', 'Acquire::Languages=none'],
    ...['-o', 'Acquire::http::Timeout=20', '-o', 'Acquire::https::Timeout=20'],
  ];
  // It also fails when one foreign source of many does; whether the lists suffice is seen when they are used.
  const update = await run(apt.get, [...inOurFolder, '-q', 'update'], options);
  const problems = [update.problem];
  for (const server of SERVER_NAMES) {
    const names = await packagesOf(server, (name) => run(apt.cache, [...inOurFolder, 'depends', name], options));
    const download = await run(apt.get, [...inOurFolder, '-q', 'download', ...names], options);
    if (!download.problem) return (await readdir(packages)).map((file) => join(packages, file));
    problems.push(download.problem);
  }
  throw new Error(problems.filter(Boolean).join('\n'));
}

/**
 * The server's package and those it cannot start without: the tools package that holds the actual binary, and the
 * libraries of both. What else they depend on (users, init scripts) matters to an installed server only.
 */
async function packagesOf(server: string, depends: (name: string) => Promise<Ran>): Promise<string[]> {
  const names = [server];
  // Grows while it is walked through.
  for (const name of names) {
    if (!/^(redis|valkey)-/.test(name)) continue;
    const { stdout } = await depends(name);
    for (const [, dependency] of stdout.matchAll(/^[ |]*(?:Pre)?Depends: ([a-z0-9][a-z0-9.+-]*)$/gm)) {
      if (dependency && !names.includes(dependency) && isNeededToStart(dependency)) names.push(dependency);
    }
  }
  return names;
}

function isNeededToStart(name: string): boolean {
  // The C library has to fit the system's own loader, and every system has one.
  return /^(redis|valkey|lib|lua)/.test(name) && !/^libc6/.test(name);
}

// --- a container -----------------------------------------------------------------------------------------------------

const CONTAINER_IS_UP = 'the private Redis is up';

// Up and down in one script that outlives us: killed at whatever moment, we leave no container behind. A parent that
// dies during `up` has closed the pipe by the time it is read.
const CONTAINER_AND_WATCHDOG = `
trap '' PIPE
if docker compose "$@" up --detach --wait </dev/null
then
  echo '${CONTAINER_IS_UP}'
  read -r _
fi
docker compose "$@" down --volumes </dev/null
`;

async function startContainer(setup: Setup): Promise<RunningServer | undefined> {
  const docker = await findProgram('docker', setup.env);
  if (!docker) {
    setup.tried.push('docker: not installed');
    return undefined;
  }
  const limits = { env: setup.env, cwd: REPOSITORY, timeout: MILLISECONDS_FOR_DOCKER_INFO };
  const info = await run(docker, ['info'], limits);
  if (info.problem) {
    setup.tried.push(info.problem);
    return undefined;
  }
  setup.say('no redis-server found: starting one with docker compose…');
  return orNote(setup, 'docker compose up', () => onAFreePort(setup, (port) => startContainerOn(port, setup)));
}

async function startContainerOn(port: number, setup: Setup): Promise<RunningServer> {
  const project = `bullmq-batches-${process.pid}-${randomBytes(4).toString('hex')}`;
  const redisArguments = setup.args.map((argument) => JSON.stringify(argument)).join(' ');
  const container = runGuarded(CONTAINER_AND_WATCHDOG, ['-f', 'docker-compose.yml', '-p', project], {
    env: { ...setup.env, REDIS_HOST_PORT: String(port), REDIS_ARGS: redisArguments },
    cwd: REPOSITORY,
  });
  while (!container.output().includes(CONTAINER_IS_UP)) {
    await Promise.race([container.ended, pause(50)]);
    if (container.hasEnded()) throw whyItEnded(container);
  }
  container.unref();
  return { url: `redis://127.0.0.1:${port}`, stop: () => container.end() };
}

// --- small helpers ---------------------------------------------------------------------------------------------------

interface Ran {
  readonly stdout: string;
  /** Undefined when the command succeeded, otherwise the command and its last words. */
  readonly problem: string | undefined;
}

interface RunOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly timeout?: number;
}

function run(command: string, args: readonly string[], options: RunOptions): Promise<Ran> {
  const limits = { timeout: MILLISECONDS_FOR_APT, killSignal: 'SIGKILL', maxBuffer: 2 ** 26, ...options } as const;
  return new Promise((done) => {
    execFile(command, args, limits, (error, stdout, stderr) => {
      if (!error) return done({ stdout, problem: undefined });
      const why = error.killed ? `took longer than ${limits.timeout} ms` : stderr.trim() || error.message;
      const lastLines = why.split('\n').slice(-4).join('\n');
      const name = [basename(command), args.find((argument) => /^[a-z]+$/.test(argument))].filter(Boolean).join(' ');
      done({ stdout, problem: `${name}: ${lastLines}` });
    });
  });
}

async function runOrThrow(command: string, args: readonly string[], options: RunOptions): Promise<void> {
  const { problem } = await run(command, args, options);
  if (problem) throw new Error(problem);
}

async function orNote<T>(setup: Setup, what: string, attempt: () => Promise<T>): Promise<T | undefined> {
  try {
    return await attempt();
  } catch (error) {
    setup.tried.push(`${what}: ${messageOf(error)}`);
    return undefined;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
