import { UnrecoverableError } from 'bullmq';
import { batchPage } from '../../../src/surfaces/page/index.js';
import { cutConnection } from '../../support/cut-connection.js';
import { type AnyJob, describe, eventually, expect, gate, type Testbed, test } from '../../support/test.js';

const HOST = 'http://admin.test';
const SAME_ORIGIN = { 'Sec-Fetch-Site': 'same-origin' };
/** Everybody may act who asks for the page as `HOST`. */
const OPEN_TO_ALL = { allowActions: true, allowedHosts: ['admin.test'] };

/** Asks a page as a browser would; `json` and `text` of the answer come with it. */
function visitor(page: ReturnType<typeof batchPage>) {
  return async (path: string, init: RequestInit = {}) => {
    const response = await page.fetch(new Request(`${HOST}${path}`, init));
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) };
  };
}

function failingWorker(testbed: Testbed) {
  testbed.worker(
    'users',
    async (job: AnyJob) => {
      if (job.data?.fail !== undefined) throw new UnrecoverableError(job.data.fail);
    },
    { concurrency: 20 },
  );
}

const post = (body = '', headers: Record<string, string> = SAME_ORIGIN): RequestInit => ({
  method: 'POST',
  body,
  headers: { 'Content-Type': 'application/x-www-form-urlencoded', ...headers },
});

describe('the list', () => {
  test('shows the newest batches of each state with their counts', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    expect((await visit('/batches')).text).toContain('There are no batches yet');
    const batch = await users.createBatch({ description: 'Import of November' });
    await batch.addBulk([{ name: 'a', data: {} }]);
    const { status, text } = await visit('/batches/');
    expect(status).toBe(200);
    expect(text).toContain('Import of November');
    expect(text).toContain(`href="/batches/${batch.id}"`);
    expect(text).toContain('0 of 1 settled');
    expect((await visit('/batches/index.json')).json()).toMatchObject({
      kind: 'overview',
      counts: { open: 1, running: 0, succeeded: 0, failed: 0 },
      sections: [{ state: 'running' }, { state: 'open', batches: [{ id: batch.id, state: 'open', total: 1 }] }, {}, {}],
    });
  });

  test('shows the progress of all jobs below a batch with child batches, as its own page does', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    const { opened, open } = gate();
    testbed.worker(
      'users',
      async ({ data: { name } }: AnyJob) => {
        if (name === 'bad') throw new UnrecoverableError('no');
        await (name === 'slow' ? opened : undefined);
      },
      { concurrency: 20 },
    );
    testbed.batchWorker({ reconcileInterval: 50 });
    const year = await users.createBatch({ id: 'year', description: 'The year' });
    const month = await year.createBatch({ id: 'month', description: 'The month' });
    await month.addBulk(['good', 'good', 'bad', 'slow', 'slow'].map((name) => ({ name: 'row', data: { name } })));
    for (const batch of [month, year]) await batch.seal();
    const said = 'aria-label="Progress of The year" aria-valuemin="0" aria-valuemax="100"';
    await eventually(async () => {
      const { text } = await visit('/batches');
      expect(text.replaceAll(/\s+/g, ' ')).toContain(
        `${said} aria-valuenow="60" aria-valuetext="60 %, 3 of 5 settled, 1 failed"`,
      );
      expect(text).toContain('class="percent">60 %');
      return true;
    });
    const { text } = await visit('/batches');
    expect(text).toContain('<td role="cell" class="members">0 of 1 settled');
    expect((await visit('/batches/year')).text).toContain('</span>60 %</h2>');
    open();
    await year.waitUntilFinished();
    await eventually(async () => {
      const { text: finished } = await visit('/batches');
      expect(finished.replaceAll(/\s+/g, ' ')).toContain(
        `${said} aria-valuenow="100" aria-valuetext="100 %, 5 of 5 settled, 1 failed"`,
      );
      return true;
    });
  });

  test('goes through one state page by page, and each batch is on one of them', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    for (let i = 0; i < 30; i++) {
      await users.createBatch({ id: `batch-${i}` });
    }
    const first = (await visit('/batches/index.json?state=open')).json();
    const second = (await visit('/batches/index.json?state=open&page=2')).json();
    expect([first.batches.length, first.hasMore, second.batches.length, second.hasMore]).toEqual([25, true, 5, false]);
    expect(new Set([...first.batches, ...second.batches].map(({ id }) => id)).size).toBe(30);
    const html = (await visit('/batches?state=open')).text;
    expect(html).toContain('href="/batches?state=open&amp;page=2"');
    expect((await visit('/batches?state=open&page=9')).text).toContain('There are no more batches');
  });

  test('finds batches by a part of their description or id, in any case, and by their whole id', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    await users.createBatch({ id: 'acme-1', description: 'Kunden für Zürich' });
    await users.createBatch({ id: 'other' });
    const found = async (q: string, more = '') =>
      (await visit(`/batches/index.json?q=${encodeURIComponent(q)}${more}`)).json();
    expect((await found('ZÜR')).batches).toMatchObject([{ id: 'acme-1' }]);
    expect((await found('CME')).batches).toMatchObject([{ id: 'acme-1' }]);
    expect((await found('other')).batches).toMatchObject([{ id: 'other' }]);
    expect(await found('nothing like this')).toMatchObject({ batches: [], found: 0, examined: 2, complete: true });
    expect((await found('acme', '&state=failed')).found).toBe(0);
    expect((await visit('/batches?q=%3Cb%3E')).text).toContain('For “<bdi>&lt;b&gt;</bdi>”');
  });

  test('shows child batches below their parent, also where only the children are in a state', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    const upload = await users.createBatch({ id: 'upload', description: 'Import of ACME' });
    const middle = await upload.createBatch({ id: 'middle', description: 'Germany' });
    const leaf = await middle.createBatch({ id: 'leaf', description: 'Users of Berlin' });
    await leaf.add('user', {}, { delay: 3_600_000 });
    await leaf.seal();
    testbed.batchWorker();
    // A batch is in no list for a moment while its BatchWorker takes it from one to the next.
    const sections = await eventually(async () => {
      const list = (await visit('/batches/index.json')).json();
      return list.sections[0].batches.length === 1 ? list.sections : undefined;
    });
    expect(sections[0]).toMatchObject({
      state: 'running',
      count: 1,
      batches: [{ id: 'leaf' }],
      parents: [{ id: 'upload' }, { id: 'middle' }],
    });
    expect(sections[1]).toMatchObject({ batches: [{ id: 'middle' }, { id: 'upload' }], parents: [] });
    const { text } = await visit('/batches?state=running');
    const order = ['upload', 'below upload', 'middle', 'below middle', 'leaf'];
    expect(text.match(/(?<=<tr [^>]*data-key=")[^"]+/g)).toEqual(order);
    expect(text).toContain('<summary>1 running child batch<');
    expect((await visit('/batches/leaf')).text).toMatch(
      /aria-label="Breadcrumb".*\/upload"><bdi>Import of ACME<.*\/middle"><bdi>Germany<\/bdi><\/a><\/nav>/,
    );
    const hit = (await visit('/batches?q=Berlin')).text;
    expect(hit).toContain('child of <a href="/batches/middle"><bdi>Germany</bdi></a>');
  });

  test('shows the other batches too when the newest ones are all children of one', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    await users.createBatch({ id: 'mailing' });
    const upload = await users.createBatch({ id: 'upload' });
    await Promise.all(Array.from({ length: 60 }, (_, i) => upload.createBatch({ id: `part-${i}` })));
    const open = (await visit('/batches/index.json')).json().sections[1];
    expect(open.batches.length).toBe(12);
    expect(open.batches.map(({ id }: { id: string }) => id)).toEqual(expect.arrayContaining(['mailing', 'upload']));
    expect(open.notShown).toEqual({ upload: 50 });
    const { text } = await visit('/batches');
    expect(text).toContain('<summary>60 open child batches<');
    expect(text).toContain('<a href="/batches/upload">At least 50 more</a>');
  });

  test('shows tags and metadata, and finds batches by a tag', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    await users.createBatch({ id: 'tagged', tags: ['acme', '<vip>'], metadata: { order: '<7>' } });
    await users.createBatch({ id: 'other' });
    const list = (await visit('/batches')).text;
    expect(list).toContain('<a href="/batches?q=%3Cvip%3E"><bdi>&lt;vip&gt;</bdi></a>');
    const { text } = await visit('/batches/tagged');
    expect(text).toContain('<a href="/batches?q=acme"><bdi>acme</bdi></a>');
    expect(text).toContain('&quot;order&quot;: &quot;&lt;7&gt;&quot;');
    expect((await visit('/batches/other')).text).not.toContain('Metadata');
    expect((await visit('/batches/index.json?q=ACME')).json()).toMatchObject({ batches: [{ id: 'tagged' }], found: 1 });
  });

  test('a search without hits says what was looked at', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    for (const description of ['October', 'November', 'December']) {
      await users.createBatch({ description });
    }
    expect((await visit('/batches?q=Januar')).text).toContain(
      'The descriptions, ids and tags of all 3 batches were looked at, for these characters in this order; ' +
        'a whole id finds its batch in any state.',
    );
    expect((await visit('/batches?q=Januar&state=open')).text).toContain('all 3 batches were looked at');
    expect((await visit('/batches?q=ember')).text).not.toContain('were looked at');
  });

  test('refuses a state that there is none, and takes a page that is none for the first', async ({ testbed }) => {
    const visit = visitor(batchPage(testbed.queue('users')));
    const { status, text } = await visit('/batches?state=<dead>');
    expect(status).toBe(400);
    expect(text).toContain('&lt;dead&gt;');
    expect((await visit('/batches?state=open&page=-1')).status).toBe(200);
    expect((await visit('/batches?state=open&page=1e99')).status).toBe(200);
  });
});

describe('ids that users choose', () => {
  const IDS = [
    'a/b',
    '..',
    '.',
    'index',
    'index.json',
    'report.json',
    '100%',
    '50%2F',
    'a?b=c#d',
    'ü ✓',
    '-',
    'x\\y',
    '"><b>',
  ];

  test.for(IDS)('%s has a page, its JSON, and a link in the list that leads there', async (id, { testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    await users.createBatch({ id });
    const [, href = ''] = /class="name"><a href="([^"]+)"/.exec((await visit('/batches')).text) ?? [];
    const page = await visit(href.replaceAll('&amp;', '&'));
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toContain('text/html');
    expect((await visit(`${href}.json`)).json()).toMatchObject({ id });
    expect((await visit(`${href}/failures.json`)).json()).toMatchObject({ failures: [] });
    expect((await visit(`${href}/tree.json`)).json()).toMatchObject({ id, children: [] });
    expect((await visit(`${href}/explain.json`)).json()).toMatchObject({ id, state: 'open' });
  });

  test('an id that ends in .json is found as it was typed, unless it is the JSON of another batch', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    await users.createBatch({ id: 'report.json', description: 'the one with the dot' });
    expect((await visit('/batches/report.json')).text).toContain('the one with the dot');
    await users.createBatch({ id: 'report' });
    expect((await visit('/batches/report.json')).json()).toMatchObject({ id: 'report' });
  });
});

describe('one batch', () => {
  test('shows numbers, callbacks, what holds it, and the batches below with their jobs added up', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    const batch = await users.createBatch({ id: 'acme', description: 'ACME', on: { complete: { name: 'report' } } });
    const child = await batch.createBatch({ id: 'berlin', description: 'Berlin' });
    await child.addBulk(Array.from({ length: 7 }, () => ({ name: 'user', data: {} })));
    await batch.add('close', {});
    const { text } = await visit('/batches/acme');
    expect(text).toContain('aria-valuetext="0 %, 0 of 8 settled"');
    expect(text).toMatch(/<dt>Members<\/dt><dd>0 of 2 settled/);
    expect(text).toContain('0 of 8 jobs settled');
    expect(text).toContain('href="/batches/berlin"');
    expect(text).toContain('0 of 7 jobs');
    expect(text).toContain('What holds it');
    expect(text).toContain('No BatchWorker is running');
    expect(text).toContain('<bdi>1 child batch is not sealed, e.g. Berlin (berlin).');
    await child.seal();
    const running = (await visitor(batchPage(users))('/batches/acme')).text;
    expect(running).toContain('<bdi>1 child batch is running, e.g. Berlin (berlin).</bdi>');
    expect(running).toContain('Look at <a href="/batches/berlin">');
    expect(text).toMatch(/<b>complete<\/b> <span>job <b><bdi>report<\/bdi><\/b>/);
    expect((await visit('/batches/berlin')).text).toContain('href="/batches/acme"');
    expect((await visit('/batches/acme.json')).json()).toEqual(JSON.parse(JSON.stringify(await batch.status())));
    expect((await visit('/batches/acme/tree.json')).json()).toMatchObject({ jobs: { total: 8 } });
  });

  test('shows a part of a tree that is too wide or too deep to read, and says so', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    const wide = await users.createBatch({ id: 'wide' });
    await Promise.all(Array.from({ length: 510 }, (_, i) => wide.createBatch({ id: `part-${i}` })));
    const { text } = await visit('/batches/wide');
    expect(text).toContain('500 of 510 batches below this one are shown');
    expect(text.match(/<li data-key="part-/g)).toHaveLength(500);
    let deep = await users.createBatch({ id: 'deep' });
    for (let level = 1; level <= 20; level++) {
      deep = await deep.createBatch({ id: `level-${level}` });
    }
    const below = (await visit('/batches/deep')).text;
    expect(below).toContain('12 of 20 batches below this one are shown');
    expect(below).toContain('<a href="/batches/level-12">1 more child batch</a>');
  });

  test('names a late callback that has failed, although the batch has succeeded', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    testbed.batchWorker();
    failingWorker(testbed);
    const batch = await users.addBatch({ id: 'done' }, [{ name: 'user', data: {} }]);
    await batch.waitUntilFinished(10_000);
    expect((await visit('/batches/done')).text).not.toContain('What failed afterwards');
    await batch.on('success', { name: 'report', data: { fail: 'no printer' } });
    await eventually(async () => (await batch.status()).callbacks[0]?.state === 'failed');
    const { text } = await visit('/batches/done');
    expect(text).toContain('What failed afterwards');
    expect(text).toContain(
      'its late success callback &#39;report&#39; in queue &#39;users&#39; has failed: no printer.',
    );
  });

  test('shows the first failures, and pages through all of them', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    testbed.batchWorker();
    failingWorker(testbed);
    const jobs = Array.from({ length: 700 }, (_, row) => ({ name: 'row', data: { row, fail: 'no e-mail' } }));
    const batch = await users.addBatch({ id: 'rows' }, jobs);
    await batch.waitUntilFinished(20_000);
    const { text } = await visit('/batches/rows');
    expect(text).toContain('700 of 700 members failed');
    expect(text).toContain('<summary><b>700</b> <bdi>no e-mail</bdi></summary>');
    expect(text).toContain('All 700 failures');
    const rows = new Set<string>();
    let pages = 0;
    for (let href: string | undefined = '/batches/rows/failures'; href !== undefined; pages++) {
      const page = await visit(href);
      for (const [, row = ''] of page.text.matchAll(/&quot;row&quot;: (\d+)/g)) {
        rows.add(row);
      }
      href = /rel="next" href="([^"]+)"/.exec(page.text)?.[1];
    }
    expect(rows.size).toBe(700);
    expect(pages).toBeGreaterThan(10);
  });

  test('groups failures by reason, and lists those with one', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    testbed.batchWorker();
    failingWorker(testbed);
    const reason = (row: number) => (row % 4 === 0 ? 'name is <b>missing</b>' : `duplicate of row ${row}`);
    const jobs = Array.from({ length: 40 }, (_, row) => ({ name: 'row', data: { row, fail: reason(row) } }));
    const batch = await users.addBatch({ id: 'rows' }, jobs);
    await batch.waitUntilFinished(20_000);
    const { text } = await visit('/batches/rows');
    expect(text).toContain('<summary><b>30</b> <bdi>duplicate of row …</bdi></summary>');
    expect(text).toContain('<summary><b>10</b> <bdi>name is &lt;b&gt;missing&lt;/b&gt;</bdi></summary>');
    const [, href = ''] = /data-rows="([^"]+duplicate[^"]+)"/.exec(text) ?? [];
    const pages = [await visit(href.replaceAll('&amp;', '&'))];
    for (let next: string | undefined; ; ) {
      next = /rel="next" href="([^"]+)"/.exec(pages.at(-1)?.text ?? '')?.[1];
      if (next === undefined) break;
      pages.push(await visit(next.replaceAll('&amp;', '&')));
    }
    const rows = pages.flatMap((page) => page.text.match(/<pre class="reason"><bdi>[^<]+/g) ?? []);
    expect(new Set(rows).size).toBe(30);
    expect(rows.every((row) => row.includes('duplicate of row'))).toBe(true);
    expect((await visit('/batches/rows/reasons.json')).json()).toMatchObject({
      reasons: [{ reason: 'duplicate of row …', count: 30 }, { count: 10 }],
      examined: 40,
      complete: true,
    });
    expect((await visit('/batches/rows/failures?reason=none+such')).text).toContain(
      'There are no more failures with this reason.',
    );
  });

  test('groups the failed jobs of child batches by reason, with the batches that have them', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    testbed.batchWorker();
    failingWorker(testbed);
    const upload = await users.createBatch({ id: 'upload' });
    for (const [name, count] of [
      ['Berlin', 4],
      ['Hamburg', 9],
    ] as const) {
      const child = await upload.createBatch({ id: name, description: `Users of ${name}` });
      await child.addBulk(
        Array.from({ length: count }, (_, row) => ({ name: 'row', data: { fail: `duplicate of row ${row}` } })),
      );
      await child.add('row', { fail: 'name is missing' });
      await child.seal();
    }
    await upload.seal();
    await upload.waitUntilFinished(20_000);
    const { text } = await visit('/batches/upload');
    expect(text).toContain('Failed jobs <span class="count">15</span>');
    expect(text).toContain('Failed members <span class="count">2</span>');
    expect(text).toContain('<summary><b>13</b> <bdi>duplicate of row …</bdi></summary>');
    expect(text.match(/(?<=reason=)[^"]+">\d+ in <bdi>[^<]+/g)).toEqual([
      'duplicate+of+row+%E2%80%A6">9 in <bdi>Users of Hamburg',
      'duplicate+of+row+%E2%80%A6">4 in <bdi>Users of Berlin',
      'name+is+missing">1 in <bdi>Users of Hamburg',
      'name+is+missing">1 in <bdi>Users of Berlin',
    ]);
    expect(text).not.toContain('in a sample of');
  });

  test('keeps pages of failures with much data small, and says what is not shown', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    testbed.batchWorker();
    failingWorker(testbed);
    const data = { fail: 'x'.repeat(50_000), text: 'y'.repeat(100_000) };
    const batch = await users.addBatch(
      { id: 'rows' },
      Array.from({ length: 60 }, () => ({ name: 'row', data })),
    );
    await batch.waitUntilFinished(20_000);
    const { text } = await visit('/batches/rows/failures');
    expect(text).toContain('18,000 more characters');
    expect(text).toMatch(/[\d,]+ characters are not shown here/);
    expect(text.length).toBeLessThan(1_500_000);
  });

  test.for([
    ['/batches/nope', 404, 'There is no batch'],
    ['/batches/nope.json', 404, 'There is no batch'],
    ['/batches/nope/failures', 404, 'There is no batch'],
    ['/batches/nope/cancel', 404, 'There is no batch'],
    ['/batches/open/what', 404, 'There is no page'],
    ['/batches/open/tree', 404, 'There is no page'],
    ['/batches/open/cancel/now', 404, 'There is no page'],
    ['/batches//failures', 404, 'There is no page'],
    ['/batchesopen', 404, 'This page answers below'],
    ['/elsewhere', 404, 'This page answers below'],
    ['/batches/%E0%A4%A', 400, 'percent-encoded'],
    ['/batches/%zz/failures', 400, 'percent-encoded'],
    ['/batches/open/failures?cursor=1;DROP', 400, 'cursor must be'],
    ['/batches/open/failures?cursor=99999999999999999999', 400, 'cursor must be'],
    ['/batches/open/retry', 409, 'only one that is failed can be retried'],
  ] as const)('%s is answered %i', async ([path, status, sentence], { testbed }) => {
    const users = testbed.queue('users');
    await users.createBatch({ id: 'open' });
    const answer = await visitor(batchPage(users, OPEN_TO_ALL))(path);
    expect(answer.status).toBe(status);
    expect(answer.text).toContain(sentence);
  });

  test('HEAD has no body, and other methods are refused with those that are possible', async ({ testbed }) => {
    const users = testbed.queue('users');
    await users.createBatch({ id: 'open' });
    const visit = visitor(batchPage(users, OPEN_TO_ALL));
    expect(await visit('/batches/open', { method: 'HEAD' })).toMatchObject({ status: 200, text: '' });
    const refused = await visit('/batches/open', { method: 'POST' });
    expect([refused.status, refused.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    const action = await visit('/batches/open/seal', { method: 'DELETE' });
    expect([action.status, action.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST']);
    expect((await users.getBatch('open').then((batch) => batch.status())).state).toBe('open');
  });

  test('a Redis that does not answer is told after a bounded time', async ({ testbed }) => {
    const cut = testbed.use(await cutConnection(testbed.connection));
    const users = testbed.queue('users', { connection: cut.connection });
    users.on('error', () => {});
    await users.createBatch({ id: 'open' });
    const visit = visitor(batchPage(users, OPEN_TO_ALL));
    cut.lose('command');
    const answers = await Promise.all([
      visit('/batches'),
      visit('/batches/open.json'),
      visit('/batches/open/seal', post()),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([503, 503, 503]);
    expect(answers[0]?.text).toContain('Redis does not answer');
    expect(answers[1]?.json().error).toContain('Redis');
    expect(answers[2]?.text).toContain('Nothing was done.');
    cut.lose(undefined);
    await eventually(async () => (await visit('/batches/open')).status === 200);
  });
});

describe('actions', () => {
  async function openBatch(testbed: Testbed, options: Parameters<typeof batchPage>[1]) {
    const users = testbed.queue('users');
    const batch = await users.createBatch({ id: 'open', description: 'Open one' });
    await batch.add('user', {}, { delay: 3_600_000 });
    return { batch, visit: visitor(batchPage(users, options)) };
  }

  test('are neither offered nor done unless they are allowed', async ({ testbed }) => {
    const { batch, visit } = await openBatch(testbed, {});
    expect((await visit('/batches/open')).text).not.toMatch(/<form class="card|\/open\/(cancel|seal|retry)"/);
    expect((await visit('/batches/open/cancel')).status).toBe(403);
    expect(await visit('/batches/open/cancel', post())).toMatchObject({ status: 403 });
    expect((await batch.status()).state).toBe('open');
  });

  test('are allowed request by request', async ({ testbed }) => {
    const { batch, visit } = await openBatch(testbed, {
      allowActions: async (request) => request.headers.get('cookie') === 'role=admin',
    });
    const admin = { cookie: 'role=admin' };
    expect((await visit('/batches/open')).text).not.toContain('/open/seal');
    expect((await visit('/batches/open', { headers: admin })).text).toContain('href="/batches/open/seal"');
    expect((await visit('/batches/open/seal', post('', SAME_ORIGIN))).status).toBe(403);
    expect((await visit('/batches/open/seal', post('', { ...SAME_ORIGIN, ...admin }))).status).toBe(303);
    expect((await batch.status()).state).toBe('running');
  });

  test('are only allowed by true, not by anything that is like it', async ({ testbed }) => {
    const { visit } = await openBatch(testbed, { allowActions: (() => 'no') as never });
    expect((await visit('/batches/open/seal', post())).status).toBe(403);
  });

  test('are asked about first, and said when they are done', async ({ testbed }) => {
    const { batch, visit } = await openBatch(testbed, OPEN_TO_ALL);
    const question = (await visit('/batches/open/cancel')).text;
    expect(question).toContain('Cancel this batch?');
    expect(question).toContain('1 member is pending');
    expect(question).toMatch(/<form [^>]*method="post" action="\/batches\/open\/cancel"/);
    expect((await batch.status()).state).toBe('open');
    const done = await visit('/batches/open/cancel', post('reason=wrong+file+%3Cb%3E'));
    expect(done.status).toBe(303);
    const location = done.headers.get('location') ?? '';
    expect(location).toBe('/batches/open?done=cancel');
    const after = (await visit(location)).text;
    expect(after).toContain('The batch is cancelled');
    expect(after).toContain('wrong file &lt;b&gt;');
    expect(await batch.status()).toMatchObject({ cancelled: 1, cancelReason: 'wrong file <b>' });
  });

  test('are refused by the batch with a sentence, and change nothing', async ({ testbed }) => {
    const { batch, visit } = await openBatch(testbed, OPEN_TO_ALL);
    const refused = await visit('/batches/open/retry', post());
    expect(refused.status).toBe(409);
    expect(refused.text).toContain('This batch is open: only one that is failed can be retried');
    await visit('/batches/open/seal', post());
    expect(
      (await visit('/batches/open/seal', post('', { ...SAME_ORIGIN, accept: 'application/json' }))).json(),
    ).toEqual({
      error: 'This batch is running: only one that is open can be sealed. Nothing was done.',
    });
    expect((await batch.status()).state).toBe('running');
  });

  test('retry runs again what has failed, and says how many jobs', async ({ testbed }) => {
    const users = testbed.queue('users');
    testbed.batchWorker();
    let isUp = false;
    testbed.worker('users', async () => {
      if (!isUp) throw new UnrecoverableError('down');
    });
    const batch = await users.addBatch(
      { id: 'two' },
      [1, 2].map((n) => ({ name: 'n', data: n })),
    );
    await batch.waitUntilFinished(10_000);
    const visit = visitor(batchPage(users, OPEN_TO_ALL));
    const page = (await visit('/batches/two')).text;
    expect(page).toContain('href="/batches/two/retry"');
    expect(page).not.toMatch(/\/two\/(cancel|seal)"/);
    isUp = true;
    const headers = { ...SAME_ORIGIN, accept: 'application/json' };
    expect((await visit('/batches/two/retry', post('', headers))).json()).toMatchObject({ jobs: 2, action: 'retry' });
    expect(await batch.waitUntilFinished(10_000)).toMatchObject({ state: 'succeeded', recovered: true });
    expect((await visit('/batches/two?done=retry&jobs=2')).text).toContain('2 jobs run again.');
  });

  test.for([
    [{ 'Sec-Fetch-Site': 'same-origin' }, 303],
    [{ Origin: HOST }, 303],
    [{ Origin: 'https://admin.test' }, 303],
    [{ Origin: 'http://ADMIN.test' }, 303],
    [{}, 403],
    [{ Referer: `${HOST}/batches/open` }, 403],
    [{ 'Sec-Fetch-Site': 'none' }, 403],
    [{ 'Sec-Fetch-Site': 'cross-site', Origin: HOST }, 403],
    [{ 'Sec-Fetch-Site': 'same-site', Origin: HOST }, 403],
    [{ Origin: 'null' }, 403],
    [{ Origin: 'http://evil.test' }, 403],
    [{ Origin: 'http://admin.test.evil.test' }, 403],
    [{ Origin: 'http://evil.test', Host: 'evil.test' }, 403],
    [{ Origin: 'ftp://admin.test' }, 403],
    [{ Origin: 'ws://admin.test' }, 403],
    [{ Origin: 'http://admin.test:8080' }, 403],
    [{ Origin: 'http://evil.test', 'X-Forwarded-Host': 'evil.test' }, 403],
  ] as const)('with the headers %j a POST is answered %i', async ([headers, status], { testbed }) => {
    const { batch, visit } = await openBatch(testbed, OPEN_TO_ALL);
    const answer = await visit('/batches/open/seal', post('', headers as Record<string, string>));
    expect(answer.status).toBe(status);
    expect((await batch.status()).state).toBe(status === 303 ? 'running' : 'open');
    expect(status === 403 && !answer.text.includes('was refused')).toBe(false);
  });

  // A site whose name was made to point here (DNS rebinding) is of one origin with the page, for us as for the browser.
  test.for([
    ['evil.test', undefined, 403],
    ['evil.test', ['admin.test'], 403],
    ['admin.test.evil.test', ['admin.test'], 403],
    ['evil.test#admin.test', ['admin.test'], 403],
    ['admin.test:8080', ['admin.test:8443'], 403],
    ['admin.test', ['admin.test:8443'], 403],
    ['localhost.evil.test:80', undefined, 403],
    ['localhost', undefined, 303],
    ['LOCALHOST:3000', undefined, 303],
    ['127.0.0.1:3000', undefined, 303],
    ['[::1]:3000', undefined, 303],
    ['localhost:3000', ['admin.test'], 303],
    ['admin.test', ['admin.test'], 303],
    ['Admin.Test:8080', ['ADMIN.test'], 303],
    ['admin.test:8443', ['other.test', 'admin.test:8443'], 303],
    ['admin.test', ['admin.test:443'], 303],
    ['xn--bro-hoa.test', ['büro.test'], 303],
  ] as const)(
    'asked for as %s, with allowedHosts %j, a POST is answered %i',
    async ([host, allowedHosts, status], { testbed }) => {
      const { batch, visit } = await openBatch(testbed, { allowActions: true, allowedHosts });
      const headers = { Host: host, ...SAME_ORIGIN };
      const answer = await visit('/batches/open/seal', post('', headers));
      expect(answer.status).toBe(status);
      expect((await batch.status()).state).toBe(status === 303 ? 'running' : 'open');
      if (status === 403) {
        expect(answer.text).toContain(`adds &#39;${host}&#39; to the option allowedHosts of batchPage()`);
        expect((await visit('/batches/open/seal', { headers })).status).toBe(403);
        expect((await visit('/batches/open', { headers })).status).toBe(200);
      }
    },
  );

  test('a function decides by itself, whatever the host', async ({ testbed }) => {
    const { batch, visit } = await openBatch(testbed, { allowActions: () => true });
    expect((await visit('/batches/open/seal', post('', { Host: 'any.test', Origin: 'http://any.test' }))).status).toBe(
      303,
    );
    expect((await batch.status()).state).toBe('running');
  });

  test('take a form or JSON of a sane size, and nothing else', async ({ testbed }) => {
    const { batch, visit } = await openBatch(testbed, OPEN_TO_ALL);
    const json = { ...SAME_ORIGIN, 'Content-Type': 'application/json' };
    expect((await visit('/batches/open/cancel', post(`reason=${'x'.repeat(11_000)}`))).status).toBe(413);
    expect((await visit('/batches/open/cancel', post('{"reason":', json))).status).toBe(400);
    expect((await visit('/batches/open/cancel', post('17', json))).status).toBe(400);
    expect((await batch.status()).state).toBe('open');
    expect((await visit('/batches/open/cancel', post('{"reason":"late"}', json))).status).toBe(303);
    expect((await batch.status()).cancelReason).toBe('late');
  });
});

describe('what a job says is never markup', () => {
  const EVIL =
    `</script><script>alert(1)</script><img src=x onerror=alert(1)>" ` + `onmouseover='alert(1)' javascript:alert(1)`;

  test('in descriptions, ids, reasons, data, names and queries', async ({ testbed }) => {
    const users = testbed.queue('users');
    const evilQueue = 'q"><script>alert(1)</script>';
    const other = testbed.queue(evilQueue);
    testbed.batchWorker();
    failingWorker(testbed);
    const id = `<script>alert(1)</script>"'`;
    const on = { complete: { name: EVIL, queue: other } };
    const batch = await users.createBatch({ id, description: EVIL, on });
    await batch.addBulk([
      { name: EVIL, data: { fail: EVIL, [EVIL]: EVIL }, opts: { jobId: `<b>${EVIL}`.replaceAll(':', '') } },
    ]);
    await batch.add('job', {}, { delay: 3_600_000 });
    await batch.createBatch({ description: EVIL });
    await eventually(async () => (await batch.status()).failed === 1);
    const visit = visitor(batchPage(users, { ...OPEN_TO_ALL, title: EVIL }));
    const path = `/batches/${encodeURIComponent(id)}`;
    for (const address of [
      '/batches',
      `/batches?q=${encodeURIComponent(EVIL)}`,
      `/batches?state=${encodeURIComponent(EVIL)}`,
      path,
      `${path}?done=${encodeURIComponent(EVIL)}`,
      `${path}/failures`,
      `${path}/failures?cursor=${encodeURIComponent(EVIL)}`,
      `${path}/cancel`,
      `/batches/${encodeURIComponent(EVIL)}`,
    ]) {
      const { text } = await visit(address);
      // What is left without our own style and script holds no other, and no attribute that a browser would run.
      const markup = text.replace(/<(style|script) nonce="\w+">.*?<\/\1>/gs, '');
      expect(markup).not.toMatch(/<script|<img|<\/script/i);
      expect(markup.replace(/"[^"]*"/g, '""')).not.toMatch(/<[^>]*\son\w+=/i);
      expect(markup).not.toMatch(/href="(?!\/batches|#main|data:image\/svg)/i);
      expect(text).toContain('&lt;script&gt;');
    }
  });

  test('every answer forbids what it does not need, with a nonce of its own', async ({ testbed }) => {
    const users = testbed.queue('users');
    const visit = visitor(batchPage(users));
    const [page, again, json] = await Promise.all(
      ['/batches', '/batches', '/batches/index.json'].map((path) => visit(path)),
    );
    for (const answer of [page, json]) {
      expect(answer?.headers.get('content-security-policy')).toContain(`default-src 'none'`);
      expect(answer?.headers.get('x-content-type-options')).toBe('nosniff');
      expect(answer?.headers.get('referrer-policy')).toBe('same-origin');
      expect(answer?.headers.get('cache-control')).toBe('no-store');
    }
    const policy = page?.headers.get('content-security-policy') ?? '';
    const [, nonce] = /script-src 'nonce-(\w+)'/.exec(policy) ?? [];
    expect(page?.text).toContain(`<script nonce="${nonce}">`);
    expect(policy).not.toContain('unsafe');
    expect(again?.headers.get('content-security-policy')).not.toBe(policy);
  });

  test('a crafted link cannot put words on the page', async ({ testbed }) => {
    const users = testbed.queue('users');
    await users.createBatch({ id: 'open' });
    const visit = visitor(batchPage(users));
    for (const query of ['done=Your+account', 'done=constructor', 'begun=toString', 'done=retry&jobs=all+your']) {
      expect((await visit(`/batches/open?${query}`)).text).not.toMatch(/Your account|all your|native code/);
    }
  });
});

describe('options', () => {
  test.for([
    [{ basePath: 'batches' }, 'begins with'],
    [{ basePath: '//evil.test' }, 'begins with'],
    [{ basePath: '/a?b' }, 'begins with'],
    [{ title: '' }, 'title must be'],
    [{ allowActions: 'yes' }, 'allowActions must be'],
    [{ allowedHosts: 'admin.test' }, 'allowedHosts must be a list'],
    [{ allowedHosts: [''] }, 'allowedHosts holds host names'],
    [{ allowedHosts: ['*.example.com'] }, 'allowedHosts holds host names'],
    [{ allowedHosts: ['https://admin.test'] }, 'allowedHosts holds host names'],
    [{ allowedHosts: ['admin.test/batches'] }, 'allowedHosts holds host names'],
    [{ allowedHosts: ['admin.test:x'] }, 'allowedHosts holds host names'],
    [{ allowedHosts: [7] }, 'allowedHosts holds host names'],
    [{ allowedHosts: ['admin.test'], allowActions: () => true }, 'A function decides by itself'],
    [{ basepath: '/x' }, "no option 'basepath'"],
  ] as const)('%j is refused', ([options, sentence], { testbed }) => {
    const users = testbed.queue('users');
    expect(() => batchPage(users, options as never)).toThrow(sentence);
  });

  test.for(['', '/', '/admin/batches', '/admin/batches/', '/büro'])(
    'basePath %j is where the links lead',
    async (basePath, { testbed }) => {
      const users = testbed.plainQueue('users');
      const visit = visitor(batchPage(users, { basePath, title: 'Imports' }));
      const base = new URL(basePath, HOST).pathname.replace(/\/$/, '');
      const { status, text } = await visit(base || '/');
      expect(status).toBe(200);
      expect(text).toContain(`<a href="${base || '/'}">Imports</a>`);
      expect((await visit(`${base}/nope`)).status).toBe(404);
    },
  );

  test('what is no queue is refused at once', () => {
    expect(() => batchPage({} as never)).toThrow('takes a BullMQ Queue');
  });
});
