import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { programPath } from '../../support/programs.js';
import type { Testbed } from '../../support/test.js';

export interface Ended {
  readonly out: string;
  readonly err: string;
  readonly code: number | null;
}

export interface Running {
  readonly process: ChildProcess;
  /** What it has printed so far. */
  out(): string;
  readonly ended: Promise<Ended>;
}

const plainEnv = () => {
  const { NO_COLOR, FORCE_COLOR, REDIS_URL, ...env } = process.env;
  return env;
};

/** Starts the real program as its users do, with pipes for its streams, or an open file for standard output. */
export function startCli(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  stdout: 'pipe' | number = 'pipe',
): Running {
  const child = spawn(process.execPath, [programPath('command-line'), ...args], {
    env: { ...plainEnv(), ...env },
    stdio: ['pipe', stdout, 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (part: string) => {
    out += part;
  });
  child.stderr?.setEncoding('utf8').on('data', (part: string) => {
    err += part;
  });
  child.stdin?.end();
  return {
    process: child,
    out: () => out,
    ended: once(child, 'close').then(([code]) => ({ out, err, code })),
  };
}

export function urlOf({ connection }: Testbed): string {
  const { username = '', password = '', db = 0 } = connection as Record<string, unknown>;
  const user =
    password === '' ? '' : `${encodeURIComponent(String(username))}:${encodeURIComponent(String(password))}@`;
  return `redis://${user}${connection.host}:${connection.port}/${db}`;
}

/** The program in the Redis and prefix of a test. */
export function cliOf(testbed: Testbed) {
  const env = { REDIS_URL: urlOf(testbed) };
  const withPrefix = (args: readonly string[]) => {
    const [command = '', ...rest] = args;
    return [command, '--prefix', testbed.prefix, ...rest];
  };
  return {
    start: (...args: string[]) => startCli(withPrefix(args), env),
    run: (...args: string[]) => startCli(withPrefix(args), env).ended,
    runWith: (more: NodeJS.ProcessEnv, ...args: string[]) => startCli(withPrefix(args), { ...env, ...more }).ended,
  };
}
