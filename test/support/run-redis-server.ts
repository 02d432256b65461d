import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const READY_MS = 10_000;
const PORTS_TO_TRY = 5;

export interface RunningServer {
  readonly url: string;
  /** Stops the server and waits for its end. */
  stop(): Promise<void>;
}

export interface RunOptions {
  /** Further `redis-server` arguments. */
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Proposes the port to try next. Default: one that is free at that moment. */
  readonly choosePort?: (() => Promise<number>) | undefined;
}

/** Another process took the port after it was found to be free. */
class PortTakenError extends Error {
  override readonly name = 'PortTakenError';
}

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

/** Runs a server in a folder of its own, which ends at the latest with this process, however that ends. */
export async function runRedisServer(
  binary: string,
  options: RunOptions,
  portsLeft = PORTS_TO_TRY,
): Promise<RunningServer> {
  try {
    return await runOn(await (options.choosePort ?? portThatIsFreeNow)(), binary, options);
  } catch (error) {
    if (!(error instanceof PortTakenError) || portsLeft <= 1) throw error;
    return runRedisServer(binary, options, portsLeft - 1);
  }
}

async function runOn(port: number, binary: string, { args, env }: RunOptions): Promise<RunningServer> {
  const folder = await mkdtemp(join(tmpdir(), 'bullmq-batches-redis-'));
  const defaults = ['--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction'];
  const server = [binary, ...defaults, ...args, '--bind', '127.0.0.1', '--port', String(port), '--dir', folder];
  // In a session of its own (`detached`) it does not get the terminal's Ctrl-C: an application that shuts down
  // gracefully after SIGINT still needs its Redis, and the watchdog ends it as soon as the application is done.
  const shell = spawn('/bin/sh', ['-c', SERVER_AND_WATCHDOG, 'sh', folder, ...server], {
    env,
    cwd: folder,
    detached: true,
    stdio: 'pipe',
  });
  // The pipe breaks when the server ends first, which `ended` reports.
  shell.stdin.on('error', () => {});
  const ended = once(shell, 'close');
  const stop = async () => {
    for (const handle of handlesOf(shell)) handle.ref();
    shell.stdin.end();
    await ended;
  };
  try {
    await untilReady(shell);
  } catch (error) {
    await stop();
    throw error;
  }
  // This process may exit although the server still runs.
  for (const handle of handlesOf(shell)) handle.unref();
  return { url: `redis://127.0.0.1:${port}`, stop };
}

/** Only the server itself says so: on a port that was taken, another Redis would answer PING. */
async function untilReady(shell: ChildProcessWithoutNullStreams): Promise<void> {
  let said = '';
  let timer: NodeJS.Timeout | undefined;
  const lastWords = () =>
    said.trim() ? `It said:\n${said.trim().split('\n').slice(-8).join('\n')}` : 'It said nothing.';
  await new Promise<void>((resolve, reject) => {
    const hear = (part: string) => {
      said = `${said}${part}`.slice(-16_384);
      if (said.includes('Ready to accept connections')) resolve();
    };
    shell.stdout.setEncoding('utf8').on('data', hear);
    shell.stderr.setEncoding('utf8').on('data', hear);
    shell.once('close', () => {
      const isTaken = /address already in use|failed listening on port/i.test(said);
      reject(
        isTaken
          ? new PortTakenError(`the port was taken. ${lastWords()}`)
          : new Error(`it ended instead of starting. ${lastWords()}`),
      );
    });
    timer = setTimeout(() => reject(new Error(`it was not ready within ${READY_MS} ms. ${lastWords()}`)), READY_MS);
  }).finally(() => clearTimeout(timer));
}

function handlesOf(child: ChildProcessWithoutNullStreams): { ref(): void; unref(): void }[] {
  const pipes = [child.stdin, child.stdout, child.stderr].filter((pipe) => pipe instanceof Socket);
  return [child, ...pipes];
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
