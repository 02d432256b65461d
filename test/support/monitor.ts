import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import type { Testbed } from './test.js';

/** A command as Redis tells of it, e.g. ['evalsha', 'c868…', '1', 'key']. */
export interface MonitoredCommand {
  readonly args: readonly string[];
  /** Whether a script has called it. */
  readonly isOfScript: boolean;
}

/**
 * Calls back for each command that Redis executes from now on, also for those of other tests. It reads the lines of
 * MONITOR itself: ioredis takes a line that comes together with the reply for an error.
 */
export async function monitorRedis(testbed: Testbed, seen: (command: MonitoredCommand) => void): Promise<void> {
  const { host = 'localhost', port = 6379 } = testbed.connection as { host?: string; port?: number };
  const socket = connect(port, host);
  testbed.use({ close: async () => void socket.destroy() });
  socket.write('MONITOR\r\n');
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    createInterface({ input: socket }).on('line', (line) => {
      const command = /^\+\d+\.\d+ \[\d+ (\S+)\] (.*)$/.exec(line);
      if (line === '+OK') {
        resolve();
      } else if (command !== null) {
        const [, source, quoted = ''] = command;
        const args = [...quoted.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) => text.replace(/\\(.)/g, '$1'));
        seen({ args, isOfScript: source === 'lua' });
      }
    });
  });
}
