import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';

export const SERVER_NAMES = ['redis-server', 'valkey-server'];
export const HOMEBREW_FOLDERS = ['/opt/homebrew/bin', '/usr/local/bin', '/home/linuxbrew/.linuxbrew/bin'];

/** The servers that are installed, Redis before Valkey, and what is on `PATH` before what is in the other folders. */
export function findRedisServers(env: NodeJS.ProcessEnv, installFolders: readonly string[]): Promise<string[]> {
  return executablesNamed(SERVER_NAMES, [...foldersOnPath(env), ...installFolders]);
}

/** The first program of this name on `PATH`. */
export async function findProgram(name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const [first] = await executablesNamed([name], foldersOnPath(env));
  return first;
}

export async function executablesNamed(names: readonly string[], folders: readonly string[]): Promise<string[]> {
  const files = names.flatMap((name) => folders.map((folder) => join(folder, name)));
  const checked = [...new Set(files)].map(async (file) => ((await isExecutable(file)) ? [file] : []));
  return (await Promise.all(checked)).flat();
}

export async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

function foldersOnPath(env: NodeJS.ProcessEnv): string[] {
  return (env.PATH ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
}
