import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';

/**
 * Gives Redis the last core, and this process all others.
 *
 * @throws Error on a machine with one core, or without taskset.
 */
export async function pin(redisProcess: number): Promise<void> {
  const last = availableParallelism() - 1;
  if (last === 0) {
    throw new Error('--pin needs at least two cores.');
  }
  const run = promisify(execFile);
  const pinTo = (cores: string, id: number) =>
    run('taskset', ['--all-tasks', '--cpu-list', '--pid', cores, String(id)]);
  try {
    await pinTo(String(last), redisProcess);
    await pinTo(`0-${last - 1}`, process.pid);
  } catch (error) {
    throw new Error("--pin needs Linux, its command 'taskset', and a Redis that runs on this machine as this user.", {
      cause: error,
    });
  }
}
