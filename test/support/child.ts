import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { programPath } from './programs.js';
import type { Testbed } from './test.js';

export interface Child {
  readonly process: ChildProcess;
  /** Resolves with the next line that the child prints on its standard output. */
  line(): Promise<string>;
  /** Resolves with how it ended: an exit code or a signal. */
  readonly ended: Promise<number | string>;
}

/**
 * Runs a program of programs.ts in a process of its own, against the same BullMQ and in the same prefix as the test.
 */
export function runChild(program: string, testbed: Testbed, args: Record<string, unknown>): Child {
  const child = spawn(process.execPath, [programPath(program), JSON.stringify(args)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TEST_CONNECTION: JSON.stringify(testbed.connection), TEST_PREFIX: testbed.prefix },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, 'exit').then(([code, signal]) => code ?? signal);
  testbed.use({
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
        throw new Error(`${program} ended (${await ended}) without printing the line that the test waits for`);
      }
      return value;
    },
  };
}
