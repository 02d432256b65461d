import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { expect, type TestContext, test } from 'vitest';
import { findProgram } from './find-redis-server.js';
import { NoRedisError, type PrivateRedis, type PrivateRedisOptions } from './private-redis.js';
import { answersPing, ask, runParent, start, temporaryFolder, withoutUrl } from './redis-process.js';
import { eventually } from './test.js';

const FETCHING = 120_000;
const withoutVariables: NodeJS.ProcessEnv = { ...withoutUrl, REDIS_SERVER_BIN: '' };

test('without an installed server, Debian and Ubuntu fetch theirs once', { timeout: FETCHING }, async (context) => {
  const PATH = await pathWithAptButWithoutRedis(context);
  const cacheFolder = await temporaryFolder();
  const said: string[] = [];
  const options = { installFolders: [], cacheFolder, say: (line: string) => said.push(line) };

  const fetched = await startOrSkipOffline(context, { ...options, env: { ...withoutVariables, PATH } });
  expect(fetched.how).toBe('fetched');
  expect(await answersPing(fetched.url)).toBe(true);
  expect(await ask(fetched.url, "EVAL 'return cjson.encode({1})' 0"), 'BullMQ needs cjson').toContain('[1]');
  expect(said).toEqual([expect.stringMatching(/^no redis-server found: fetching .* \(not installed\)…$/)]);
  expect(await readdir(cacheFolder), 'nothing but the server stays').toHaveLength(1);

  const cached = await start({ ...options, env: { PATH: await temporaryFolder() } });
  expect(cached.how).toBe('fetched');
  expect(await answersPing(cached.url)).toBe(true);
  expect(said, 'the second time it comes from the cache').toHaveLength(1);
});

test('a fetch that was killed leaves nothing that is used', { timeout: FETCHING }, async (context) => {
  const PATH = await pathWithAptButWithoutRedis(context);
  const cacheFolder = await temporaryFolder();
  const env = { ...withoutVariables, PATH };
  const parent = await runParent(`
    const options = { installFolders: [], cacheFolder: ${JSON.stringify(cacheFolder)}, say: console.log };
    await startPrivateRedis({ ...options, env: ${JSON.stringify(env)} });
  `);
  expect(await parent.nextLine()).toContain('fetching');
  await eventually(async () => expect(await readdir(cacheFolder)).toHaveLength(1));
  await parent.kill('SIGKILL');

  const said: string[] = [];
  const options = { env, installFolders: [], cacheFolder, say: (line: string) => said.push(line) };
  const redis = await startOrSkipOffline(context, options);

  expect(redis.how).toBe('fetched');
  expect(said, 'it was fetched again').toHaveLength(1);
});

test('a cached server that does not start is fetched again', { timeout: FETCHING }, async (context) => {
  const PATH = await pathWithAptButWithoutRedis(context);
  const cacheFolder = await temporaryFolder();
  const options = { env: { ...withoutVariables, PATH }, installFolders: [], cacheFolder, say: () => {} };
  const programs = join(cacheFolder, `${process.platform}-${process.arch}`, 'usr', 'bin');
  await mkdir(programs, { recursive: true });
  await writeFile(join(programs, 'redis-server'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });

  const redis = await startOrSkipOffline(context, options);

  expect(redis.how).toBe('fetched');
  expect(await answersPing(redis.url)).toBe(true);
});

async function startOrSkipOffline({ skip }: TestContext, options: PrivateRedisOptions): Promise<PrivateRedis> {
  try {
    return await start(options);
  } catch (error) {
    const unreachable = /Temporary failure resolving|Could not (connect|resolve)|Network is unreachable|timed out/;
    if (error instanceof NoRedisError && unreachable.test(error.message)) {
      skip(`the package sources cannot be reached: ${error.message}`);
    }
    throw error;
  }
}

/** All programs of this machine but Redis, in one folder of links. */
async function pathWithAptButWithoutRedis({ skip }: TestContext): Promise<string> {
  for (const tool of ['apt-get', 'apt-cache', 'dpkg']) {
    if ((await findProgram(tool, process.env)) === undefined)
      skip(`this is not a Debian or Ubuntu: there is no ${tool}`);
  }
  const links = join(await temporaryFolder(), 'bin');
  await mkdir(links);
  for (const folder of (process.env.PATH ?? '').split(delimiter).filter(Boolean)) {
    for (const name of await readdir(folder).catch(() => [])) {
      if (/^(redis|valkey)/.test(name)) continue;
      // As on PATH, the first of a name counts.
      await symlink(join(folder, name), join(links, name)).catch(() => {});
    }
  }
  return links;
}
