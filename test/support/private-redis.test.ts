import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, onTestFinished, type TestContext, test } from 'vitest';
import { NoRedisError, type PrivateRedis, type PrivateRedisOptions, startPrivateRedis } from './private-redis.js';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const MODULE = new URL('./private-redis.ts', import.meta.url).href;
const FETCHING = 120_000;
const withoutUrl: NodeJS.ProcessEnv = { ...process.env, REDIS_URL: '' };
const withoutVariables: NodeJS.ProcessEnv = { ...withoutUrl, REDIS_SERVER_BIN: '' };

let howOneStarts: PrivateRedis['how'] | undefined;
let whyNoneStarts: string | undefined;

beforeAll(async () => {
  try {
    const redis = await startPrivateRedis({ env: withoutUrl });
    howOneStarts = redis.how;
    await redis.stop();
  } catch (error) {
    if (!(error instanceof NoRedisError)) throw error;
    whyNoneStarts = `this machine can start no Redis of its own: ${error.message}`;
  }
}, FETCHING);

test('a private Redis answers PING until it is stopped', async (context) => {
  skipWithoutServer(context);
  const redis = await start({ env: withoutUrl });

  expect(redis.url).toMatch(/^redis:\/\/127\.0\.0\.1:\d+$/);
  expect(await answersPing(redis.url)).toBe(true);
  await redis.stop();
  expect(await answersPing(redis.url)).toBe(false);
  await expect(redis.stop(), 'stopping again is harmless').resolves.toBeUndefined();
});

test('it keeps nothing on disk, evicts nothing, and its folder is removed at the end', async (context) => {
  context.skip(howOneStarts === 'docker', 'the folder of a container is not on this machine');
  skipWithoutServer(context);
  const redis = await start({ env: withoutUrl });
  const folder = await setting(redis.url, 'dir');

  expect(await setting(redis.url, 'save')).toBe('');
  expect(await setting(redis.url, 'appendonly')).toBe('no');
  expect(await setting(redis.url, 'maxmemory-policy')).toBe('noeviction');
  expect(await exists(folder)).toBe(true);
  await redis.stop();
  expect(await exists(folder)).toBe(false);
});

test('further redis-server arguments reach the server', async (context) => {
  skipWithoutServer(context);
  const redis = await start({ env: withoutUrl, args: ['--databases', '3', '--save', '60 1'] });

  expect(await setting(redis.url, 'databases')).toBe('3');
  expect(await setting(redis.url, 'save')).toBe('60 1');
});

test('two calls give two servers on different ports', async (context) => {
  skipWithoutServer(context);
  const [one, other] = await Promise.all([start({ env: withoutUrl }), start({ env: withoutUrl })]);

  expect(one.url).not.toBe(other.url);
  await ask(one.url, 'SET only-here 1');
  expect(await ask(one.url, 'EXISTS only-here')).toBe(':1\r\n');
  expect(await ask(other.url, 'EXISTS only-here')).toBe(':0\r\n');
});

test('a port that another Redis took meanwhile is left to it', async (context) => {
  skipWithoutServer(context);
  const other = await start({ env: withoutUrl });
  const ports = [portOf(other.url), portOf(other.url)];
  const free = await start({ env: withoutUrl });
  await free.stop();
  ports.push(portOf(free.url));

  const redis = await start({ env: withoutUrl, choosePort: async () => ports.shift() ?? 0 });

  expect(redis.url).toBe(free.url);
  expect(await answersPing(other.url)).toBe(true);
});

test('REDIS_URL is used as it is and not stopped', async (context) => {
  skipWithoutServer(context);
  const given = await start({ env: withoutUrl });
  await ask(given.url, 'SET kept 1');

  const redis = await start({ env: { REDIS_URL: `${given.url}/5` } });

  expect(redis).toMatchObject({ how: 'REDIS_URL', url: `${given.url}/5` });
  await redis.stop();
  expect(await ask(given.url, 'EXISTS kept')).toBe(':1\r\n');
});

test('REDIS_SERVER_BIN is the server that is started', async ({ skip }) => {
  const binary = await fileOnPath(['redis-server', 'valkey-server']);
  if (binary === undefined) return skip('there is no redis-server on PATH to name');
  const redis = await start({ env: { PATH: '', REDIS_SERVER_BIN: binary } });

  expect(redis.how).toBe('REDIS_SERVER_BIN');
  expect(await answersPing(redis.url)).toBe(true);
});

test('a REDIS_SERVER_BIN that does not exist is an error that names it', async () => {
  const starting = start({ env: { ...process.env, REDIS_URL: '', REDIS_SERVER_BIN: './no/such/redis-server' } });

  await expect(starting).rejects.toThrow('REDIS_SERVER_BIN=./no/such/redis-server is not an executable file.');
});

test('a REDIS_SERVER_BIN that is no Redis is an error that names it and tells what it said', async () => {
  const starting = start({ env: { ...withoutUrl, REDIS_SERVER_BIN: process.execPath } });

  await expect(starting).rejects.toThrow(`REDIS_SERVER_BIN=${process.execPath} did not start`);
  await expect(starting).rejects.toThrow('bad option');
});

test('without an installed server, Debian and Ubuntu fetch theirs once', { timeout: FETCHING }, async (context) => {
  const PATH = await pathWithAptButWithoutRedis(context);
  const cacheFolder = await temporaryFolder();
  const said: string[] = [];
  const options = { installFolders: [], cacheFolder, say: (line: string) => said.push(line) };

  const fetched = await startOrSkipOffline(context, { ...options, env: { ...withoutVariables, PATH } });
  expect(fetched.how).toBe('fetched');
  expect(await answersPing(fetched.url)).toBe(true);
  expect(await ask(fetched.url, "EVAL 'return cjson.encode({1})' 0"), 'BullMQ needs cjson').toContain('[1]');
  expect(said).toEqual([expect.stringMatching(/^no redis-server found: fetching .* \(not installed\)…$/)]);
  expect(await readdir(cacheFolder), 'nothing but the server stays').toHaveLength(1);

  const cached = await start({ ...options, env: { PATH: await temporaryFolder() } });
  expect(cached.how).toBe('fetched');
  expect(await answersPing(cached.url)).toBe(true);
  expect(said, 'the second time it comes from the cache').toHaveLength(1);
});

test('a fetch that was killed leaves nothing that is used', { timeout: FETCHING }, async (context) => {
  const PATH = await pathWithAptButWithoutRedis(context);
  const cacheFolder = await temporaryFolder();
  const env = { ...withoutVariables, PATH };
  const parent = await runParent(`
    const options = { installFolders: [], cacheFolder: ${JSON.stringify(cacheFolder)}, say: console.log };
    await startPrivateRedis({ ...options, env: ${JSON.stringify(env)} });
  `);
  expect(await parent.nextLine()).toContain('fetching');
  await eventually(async () => expect(await readdir(cacheFolder)).toHaveLength(1));
  await parent.kill('SIGKILL');

  const said: string[] = [];
  const options = { env, installFolders: [], cacheFolder, say: (line: string) => said.push(line) };
  const redis = await startOrSkipOffline(context, options);

  expect(redis.how).toBe('fetched');
  expect(said, 'it was fetched again').toHaveLength(1);
});

test('a cached server that does not start is fetched again', { timeout: FETCHING }, async (context) => {
  const PATH = await pathWithAptButWithoutRedis(context);
  const cacheFolder = await temporaryFolder();
  const options = { env: { ...withoutVariables, PATH }, installFolders: [], cacheFolder, say: () => {} };
  await (await startOrSkipOffline(context, options)).stop();
  const [release = ''] = await readdir(cacheFolder);
  const binary = join(cacheFolder, release, 'usr', 'bin', 'redis-server');
  await rm(binary);
  await writeFile(binary, '#!/bin/sh\nexit 1\n');
  await chmod(binary, 0o755);

  const redis = await start(options);

  expect(redis.how).toBe('fetched');
  expect(await answersPing(redis.url)).toBe(true);
});

test('when there is no way to a Redis, the error lists the commands that make one', async () => {
  const nowhere = await temporaryFolder();
  const starting = start({ env: { PATH: nowhere }, installFolders: [], cacheFolder: nowhere });

  await expect(starting).rejects.toThrow(NoRedisError);
  for (const command of [
    'apt-get install redis-server',
    'brew install valkey',
    'docker compose up -d',
    'REDIS_URL=redis://127.0.0.1:6379',
    'REDIS_SERVER_BIN=',
  ]) {
    await expect(starting).rejects.toThrow(command);
  }
});

test('a parent killed by SIGKILL leaves no server and no folder behind', { timeout: 30_000 }, async (context) => {
  skipWithoutServer(context);
  const parent = await runParent(`
    const redis = await startPrivateRedis();
    console.log(redis.url);
    setInterval(() => {}, 1_000);
  `);
  const url = await parent.nextLine();
  const folder = await setting(url, 'dir');
  expect(await answersPing(url)).toBe(true);

  await parent.kill('SIGKILL');

  await eventually(async () => expect(await answersPing(url)).toBe(false));
  if (howOneStarts !== 'docker') await eventually(async () => expect(await exists(folder)).toBe(false));
});

test('a busy server does not outlive its parent either', { timeout: 30_000 }, async (context) => {
  skipWithoutServer(context);
  const parent = await runParent(`
    const redis = await startPrivateRedis();
    console.log(redis.url);
    setInterval(() => {}, 1_000);
  `);
  const url = await parent.nextLine();
  const folder = await setting(url, 'dir');
  const endless = ask(url, "EVAL 'while true do end' 0");

  await parent.kill('SIGKILL');

  await endless;
  if (howOneStarts !== 'docker') await eventually(async () => expect(await exists(folder)).toBe(false));
});

test('a parent that forgets to stop it can exit, and an uncaught error ends it too', {
  timeout: 30_000,
}, async (context) => {
  skipWithoutServer(context);
  for (const ending of ['', 'process.exit(0)', "throw new Error('uncaught')"]) {
    const parent = await runParent(`
      const redis = await startPrivateRedis();
      console.log(redis.url);
      ${ending}
    `);
    const url = await parent.nextLine();

    await parent.exit;

    await eventually(async () => expect(await answersPing(url)).toBe(false));
  }
});

test('signals end a parent as usual, and its server with it', { timeout: 30_000 }, async (context) => {
  skipWithoutServer(context);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const parent = await runParent(`
      const redis = await startPrivateRedis();
      console.log(redis.url);
      setInterval(() => {}, 1_000);
    `);
    const url = await parent.nextLine();

    expect(await parent.kill(signal)).toEqual([null, signal]);

    await eventually(async () => expect(await answersPing(url)).toBe(false));
  }
});

test('after Ctrl-C an application still has its Redis to shut down with', { timeout: 30_000 }, async (context) => {
  skipWithoutServer(context);
  const parent = await runParent(`
    const redis = await startPrivateRedis();
    const waiting = setInterval(() => {}, 1_000);
    process.once('SIGINT', () => console.log('shutting down'));
    process.stdin.once('data', async () => {
      await redis.stop();
      clearInterval(waiting);
      process.stdin.destroy();
    });
    console.log(redis.url);
  `);
  const url = await parent.nextLine();

  parent.pressCtrlC();
  expect(await parent.nextLine()).toBe('shutting down');
  expect(await answersPing(url)).toBe(true);
  parent.write('stop\n');

  expect(await parent.exit).toEqual([0, null]);
  expect(await answersPing(url)).toBe(false);
});

// --- servers ---------------------------------------------------------------------------------------------------------

async function start(options: PrivateRedisOptions): Promise<PrivateRedis> {
  const redis = await startPrivateRedis(options);
  onTestFinished(() => redis.stop());
  return redis;
}

function skipWithoutServer({ skip }: TestContext): void {
  skip(whyNoneStarts !== undefined, whyNoneStarts);
}

async function startOrSkipOffline({ skip }: TestContext, options: PrivateRedisOptions): Promise<PrivateRedis> {
  try {
    return await start(options);
  } catch (error) {
    const unreachable = /Temporary failure resolving|Could not (connect|resolve)|Network is unreachable|timed out/;
    if (error instanceof NoRedisError && unreachable.test(error.message)) {
      skip(`the package sources cannot be reached: ${error.message}`);
    }
    throw error;
  }
}

async function ask(url: string, command: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port: portOf(url) });
  socket.setEncoding('utf8').write(`${command}\r\nQUIT\r\n`);
  let answer = '';
  try {
    for await (const part of socket) answer += part;
  } catch {
    // Refused or reset: no answer.
  }
  return answer.replace(/\+OK\r\n$/, '');
}

async function answersPing(url: string): Promise<boolean> {
  return (await ask(url, 'PING')) === '+PONG\r\n';
}

async function setting(url: string, name: string): Promise<string> {
  // *2, $length, name, $length, value
  return (await ask(url, `CONFIG GET ${name}`)).split('\r\n')[4] ?? '';
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

// --- processes -------------------------------------------------------------------------------------------------------

interface Parent {
  nextLine(): Promise<string>;
  write(text: string): void;
  pressCtrlC(): void;
  kill(signal: NodeJS.Signals): Promise<unknown[]>;
  readonly exit: Promise<unknown[]>;
}

async function runParent(code: string): Promise<Parent> {
  const source = `import { startPrivateRedis } from ${JSON.stringify(MODULE)};\n${code}`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', source], {
    cwd: REPOSITORY,
    env: withoutUrl,
    // A process group of its own, as a command in a terminal has.
    detached: true,
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    errors += part;
  });
  const exit = once(child, 'exit');
  const lines = linesOf(child);
  return {
    nextLine: async () => {
      const { done, value } = await lines.next();
      if (done) throw new Error(`The parent ended without a further line. It said: ${errors}`);
      return value;
    },
    write: (text) => child.stdin.write(text),
    pressCtrlC: () => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGINT');
    },
    kill: (signal) => {
      child.kill(signal);
      return exit;
    },
    exit,
  };
}

async function* linesOf({ stdout }: ChildProcess): AsyncGenerator<string, void> {
  let rest = '';
  for await (const part of stdout ?? []) {
    const lines = `${rest}${part}`.split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

async function eventually(assertion: () => Promise<void>, milliseconds = 15_000): Promise<void> {
  const deadline = Date.now() + milliseconds;
  for (;;) {
    try {
      return await assertion();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await pause(10);
    }
  }
}

// --- files -----------------------------------------------------------------------------------------------------------

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'private-redis-test-'));
  // A killed fetch may still be writing.
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }));
  return folder;
}

/** All programs of this machine but Redis and docker, in one folder of links. */
async function pathWithAptButWithoutRedis({ skip }: TestContext): Promise<string> {
  for (const tool of ['apt-get', 'apt-cache', 'dpkg']) {
    if ((await fileOnPath([tool])) === undefined) skip(`this is not a Debian or Ubuntu: there is no ${tool}`);
  }
  const links = join(await temporaryFolder(), 'bin');
  await mkdir(links);
  for (const folder of foldersOnPath()) {
    for (const name of await readdir(folder).catch(() => [])) {
      if (/^(redis|valkey|docker)/.test(name)) continue;
      // As on PATH, the first of a name counts.
      await symlink(join(folder, name), join(links, name)).catch(() => {});
    }
  }
  return links;
}

async function fileOnPath(names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    for (const folder of foldersOnPath()) {
      if (await exists(join(folder, name))) return join(folder, name);
    }
  }
  return undefined;
}

function foldersOnPath(): string[] {
  return (process.env.PATH ?? '').split(delimiter).filter(Boolean);
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
