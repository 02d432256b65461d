import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { batchPage } from '../../../src/surfaces/page/index.js';
import { describe, expect, type Testbed, test } from '../../support/test.js';

/** A server on a port of its own, until the end of the test. */
async function serve(testbed: Testbed, listener: (req: IncomingMessage, res: ServerResponse) => void): Promise<string> {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  testbed.use({
    async close() {
      server.closeAllConnections();
      server.close();
    },
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function openBatch(testbed: Testbed, id = 'a/b') {
  const users = testbed.queue('users');
  const batch = await users.createBatch({ id });
  await batch.add('user', {}, { delay: 3_600_000 });
  return { users, batch };
}

const form = (origin: string, body: string, type = 'application/x-www-form-urlencoded'): RequestInit => ({
  method: 'POST',
  body,
  redirect: 'manual',
  headers: { 'Content-Type': type, Origin: origin },
});

describe('node:http', () => {
  test('shows batches, answers HEAD, and acts on a form', async ({ testbed }) => {
    const { users, batch } = await openBatch(testbed);
    const origin = await serve(testbed, batchPage(users, { allowActions: true }).handler);
    const page = await fetch(`${origin}/batches/a%2Fb`);
    expect([page.status, page.headers.get('content-security-policy')]).toEqual([200, expect.stringContaining('nonce')]);
    expect(await page.text()).toContain('href="/batches/a%2Fb/cancel"');
    const head = await fetch(`${origin}/batches`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    const done = await fetch(`${origin}/batches/a%2Fb/cancel`, form(origin, 'reason=wrong+file'));
    expect([done.status, done.headers.get('location')]).toEqual([303, '/batches/a%2Fb?done=cancel']);
    expect((await batch.status()).cancelReason).toBe('wrong file');
    expect((await fetch(`${origin}/elsewhere`)).status).toBe(404);
    expect((await fetch(`${origin}/batches/%E0%A4%A`)).status).toBe(400);
  });

  test('refuses a body that is too long before all of it has come', async ({ testbed }) => {
    const { users, batch } = await openBatch(testbed);
    const origin = await serve(testbed, batchPage(users, { allowActions: true }).handler);
    const sent = request(`${origin}/batches/a%2Fb/seal`, {
      method: 'POST',
      headers: { Origin: origin, 'Content-Length': 1_000_000 },
    });
    sent.on('error', () => {});
    sent.write('x'.repeat(20_000));
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    expect([answer.statusCode, answer.headers.connection]).toEqual([413, 'close']);
    sent.destroy();
    expect((await batch.status()).state).toBe('open');
  });

  test.for(['//evil.test/batches', 'http://evil.test/batches', '/batches?x=http://y', '*'])(
    'a request for %s is answered',
    async (path, { testbed }) => {
      const { users } = await openBatch(testbed);
      const origin = await serve(testbed, batchPage(users).handler);
      const sent = request(origin, { path });
      sent.end();
      const [answer] = (await once(sent, 'response')) as [IncomingMessage];
      answer.resume();
      expect(answer.statusCode).toBeLessThan(500);
    },
  );

  test('a method that fetch does not know is refused like others', async ({ testbed }) => {
    const { users } = await openBatch(testbed);
    const origin = await serve(testbed, batchPage(users).handler);
    const sent = request(`${origin}/batches`, { method: 'TRACE' });
    sent.end();
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    answer.resume();
    expect(answer.statusCode).toBe(405);
  });
});

describe('Express', () => {
  test.for([
    ['/batches', '/batches'],
    ['/admin/batches', '/batches'],
  ] as const)(
    'mounted at %s, with basePath %s, links lead to where it is mounted',
    async ([mount, basePath], { testbed }) => {
      const { users, batch } = await openBatch(testbed);
      const app = express();
      app.use(mount, batchPage(users, { basePath, allowActions: true }).handler);
      const origin = await serve(testbed, app);
      const list = await (await fetch(`${origin}${mount}`)).text();
      expect(list).toContain(`href="${mount}/a%2Fb"`);
      expect(await (await fetch(`${origin}${mount}/?q=a`)).text()).toContain('1 batch found');
      const done = await fetch(`${origin}${mount}/a%2Fb/seal`, form(origin, ''));
      expect([done.status, done.headers.get('location')]).toEqual([303, `${mount}/a%2Fb?done=seal`]);
      expect((await batch.status()).state).toBe('running');
    },
  );

  test('mounted in a router, it is below both', async ({ testbed }) => {
    const { users } = await openBatch(testbed);
    const router = express.Router();
    router.use(batchPage(users).handler);
    router.get('/other', (_req, res) => void res.send('other'));
    const app = express();
    app.use('/admin', router);
    const origin = await serve(testbed, app);
    expect(await (await fetch(`${origin}/admin/batches`)).text()).toContain('href="/admin/batches/a%2Fb"');
  });

  test('links to where the browser sees it, when a proxy takes a prefix away', async ({ testbed }) => {
    const { users } = await openBatch(testbed);
    const app = express();
    app.use('/x', batchPage(users, { basePath: '/proxy/batches' }).handler);
    const origin = await serve(testbed, app);
    expect(await (await fetch(`${origin}/x`)).text()).toContain('href="/proxy/batches/a%2Fb"');
    expect((await fetch(`${origin}/x/index.json`)).status).toBe(200);
  });

  test('says where it answers, when it is asked elsewhere', async ({ testbed }) => {
    const { users } = await openBatch(testbed);
    const answer = await batchPage(users).fetch(new Request('http://localhost/other'));
    expect(answer.status).toBe(404);
    expect(await answer.text()).toContain('This page answers below &#39;/batches&#39;, its basePath.');
  });

  test('hands on what is not its own', async ({ testbed }) => {
    const { users } = await openBatch(testbed);
    const app = express();
    app.use(batchPage(users).handler);
    app.get('/other', (_req, res) => void res.send('other'));
    const origin = await serve(testbed, app);
    expect(await (await fetch(`${origin}/other`)).text()).toBe('other');
    expect((await fetch(`${origin}/batches`)).status).toBe(200);
  });

  test.for([
    ['urlencoded', 'reason=wrong+file', 'application/x-www-form-urlencoded'],
    ['json', '{"reason":"wrong file"}', 'application/json'],
    ['text', 'reason=wrong+file', 'application/x-www-form-urlencoded'],
    ['raw', 'reason=wrong+file', 'application/x-www-form-urlencoded'],
    ['none that fits', 'reason=wrong+file', 'application/x-www-form-urlencoded'],
  ] as const)('takes a body that was parsed before: %s', async ([parser, body, type], { testbed }) => {
    const { users, batch } = await openBatch(testbed);
    const app = express();
    app.use(
      parser === 'urlencoded'
        ? express.urlencoded({ extended: true })
        : parser === 'text' || parser === 'raw'
          ? express[parser]({ type: '*/*' })
          : express.json(),
    );
    // What Express 4 leaves behind when no parser was meant.
    app.use((req, _res, next) => {
      req.body ??= {};
      next();
    });
    app.use('/batches', batchPage(users, { allowActions: true }).handler);
    const origin = await serve(testbed, app);
    const done = await fetch(`${origin}/batches/a%2Fb/cancel`, form(origin, body, type));
    expect(done.status).toBe(303);
    expect((await batch.status()).cancelReason).toBe('wrong file');
  });

  test('does nothing when allowActions throws, and says so', async ({ testbed }) => {
    const { users, batch } = await openBatch(testbed);
    const app = express();
    const allowActions = () => {
      throw new Error('the session store is away');
    };
    app.use('/batches', batchPage(users, { allowActions }).handler);
    const origin = await serve(testbed, app);
    const answer = await fetch(`${origin}/batches/a%2Fb/seal`, form(origin, ''));
    expect(answer.status).toBe(500);
    expect(await answer.text()).toContain('the session store is away');
    expect((await batch.status()).state).toBe('open');
  });
});
