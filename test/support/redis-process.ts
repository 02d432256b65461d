import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished, type TestContext } from 'vitest';
import { NoRedisError, type PrivateRedis, type PrivateRedisOptions, startPrivateRedis } from './private-redis.js';

/* What the tests of finding, fetching and running a Redis share. */

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const MODULE = new URL('./private-redis.ts', import.meta.url).href;
export const withoutUrl: NodeJS.ProcessEnv = { ...process.env, REDIS_URL: '' };

export async function start(options: PrivateRedisOptions): Promise<PrivateRedis> {
  const redis = await startPrivateRedis(options);
  onTestFinished(() => redis.stop());
  return redis;
}

let whyNoneStarts: Promise<string | undefined> | undefined;

/** Skips a test that needs a Redis of its own where `REDIS_URL` is the only one there is. */
export async function skipWithoutServer({ skip }: TestContext): Promise<void> {
  whyNoneStarts ??= startPrivateRedis({ env: withoutUrl }).then(
    async (redis) => void (await redis.stop()),
    (error) => {
      if (!(error instanceof NoRedisError)) throw error;
      return `this machine can start no Redis of its own: ${error.message}`;
    },
  );
  const why = await whyNoneStarts;
  skip(why !== undefined, why);
}

export async function ask(url: string, command: string): Promise<string> {
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

export async function answersPing(url: string): Promise<boolean> {
  return (await ask(url, 'PING')) === '+PONG\r\n';
}

export async function setting(url: string, name: string): Promise<string> {
  // *2, $length, name, $length, value
  return (await ask(url, `CONFIG GET ${name}`)).split('\r\n')[4] ?? '';
}

export function portOf(url: string): number {
  return Number(new URL(url).port);
}

export interface Parent {
  nextLine(): Promise<string>;
  write(text: string): void;
  pressCtrlC(): void;
  kill(signal: NodeJS.Signals): Promise<unknown[]>;
  readonly exit: Promise<unknown[]>;
}

/** Runs code that can start a private Redis in a process of its own, which the test may kill. */
export async function runParent(code: string): Promise<Parent> {
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

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'private-redis-test-'));
  // A killed fetch may still be writing.
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }));
  return folder;
}

export async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
