import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { ChildSettings, children } from './children.js';
import { childCommand } from './programs.js';
import type { Testbed } from './test.js';

export interface Child {
  readonly process: ChildProcess;
  /** Resolves with the next line that the child prints on its standard output. */
  line(): Promise<string>;
  /** Resolves with how it ended: an exit code or a signal. */
  readonly ended: Promise<number | string>;
}

type Name = keyof typeof children;
type ArgsOf<N extends Name> = Parameters<(typeof children)[N]>[0]['args'];

/** Runs a program of children.ts in a process of its own, against the same BullMQ and in the same prefix as the test. */
export function runChild<N extends Name>(name: N, testbed: Testbed, args: ArgsOf<N>): Child {
  const { connection, prefix } = testbed;
  const settings: ChildSettings<ArgsOf<N>> = { connection, prefix, args };
  const child = spawn(process.execPath, childCommand(name, settings), {
    stdio: ['ignore', 'pipe', 'inherit'],
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
        throw new Error(`${name} ended (${await ended}) without printing the line that the test waits for`);
      }
      return value;
    },
  };
}
