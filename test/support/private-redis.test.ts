import { expect, test } from 'vitest';
import { findRedisServers } from './find-redis-server.js';
import { NoRedisError } from './private-redis.js';
import { answersPing, ask, skipWithoutServer, start, temporaryFolder, withoutUrl } from './redis-process.js';

test('REDIS_URL is used as it is and not stopped', async (context) => {
  await skipWithoutServer(context);
  const given = await start({ env: withoutUrl });
  await ask(given.url, 'SET kept 1');

  const redis = await start({ env: { REDIS_URL: `${given.url}/5` } });

  expect(redis).toMatchObject({ how: 'REDIS_URL', url: `${given.url}/5` });
  await redis.stop();
  expect(await ask(given.url, 'EXISTS kept')).toBe(':1\r\n');
});

test('REDIS_SERVER_BIN is the server that is started', async ({ skip }) => {
  const [binary] = await findRedisServers(process.env, []);
  if (binary === undefined) return skip('there is no redis-server on PATH to name');
  const redis = await start({ env: { PATH: '', REDIS_SERVER_BIN: binary } });

  expect(redis.how).toBe('REDIS_SERVER_BIN');
  expect(await answersPing(redis.url)).toBe(true);
});

test('a REDIS_SERVER_BIN that does not exist is an error that names it', async () => {
  const starting = start({ env: { ...process.env, REDIS_URL: '', REDIS_SERVER_BIN: './no/such/redis-server' } });

  await expect(starting).rejects.toThrow('REDIS_SERVER_BIN=./no/such/redis-server is not an executable file.');
});

test('a REDIS_SERVER_BIN that is no Redis is an error that names it and tells what it said', async () => {
  const starting = start({ env: { ...withoutUrl, REDIS_SERVER_BIN: process.execPath } });

  await expect(starting).rejects.toThrow(`REDIS_SERVER_BIN=${process.execPath} did not start`);
  await expect(starting).rejects.toThrow('bad option');
});

test('when there is no way to a Redis, the error lists the commands that make one', async () => {
  const nowhere = await temporaryFolder();
  const starting = start({ env: { PATH: nowhere }, installFolders: [], cacheFolder: nowhere });

  await expect(starting).rejects.toThrow(NoRedisError);
  for (const command of [
    'apt-get install redis-server',
    'brew install valkey',
    'docker compose up -d',
    'REDIS_URL=redis://127.0.0.1:6379',
    'REDIS_SERVER_BIN=',
  ]) {
    await expect(starting).rejects.toThrow(command);
  }
});
