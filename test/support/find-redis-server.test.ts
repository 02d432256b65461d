import { mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { expect, test } from 'vitest';
import { findProgram, findRedisServers } from './find-redis-server.js';
import { temporaryFolder } from './redis-process.js';

const program = { mode: 0o755 };

test('Redis is found before Valkey, PATH is searched before other folders, and each server is found once', async () => {
  const [first, second, other] = [await temporaryFolder(), await temporaryFolder(), await temporaryFolder()];
  for (const folder of [first, other]) await writeFile(join(folder, 'valkey-server'), '', program);
  for (const folder of [second, other]) await writeFile(join(folder, 'redis-server'), '', program);

  const found = await findRedisServers({ PATH: [first, second, first].join(delimiter) }, [other, second]);

  expect(found).toEqual([
    join(second, 'redis-server'),
    join(other, 'redis-server'),
    join(first, 'valkey-server'),
    join(other, 'valkey-server'),
  ]);
});

test('what cannot be executed, a folder, and what is in a relative folder of PATH is no server', async () => {
  const [plain, folder] = [await temporaryFolder(), await temporaryFolder()];
  await writeFile(join(plain, 'redis-server'), '', { mode: 0o644 });
  await mkdir(join(folder, 'redis-server'));
  expect(await findRedisServers({ PATH: [plain, folder, 'bin', ''].join(delimiter) }, [])).toEqual([]);
  expect(await findRedisServers({}, [])).toEqual([]);
});

test('of programs with the same name, the first on PATH is meant', async () => {
  const [first, second] = [await temporaryFolder(), await temporaryFolder()];
  for (const folder of [first, second]) await writeFile(join(folder, 'apt-get'), '', program);
  expect(await findProgram('apt-get', { PATH: [first, second].join(delimiter) })).toBe(join(first, 'apt-get'));
  expect(await findProgram('apt-cache', { PATH: first })).toBeUndefined();
});
