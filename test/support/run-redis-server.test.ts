import { expect, test } from 'vitest';
import {
  answersPing,
  ask,
  exists,
  portOf,
  runParent,
  setting,
  skipWithoutServer,
  start,
  withoutUrl,
} from './redis-process.js';
import { eventually } from './test.js';

test('a private Redis answers PING until it is stopped', async (context) => {
  await skipWithoutServer(context);
  const redis = await start({ env: withoutUrl });

  expect(redis.url).toMatch(/^redis:\/\/127\.0\.0\.1:\d+$/);
  expect(await answersPing(redis.url)).toBe(true);
  await redis.stop();
  expect(await answersPing(redis.url)).toBe(false);
  await expect(redis.stop(), 'stopping again is harmless').resolves.toBeUndefined();
});

test('it keeps nothing on disk, evicts nothing, and its folder is removed at the end', async (context) => {
  await skipWithoutServer(context);
  const redis = await start({ env: withoutUrl });
  const folder = await setting(redis.url, 'dir');

  expect(await setting(redis.url, 'save')).toBe('');
  expect(await setting(redis.url, 'appendonly')).toBe('no');
  expect(await setting(redis.url, 'maxmemory-policy')).toBe('noeviction');
  expect(await exists(folder)).toBe(true);
  await redis.stop();
  expect(await exists(folder)).toBe(false);
});

test('further redis-server arguments reach the server', async (context) => {
  await skipWithoutServer(context);
  const redis = await start({ env: withoutUrl, args: ['--databases', '3', '--save', '60 1'] });

  expect(await setting(redis.url, 'databases')).toBe('3');
  expect(await setting(redis.url, 'save')).toBe('60 1');
});

test('two calls give two servers on different ports', async (context) => {
  await skipWithoutServer(context);
  const [one, other] = await Promise.all([start({ env: withoutUrl }), start({ env: withoutUrl })]);

  expect(one.url).not.toBe(other.url);
  await ask(one.url, 'SET only-here 1');
  expect(await ask(one.url, 'EXISTS only-here')).toBe(':1\r\n');
  expect(await ask(other.url, 'EXISTS only-here')).toBe(':0\r\n');
});

test('a port that another Redis took meanwhile is left to it', async (context) => {
  await skipWithoutServer(context);
  const other = await start({ env: withoutUrl });
  const ports = [portOf(other.url), portOf(other.url)];
  const free = await start({ env: withoutUrl });
  await free.stop();
  ports.push(portOf(free.url));

  const redis = await start({ env: withoutUrl, choosePort: async () => ports.shift() ?? 0 });

  expect(redis.url).toBe(free.url);
  expect(await answersPing(other.url)).toBe(true);
});

/** The program of a parent that says where its server is, and lives on. */
const LIVING_PARENT = `
  const redis = await startPrivateRedis();
  console.log(redis.url);
  setInterval(() => {}, 1_000);
`;

test('a parent killed by SIGKILL leaves no server and no folder behind', { timeout: 30_000 }, async (context) => {
  await skipWithoutServer(context);
  const parent = await runParent(LIVING_PARENT);
  const url = await parent.nextLine();
  const folder = await setting(url, 'dir');
  expect(await answersPing(url)).toBe(true);

  await parent.kill('SIGKILL');

  await eventually(async () => expect(await answersPing(url)).toBe(false));
  await eventually(async () => expect(await exists(folder)).toBe(false));
});

test('a busy server does not outlive its parent either', { timeout: 30_000 }, async (context) => {
  await skipWithoutServer(context);
  const parent = await runParent(LIVING_PARENT);
  const url = await parent.nextLine();
  const folder = await setting(url, 'dir');
  const endless = ask(url, "EVAL 'while true do end' 0");

  await parent.kill('SIGKILL');

  await endless;
  await eventually(async () => expect(await exists(folder)).toBe(false));
});

test('a parent that forgets to stop it can exit, and an uncaught error ends it too', {
  timeout: 30_000,
}, async (context) => {
  await skipWithoutServer(context);
  for (const ending of ['', 'process.exit(0)', "throw new Error('uncaught')"]) {
    const parent = await runParent(`
      const redis = await startPrivateRedis();
      console.log(redis.url);
      ${ending}
    `);
    const url = await parent.nextLine();

    await parent.exit;

    await eventually(async () => expect(await answersPing(url)).toBe(false));
  }
});

test('signals end a parent as usual, and its server with it', { timeout: 30_000 }, async (context) => {
  await skipWithoutServer(context);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const parent = await runParent(`
      const redis = await startPrivateRedis();
      console.log(redis.url);
      setInterval(() => {}, 1_000);
    `);
    const url = await parent.nextLine();

    expect(await parent.kill(signal)).toEqual([null, signal]);

    await eventually(async () => expect(await answersPing(url)).toBe(false));
  }
});

test('after Ctrl-C an application still has its Redis to shut down with', { timeout: 30_000 }, async (context) => {
  await skipWithoutServer(context);
  const parent = await runParent(`
    const redis = await startPrivateRedis();
    const waiting = setInterval(() => {}, 1_000);
    process.once('SIGINT', () => console.log('shutting down'));
    process.stdin.once('data', async () => {
      await redis.stop();
      clearInterval(waiting);
      process.stdin.destroy();
    });
    console.log(redis.url);
  `);
  const url = await parent.nextLine();

  parent.pressCtrlC();
  expect(await parent.nextLine()).toBe('shutting down');
  expect(await answersPing(url)).toBe(true);
  parent.write('stop\n');

  expect(await parent.exit).toEqual([0, null]);
  expect(await answersPing(url)).toBe(false);
});
