import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Bench } from './test.js';

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));

export interface Child {
  readonly process: ChildProcess;
  /** Resolves with the next line that the child prints on its standard output. */
  line(): Promise<string>;
  /** Resolves with how it ended: an exit code or a signal. */
  readonly ended: Promise<number | string>;
}

/** Runs a script of this folder in a process of its own, against the same BullMQ and in the same prefix as the test. */
export function runChild(script: string, bench: Bench, args: Record<string, unknown>): Child {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--import', here('./alias-bullmq.mjs'), here(script), JSON.stringify(args)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TEST_CONNECTION: JSON.stringify(bench.connection), TEST_PREFIX: bench.prefix },
    },
  );
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, 'exit').then(([code, signal]) => code ?? signal);
  bench.use({
    async close() {
      child.kill('SIGKILL');
      await ended;
    },
  });
  return {
    process: child,
    ended,
    async line() {
      const { value, done } = await lines.next();
      if (done) {
        throw new Error(`${script} ended (${await ended}) without printing the line that the test waits for`);
      }
      return value;
    },
  };
}

/** In the child: what `runChild` passed. */
export function childSettings<T>(): { connection: Bench['connection']; prefix: string; args: T } {
  const { TEST_CONNECTION = '{}', TEST_PREFIX = '' } = process.env;
  return { connection: JSON.parse(TEST_CONNECTION), prefix: TEST_PREFIX, args: JSON.parse(process.argv[2] ?? '{}') };
}
