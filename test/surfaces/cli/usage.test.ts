import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { test as base, expect } from 'vitest';
import { BatchNotFoundError } from '../../../src/index.js';
import { isOfTheConnection, sentenceOf } from '../../../src/surfaces/cli/connection-sentence.js';
import { startCli } from './run.js';

const run = (...args: string[]) => startCli(args).ended;

/** Servers that are no Redis, by what they do with a connection. */
const test = base.extend<{ serverThat: (does: (socket: Socket) => void) => Promise<string> }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest wants a pattern
  serverThat: async ({}, use) => {
    const servers: Server[] = [];
    const sockets: Socket[] = [];
    await use(async (does) => {
      const server = createServer((socket) => {
        sockets.push(socket.on('error', () => {}));
        does(socket);
      });
      servers.push(server.listen(0, '127.0.0.1'));
      await once(server, 'listening');
      return `127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    for (const socket of sockets) {
      socket.destroy();
    }
    for (const server of servers) {
      server.close();
    }
  },
});

test('help says what there is, on standard output, with 0; so does no command at all', async () => {
  const { out, code, err } = await run('--help');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  const withId = ['show', 'tree', 'watch', 'explain', 'results', 'failures', 'retry', 'seal', 'cancel', 'remove'];
  for (const command of ['list', ...withId.map((name) => `${name} ID`)]) {
    expect(out).toContain(`\n  ${command} `);
  }
  expect(out).toMatch(/Exit codes:\n {2}0 .* {2}1 .* {2}2 .* {2}3 .* {2}4 .* {2}130 /s);
  expect(await run()).toEqual({ out, code, err });
});

test('a command has its own help, also before it has what it needs', async () => {
  const { out, code } = await run('cancel', '-h');
  expect(code).toBe(0);
  expect(out).toContain('Usage: bullmq-batches cancel ID [--reason TEXT] [--yes] [--json]');
});

test('tells its version', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
  expect(await run('--version')).toEqual({ out: `${version}\n`, err: '', code: 0 });
});

test.each([
  [['lst'], "There is no command 'lst'. There are list, show, tree"],
  [['\u001b[2Jx'], "There is no command 'x'."],
  [['list', '--fast'], "'list' has no option --fast. It has --state, --limit, --json"],
  [['list', '--force'], "'list' has no option --force."],
  [['list', '--constructor'], "'list' has no option --constructor."],
  [['list', 'x'], "'list' takes no ID, so 'x' is too much"],
  [['show'], "'show' needs the ID of a batch: bullmq-batches show ID"],
  [['show', ''], "'show' needs the ID of a batch"],
  [['show', 'a', 'b'], "'show' takes one ID, so 'b' is too much"],
  [['show', '-abc'], 'An ID that begins with a dash is written after --'],
  [['list', '--state', 'cancelled'], '--state takes open, running, succeeded, failed'],
  [['list', '--limit', '0'], '--limit takes a whole number from 1'],
  [['list', '--limit', '1e3'], '--limit takes a whole number from 1'],
  [['list', '--limit'], '--limit needs a value: --limit N.'],
  [['list', '--batches-queue=a:b'], "--batches-queue takes the name of a queue, without ':', not 'a:b'"],
  [['list', '--prefix', '--json'], '--prefix needs a value: --prefix PREFIX. A value that begins with a dash'],
  [['list', '--json=yes'], '--json takes no value'],
  [['results', 'x', '--format', 'xml'], '--format takes jsonl or csv'],
  [['results', 'x', '--json', '--format', 'csv'], 'exclude each other'],
  [['list', '--redis', 'localhost:6379'], '--redis is not the URL of a Redis'],
  [['list', '--redis', 'redis://h/x'], '--redis does not end with the number of a database'],
])('%j is wrong, says why in one line, and ends with 2', async (args, message) => {
  const { out, err, code } = await run(...args);
  expect({ out, code }).toEqual({ out: '', code: 2 });
  expect(err).toMatch(/^bullmq-batches: [^\n]+\n$/);
  expect(err).toContain(message);
});

test.each([
  'redis://joe:hunter2@host:port',
  'redis://joe:hun/ter2@host:1',
  'redis://joe:hunter2%zz@host',
  'x://joe:hunter2@h',
])('a URL that is wrong is not repeated: it may hold a password (%s)', async (url) => {
  for (const ended of [await run('list', '--redis', url), await startCli(['list'], { REDIS_URL: url }).ended]) {
    expect(ended.code).toBe(2);
    expect(ended.err).not.toMatch(/hun|ter2/);
    expect(ended.err).toMatch(/^bullmq-batches: (--redis|REDIS_URL) /);
  }
});

test('without Redis it ends with 1 and says what to do', async ({ serverThat }) => {
  const refused = await run('list', '--redis', 'redis://joe:hunter2@localhost:1');
  expect(refused).toEqual({
    out: '',
    err:
      'bullmq-batches: There is no Redis at redis://localhost:1: start one, or say where it is with --redis URL ' +
      'or REDIS_URL.\n',
    code: 1,
  });
  const unknown = await run('list', '--redis', 'redis://nobody.invalid');
  expect(unknown.err).toMatch(/^bullmq-batches: .*nobody\.invalid:6379[^\n]*\n$/);
  expect(unknown.code).toBe(1);

  const silent = await run('list', '--redis', `redis://${await serverThat(() => {})}`);
  expect(silent.err).toMatch(/does not answer as a Redis does \(no answer within 2 s\)[^\n]*\n$/);
  expect(silent.code).toBe(1);
});

const refusedTwice = new AggregateError([
  new Error('connect ECONNREFUSED ::1:6379'),
  new Error('connect ECONNREFUSED'),
]);

test.each([
  [refusedTwice, 'There is no Redis at redis://h:1'],
  [new Error('NOAUTH Authentication required.'), 'asks for a password'],
  [new Error('NOAUTH HELLO must be called with the client already authenticated'), 'asks for a password'],
  [new Error('WRONGPASS invalid username-password pair or user is disabled.'), 'refuses the user or the password'],
  [new Error('ERR AUTH <password> called without any password configured'), 'refuses the user or the password'],
  [Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }), 'NODE_EXTRA_CA_CERTS'],
  [Object.assign(new Error('wrong version number'), { code: 'ERR_SSL_WRONG_VERSION_NUMBER' }), 'does not speak TLS'],
  [Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }), 'whether it must be rediss:// (with TLS)'],
  [new Error('ERR DB index is out of range'), 'has no database of this number'],
  [new Error('MOVED 1 10.0.0.1:6379'), 'Redis Cluster'],
  [new Error('Unknown RESP type 72 "H". Please report this.'), 'is no Redis'],
  [new Error('Connection is closed.'), 'has closed the connection'],
  [Object.assign(new Error('connect ETIMEDOUT'), { code: 'ETIMEDOUT' }), 'does not answer'],
])('%s becomes a sentence for people', (error, sentence) => {
  expect(isOfTheConnection(error)).toBe(true);
  expect(sentenceOf(error, 'redis://h:1')).toContain(sentence);
});

test('errors of batches, and mistakes, are not taken for those of the connection', () => {
  expect(isOfTheConnection(new BatchNotFoundError('ECONNREFUSED'))).toBe(false);
  expect(isOfTheConnection(new TypeError('x is not a function'))).toBe(false);
});
