import { once } from 'node:events';

/** `npm run` passes on a Ctrl-C that the terminal has sent to everybody: two within this time are one. */
const SAME_CTRL_C_MS = 1000;

/**
 * Is aborted by the first Ctrl-C, so that the program can close what it has open. Another one, a second later, ends it
 * at once.
 */
export function interruption(): AbortSignal {
  const interrupted = new AbortController();
  let since: number | undefined;
  const interrupt = () => {
    since ??= performance.now();
    if (performance.now() - since > SAME_CTRL_C_MS) process.exit(130);
    interrupted.abort(new Error('Interrupted; there is no report.'));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);
  // Nobody reads on: `npm run demo | head -3`.
  process.stdout.on('error', () => interrupted.abort(new Error('The output was closed.')));
  return interrupted.signal;
}

/** Stops waiting for what cannot be stopped itself. */
export function unlessInterrupted<T>(interrupted: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(interrupted.reason);
    if (interrupted.aborted) giveUp();
    interrupted.addEventListener('abort', giveUp, { once: true });
    work.then(resolve, reject).finally(() => interrupted.removeEventListener('abort', giveUp));
  });
}

/** Waits for the first Ctrl-C, which is then what was to happen. */
export async function untilInterrupted(interrupted: AbortSignal): Promise<void> {
  if (!interrupted.aborted) await once(interrupted, 'abort');
}
