import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { readSheet } from 'read-excel-file/node';
import { inject, vi } from 'vitest';
import { CustomerImport } from '../../examples/import/import.js';
import { summaryOf } from '../../examples/import/outcome.js';
import { progressDisplay } from '../../examples/import/progress.js';
import { programPath } from '../support/programs.js';
import { test as base, describe, eventually, expect, keysOf } from '../support/test.js';
import { startCli } from '../surfaces/cli/run.js';

vi.setConfig({ testTimeout: 120_000 });

const SAMPLE = fileURLToPath(new URL('../../examples/import/data/customers.csv', import.meta.url));

interface Demo {
  readonly process: ChildProcess;
  stdout(): string;
  /** Exit code and what was written, once it has ended. */
  readonly ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

interface Desk {
  /** An empty folder, in which the demo is run. */
  readonly folder: string;
  start(args: readonly string[], env?: NodeJS.ProcessEnv): Demo;
  run(...args: readonly string[]): Demo['ended'];
  /** Writes a file into another folder. */
  csv(text: string): Promise<string>;
}

const test = base.extend<{ desk: Desk }>({
  desk: async ({ testbed }, use) => {
    const root = await realpath(await mkdtemp(join(tmpdir(), 'import-demo-')));
    const folder = await mkdtemp(join(root, 'cwd-'));
    const running: Demo[] = [];
    const desk: Desk = {
      folder,
      start(args, env = {}) {
        const demo = startDemo(['--prefix', testbed.prefix, ...args], folder, {
          REDIS_URL: inject('redisUrl'),
          ...env,
        });
        running.push(demo);
        return demo;
      },
      run: (...args) => desk.start(args).ended,
      async csv(text) {
        const file = join(root, 'given.csv');
        await writeFile(file, text);
        return file;
      },
    };
    await use(desk);
    for (const demo of running) {
      demo.process.kill('SIGKILL');
      await demo.ended;
    }
    await rm(root, { recursive: true, force: true });
  },
});

function startDemo(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Demo {
  const child = spawn(process.execPath, [programPath('import-demo'), ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (part: string) => {
      said[stream] += part;
    });
  }
  const ended = once(child, 'close').then(([code]) => ({ code, ...said }));
  return { process: child, stdout: () => said.stdout, ended };
}

const lastLine = (text: string) => JSON.parse(text.trimEnd().split('\n').at(-1) ?? '');

/** The rules of the import once more, written without a look at the example. */
function expectationFor(text: string) {
  const [header = [], ...records] = cellsOf(text.replace(/^\ufeff/, ''));
  const seen = new Map<string, number>();
  const reasons = new Map<number, string>();
  const organizations = new Map<string, number>();
  records.forEach((record, i) => {
    const row = i + 2;
    const cell = (column: string) => record[header.indexOf(column)]?.trim() ?? '';
    const [organization, name, email] = [cell('organization') || '(none)', cell('name'), cell('email')];
    organizations.set(organization, (organizations.get(organization) ?? 0) + 1);
    const first = seen.get(email.toLowerCase());
    if (name === '') reasons.set(row, 'name is missing');
    else if (email === '') reasons.set(row, 'e-mail is missing');
    else if (!/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(email)) reasons.set(row, 'e-mail is malformed');
    else if (first !== undefined) reasons.set(row, `duplicate of row ${first}`);
    else seen.set(email.toLowerCase(), row);
  });
  return { rows: records.length, reasons, organizations };
}

function cellsOf(text: string): string[][] {
  const records: string[][] = [];
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y;
  let record: string[] = [];
  while (cell.lastIndex < text.length) {
    const [, quoted, plain = '', end] = cell.exec(text) ?? [];
    record.push(quoted?.replaceAll('""', '"') ?? plain);
    if (end !== ',') {
      records.push(record);
      record = [];
    }
  }
  return records;
}

async function reportAt(path: string) {
  const [success = [], errors = []] = await Promise.all([readSheet(path, 'Success'), readSheet(path, 'Errors')]);
  return { header: { success: success[0], errors: errors[0] }, success: success.slice(1), errors: errors.slice(1) };
}

describe('the committed file', () => {
  test('is imported completely, and the report says what became of every row', async ({ desk, testbed }) => {
    const expected = expectationFor(await readFile(SAMPLE, 'utf8'));
    expect(expected.rows).toBe(5000);
    expect(expected.organizations.size).toBe(12);
    expect(expected.reasons.size / expected.rows).toBeGreaterThan(0.04);
    expect(expected.reasons.size / expected.rows).toBeLessThan(0.06);

    const { code, stdout, stderr } = await desk.run('--json');

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { report, seconds, file, ...numbers } = lastLine(stdout);
    expect(numbers).toEqual({
      organizations: 12,
      users: { total: 5000, succeeded: 5000 - expected.reasons.size, failed: expected.reasons.size },
      csJobs: 12,
      callbacks: { 'finished-user-import': 12, 'finished-import': 1 },
    });
    expect(seconds).toBeGreaterThan(0);
    expect(file).toMatch(/customers\.csv$/);
    expect(await readdir(join(desk.folder, 'reports'))).toEqual([report.split('/').at(-1)]);

    const { header, success, errors } = await reportAt(report);
    expect(header.success).toEqual(['Row', 'Organization', 'Name', 'E-mail', 'Country']);
    expect(header.errors).toEqual(['Row', 'Organization', 'Name', 'E-mail', 'Country', 'Reason']);
    expect(success).toHaveLength(5000 - expected.reasons.size);
    expect(errors.map((row) => [row[0], row[5]])).toEqual([...expected.reasons]);
    const kinds = new Set(errors.map((row) => String(row[5]).replace(/\d+/, 'N')));
    expect([...kinds].sort()).toEqual([
      'duplicate of row N',
      'e-mail is malformed',
      'e-mail is missing',
      'name is missing',
    ]);
    const rowsOf = (organization: string) => [...success, ...errors].filter((row) => row[1] === organization).length;
    for (const [organization, rows] of expected.organizations) expect(rowsOf(organization), organization).toBe(rows);

    expect(await keysOf(testbed.redis, testbed.prefix)).toEqual([]);
  });

  test('has the dirt that it is there for', async () => {
    const text = await readFile(SAMPLE, 'utf8');
    expect(text.startsWith('\ufeff')).toBe(true);
    expect(text.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
    expect(text).toMatch(/"[^",\r\n]+, [^",\r\n]+"/);
    expect(text).toMatch(/"[^",\r\n]+\r\n[^",\r\n]+"/);
    for (const name of ['José', 'Zoë', '李', 'Łukasz']) expect(text).toContain(name);
    const { reasons } = expectationFor(text);
    for (const [row, reason] of reasons) {
      const [first] = reason.match(/\d+/) ?? [];
      expect(reasons.has(Number(first)), `row ${row}: ${reason}, which was not imported`).toBe(false);
    }
  });

  test('is reported in plain lines when nobody watches', async ({ desk }) => {
    const { stdout } = await desk.run();
    expect(stdout).not.toMatch(/[^\P{Cc}\n]/u);
    expect(stdout).toMatch(/^Importing .*customers\.csv: 5,000 rows, 12 organizations\n/);
    expect(stdout).toMatch(/\n\d+ %: [\d,]+ of 5,000 rows\n/);
    expect(stdout.match(/\n.+: [\d,]+ rows, [\d,]+ imported, [\d,]+ failed(?=\n)/g)).toHaveLength(12);
    expect(stdout).toMatch(/\n {2}report +reports\/import-[\dT-]+\.xlsx\n$/);
  });
});

describe('any file', () => {
  test('may have its columns in any order, quoted newlines, no organizations and duplicates', async ({ desk }) => {
    const file = await desk.csv(
      [
        'email,phone,country,name,organization',
        ' Ada@Example.com ,1,GB,"Lovelace, Ada",Acme',
        'grace@example.com,2,US,"Grace',
        'Hopper", ',
        'ada@example.COM,3,GB,Ada again,Globex',
        '',
        'no-name@example.com,4,GB,,Globex',
        'no-name@example.com,5,GB,Named after all,Acme',
        'NO-NAME@example.com,6,GB,Too late,',
        'grace@example,7,US,Grace,Globex',
        ',8,US,Grace, Globex ',
        '=1+1@example.com,9,DE,=cmd(),__proto__',
      ].join('\n'),
    );
    const report = join(desk.folder, 'deep', 'er', 'report.xlsx');

    const { code, stdout } = await desk.run(file, '--json', '--report', report);

    expect(code).toBe(0);
    expect(lastLine(stdout)).toMatchObject({
      file,
      organizations: 4,
      users: { total: 9, succeeded: 4, failed: 5 },
      csJobs: 4,
      callbacks: { 'finished-user-import': 4, 'finished-import': 1 },
      report,
    });
    const { success, errors } = await reportAt(report);
    expect(success).toEqual([
      [2, 'Acme', 'Lovelace, Ada', 'Ada@Example.com', 'GB'],
      [3, '(none)', 'Grace\nHopper', 'grace@example.com', 'US'],
      [7, 'Acme', 'Named after all', 'no-name@example.com', 'GB'],
      [11, '__proto__', '=cmd()', '=1+1@example.com', 'DE'],
    ]);
    expect(errors).toEqual([
      [4, 'Globex', 'Ada again', 'ada@example.COM', 'GB', 'duplicate of row 2'],
      [6, 'Globex', null, 'no-name@example.com', 'GB', 'name is missing'],
      [8, '(none)', 'Too late', 'NO-NAME@example.com', 'GB', 'duplicate of row 7'],
      [9, 'Globex', 'Grace', 'grace@example', 'US', 'e-mail is malformed'],
      [10, 'Globex', 'Grace', null, 'US', 'e-mail is missing'],
    ]);
  });

  test('may have no rows', async ({ desk }) => {
    const file = await desk.csv('\ufefforganization,name,email,country\r\n');
    const { code, stdout } = await desk.run(file, '--json');
    expect(code).toBe(0);
    const { report, ...numbers } = lastLine(stdout);
    expect(numbers).toMatchObject({
      organizations: 0,
      users: { total: 0, succeeded: 0, failed: 0 },
      csJobs: 0,
      callbacks: { 'finished-user-import': 0, 'finished-import': 1 },
    });
    expect(await reportAt(report)).toMatchObject({ success: [], errors: [] });
  });

  test('is imported once, however often that import is started', async ({ desk, testbed }) => {
    const file = await desk.csv('organization,name,email,country\nAcme,Ada,ada@example.com,GB\nAcme,Ada,,GB\n');
    for (const queue of ['organizations', 'users']) testbed.plainQueue(queue);
    const { connection, prefix } = testbed;
    const customers = testbed.use(new CustomerImport({ connection, prefix }));
    const start = () => customers.start('import', file, ['Acme'], join(desk.folder, 'report.xlsx'));
    const [batch] = await Promise.all([start(), start()]);
    await start();
    expect(await summaryOf(batch, customers)).toMatchObject({
      organizations: 1,
      users: { total: 2, succeeded: 1, failed: 1 },
      csJobs: 1,
      finishedUserImports: 1,
    });
    await start();
    expect(await batch.status()).toMatchObject({ state: 'succeeded', total: 3, succeeded: 3, failed: 0 });
  });
});

describe('what cannot be imported is said on stderr, with exit code 1 and nothing left behind', () => {
  const HEADER = 'organization,name,email,country\n';
  const files: readonly [what: string, text: string, message: RegExp][] = [
    ['an empty file', '', /given\.csv is empty/],
    ['a file of empty lines', '\ufeff\r\n\r\n', /given\.csv is empty/],
    [
      'a missing column',
      'organization,name,mail,country\nA,B,c@d.e,DE\n',
      /no column 'email'.* organization, name, mail/,
    ],
    ['another separator', 'organization;name;email;country\nA;B;c@d.e;DE\n', /no column 'organization'.*commas/],
    ['a column that is there twice', `email,${HEADER}`, /2 columns 'email'/],
    ['a quote that is not closed', `${HEADER}A,"B,c@d.e,DE\nA,F,g@h.i,DE\n`, /not a well-formed CSV file.*line 3/],
    ['text after a quote', `${HEADER}A,"B"x,c@d.e,DE\n`, /not a well-formed CSV file.*line 2/],
    ['a quote within a value', `${HEADER}A,B"C,c@d.e,DE\n`, /not a well-formed CSV file.*line 2/],
    ['a row that is too short', `${HEADER}A,B\n`, /not a well-formed CSV file.*line 2/],
    ['a file that is no text', 'PK\u0003\u0004\u0000\u001b[2J', /no column 'organization'/],
  ];
  for (const [what, text, message] of files) {
    test(what, async ({ desk, testbed }) => {
      const ended = await desk.run(await desk.csv(text), '--json');
      expect(ended).toMatchObject({ code: 1, stdout: '' });
      expect(ended.stderr).toMatch(message);
      expect(ended.stderr).not.toMatch(/\n {4}at |[^\P{Cc}\n]/u);
      expect(await readdir(desk.folder)).toEqual([]);
      expect(await keysOf(testbed.redis, testbed.prefix)).toEqual([]);
    });
  }

  const commands: readonly [what: string, args: readonly string[], message: RegExp][] = [
    ['a missing file', ['nowhere.csv'], /nowhere\.csv cannot be read: there is no such file/],
    ['a directory', ['.'], /is a directory, not a CSV file/],
    ['a report that is a directory', ['--report', '.'], /is a directory/],
    ['an unknown option', ['--jsn'], /Unknown option '--jsn'[\s\S]*Usage: npm run demo/],
    ['a second file', ['a.csv', 'b.csv'], /One file at a time[\s\S]*Usage: npm run demo/],
  ];
  for (const [what, args, message] of commands) {
    test(what, async ({ desk }) => {
      const ended = await desk.run(...args);
      expect(ended).toMatchObject({ code: 1, stdout: '' });
      expect(ended.stderr).toMatch(message);
      expect(ended.stderr).not.toMatch(/\n {4}at /);
      expect(await readdir(desk.folder)).toEqual([]);
    });
  }

  test('a Redis that is not there', async ({ desk }) => {
    const ended = await desk.start([], { REDIS_URL: 'redis://:secret@127.0.0.1:1' }).ended;
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toMatch(/^Redis cannot be reached at REDIS_URL: .*\n$/);
    expect(ended.stderr).not.toContain('secret');
  });

  test('a report that cannot be written, which is found out last', async ({ desk, testbed }) => {
    const file = await desk.csv(`${HEADER}A,B,c@d.e,DE\n`);
    const ended = await desk.run(file, '--report', join(file, 'report.xlsx'));
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/^The report .*report\.xlsx cannot be written: .*\n$/);
    expect(await keysOf(testbed.redis, testbed.prefix)).toEqual([]);
  });

  test('--help is not an error', async ({ desk }) => {
    const ended = await desk.run('--help');
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout).toMatch(/Usage: npm run demo/);
  });
});

describe('Ctrl-C half-way', () => {
  /** Enough rows for no machine to be done before the signal arrives. */
  const manyRows = Array.from({ length: 20_000 }, (_, i) => `Organization ${i % 3},Name,user-${i}@example.com,DE\n`);

  async function interruptedDemo(desk: Desk, env: NodeJS.ProcessEnv) {
    const file = await desk.csv(`organization,name,email,country\n${manyRows.join('')}`);
    const demo = desk.start([file], env);
    await eventually(() => / of 20,000 rows\n/.test(demo.stdout()), 60_000);
    return demo;
  }

  test('ends the demo and the Redis that was started for it', async ({ desk }) => {
    const demo = await interruptedDemo(desk, { REDIS_URL: undefined, TMPDIR: desk.folder });
    const [{ folder, port } = { folder: '', port: 0 }, ...others] = await privateServersIn(desk.folder);
    expect(others).toEqual([]);
    expect(await readdir(desk.folder)).toContain(folder);
    expect(await answers(port)).toBe(true);

    demo.process.kill('SIGINT');

    expect(await demo.ended).toMatchObject({ code: 130, stderr: 'Interrupted; there is no report.\n' });
    // The program waits for the end of its server. That is how it is gone now, and not a little later.
    expect(await answers(port)).toBe(false);
    const left = await readdir(desk.folder);
    expect(left).not.toContain(folder);
    expect(left).not.toContain('reports');
    expect(await privateServersIn(desk.folder)).toEqual([]);
  });

  test('leaves no key in a Redis that was there before', async ({ desk, testbed }) => {
    const demo = await interruptedDemo(desk, {});
    expect((await keysOf(testbed.redis, testbed.prefix)).length).toBeGreaterThan(1000);

    demo.process.kill('SIGTERM');

    expect(await demo.ended).toMatchObject({ code: 130 });
    expect(await keysOf(testbed.redis, testbed.prefix)).toEqual([]);
  });

  /** A private server is run by a shell, whose arguments say where. */
  async function privateServersIn(folder: string) {
    const { stdout } = await promisify(execFile)('ps', ['-axww', '-o', 'args='], { maxBuffer: 2 ** 26 });
    const servers = new Map<string, number>();
    for (const [, name = '', port] of stdout.matchAll(/\/(bullmq-batches-redis-\w+) [^\n]*--port (\d+)/g)) {
      if (stdout.includes(join(folder, name))) servers.set(name, Number(port));
    }
    return Array.from(servers, ([name, port]) => ({ folder: name, port }));
  }

  async function answers(port: number): Promise<boolean> {
    const socket = connect({ host: '127.0.0.1', port });
    try {
      await once(socket, 'connect');
      return true;
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  }
});

describe('--board', () => {
  test('shows the import in Bull Board and on the page of batches, until Ctrl-C', async ({ desk, testbed }) => {
    const file = await desk.csv(
      'organization,name,email,country\nACME,Ada,ada@example.com,DE\nACME,,b@example.com,DE\n',
    );
    const demo = desk.start(['--board', file]);
    const [, board = '', page = ''] = await eventually(
      () => /Bull Board {2}(\S+)\n {2}Batches {5}(\S+)/.exec(demo.stdout()),
      60_000,
    );
    expect((await fetch(board)).status).toBe(200);
    const listed = await eventually(async () => {
      const answer = await fetch(`${board}/api/queues?activeQueue=batches&page=1&jobsPerPage=10`);
      const { queues } = (await answer.json()) as {
        queues: { jobs: { name: string; progress: { status: string } }[] }[];
      };
      const jobs = queues[0]?.jobs ?? [];
      return jobs.length === 2 && jobs.every(({ progress }) => progress.status === 'succeeded') ? jobs : undefined;
    });
    expect(listed.map(({ name }) => name).sort()).toEqual(['Import of given.csv', 'Users of ACME']);
    expect(await (await fetch(page)).text()).toContain('Users of ACME');
    expect(await (await fetch(`${page}/import-users-0`)).text()).toContain('<b>1</b> <bdi>name is missing</bdi>');
    // With REDIS_URL, which this test sets, the command line needs no more than the prefix.
    const [, shown = ''] = /Terminal {4}npm run batches -- (.*)\n/.exec(demo.stdout()) ?? [];
    const watched = await startCli(shown.split(' '), { REDIS_URL: inject('redisUrl') }).ended;
    expect(watched).toMatchObject({ code: 0, err: '' });
    expect(watched.out).toMatch(/ succeeded {2}100 % .* 1 failed/);

    await eventually(() => demo.stdout().includes('until Ctrl-C:'));
    demo.process.kill('SIGINT');

    const { code, stdout } = await demo.ended;
    expect(code).toBe(0);
    expect(stdout).toContain('2: 1 imported, 1 failed');
    await expect(fetch(page)).rejects.toThrow();
    expect(await keysOf(testbed.redis, testbed.prefix)).toEqual([]);
  });
});

describe('in a terminal', () => {
  const ORGANIZATIONS = Array.from({ length: 40 }, (_, i) => ({
    organization: i === 0 ? 'evil\u001b[2J\r\nname' : i === 1 ? '北京云图科技有限公司'.repeat(3) : `Organization ${i}`,
    rows: 1000,
    succeeded: 400,
    failed: 20,
    stage: 'importing' as const,
  }));

  function terminal(columns: number, rows: number) {
    let written = '';
    const out = {
      isTTY: true,
      columns,
      rows,
      hasColors: () => false,
      write: (part: string) => {
        written += part;
        return true;
      },
    };
    return { out: out as unknown as NodeJS.WriteStream, written: () => written };
  }

  test('the bars fit, whatever the organizations are called and however many they are', () => {
    const { out, written } = terminal(100, 24);
    const display = progressDisplay(out);
    display.show(ORGANIZATIONS);
    display.stop();
    const drawn = written()
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
      .replace(/\u001b\[\??[\d;]*[A-Za-z]/g, '\n')
      .split('\n')
      .filter(Boolean);
    expect(drawn.length).toBeLessThan(24);
    for (const line of drawn) expect(line.length).toBeLessThan(100);
    expect(drawn.at(0)).toMatch(/^evil \[2J {2}name {2,}█+░+ +420 \/ 1,000 +20 failed {2}importing$/);
    expect(drawn.at(1)).toMatch(/^北京云图科技有限公司北京云图… {2}/);
    expect(drawn.at(-2)).toMatch(/^… 23 other organizations +█+░+ +9,660 \/ 23,000 +460 failed {2}importing$/);
    expect(drawn.at(-1)).toMatch(/^Overall +█+░+ +16,800 \/ 40,000 +800 failed {2}42 %$/);
  });

  test('it is given back as it was', () => {
    const { out, written } = terminal(100, 24);
    const display = progressDisplay(out);
    display.show(ORGANIZATIONS);
    display.stop();
    for (const mode of ['?25', '?7']) {
      expect(written().lastIndexOf(`\u001b[${mode}h`)).toBeGreaterThan(written().lastIndexOf(`\u001b[${mode}l`));
    }
  });
});
