import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { UnrecoverableError } from 'bullmq';
import { programPath } from '../../support/programs.js';
import { describe, eventually, expect, type Testbed, test } from '../../support/test.js';
import { urlOf } from './run.js';

const SCRIPT = '/usr/bin/script';

/** The `script` of Linux gives a program a terminal; that of other systems takes other arguments. */
function hasScript(): boolean {
  try {
    accessSync(SCRIPT, constants.X_OK);
    return process.platform === 'linux';
  } catch {
    return false;
  }
}

/** Runs the program in a terminal of 60 columns and 10 rows. */
function inTerminal(testbed: Testbed, ...args: string[]) {
  const { NO_COLOR, FORCE_COLOR, ...env } = process.env;
  const command = [process.execPath, programPath('command-line'), ...args, '--prefix', testbed.prefix].join(' ');
  const child = spawn(SCRIPT, ['-qec', `stty cols 60 rows 10; ${command}`, '/dev/null'], {
    env: { ...env, TERM: 'xterm', REDIS_URL: urlOf(testbed) },
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    out += part;
  });
  const ended = once(child, 'close').then(([code]) => ({ out, code }));
  return { out: () => out, type: (text: string) => void child.stdin.write(text), ended };
}

const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';

describe.skipIf(!hasScript())('on a terminal (needs the `script` of Linux)', () => {
  test('watch draws bars in place, and gives the cursor back', async ({ testbed }) => {
    const queue = testbed.queue('rows');
    testbed.worker('rows', async () => {});
    testbed.batchWorker();
    const year = await queue.createBatch({ id: 'year', description: 'The year' });
    for (let i = 0; i < 20; i++) {
      const month = await year.createBatch({ description: `Month ${i}` });
      await month.addBulk([1, 2].map((n) => ({ name: 'row', data: { n } })));
      await month.seal();
    }
    const { out, ended } = inTerminal(testbed, 'watch', 'year');
    await eventually(() => out().includes(HIDE_CURSOR) && /40\/40/.test(out()));
    await year.seal();
    const all = await ended;
    expect(all.code).toBe(0);
    expect(all.out).toMatch(/The year .*█/);
    expect(all.out).toContain('more child batches');
    expect(all.out).toMatch(/Batch year 'The year': \S*succeeded\S* after/);
    expect(all.out.lastIndexOf(SHOW_CURSOR)).toBeGreaterThan(all.out.lastIndexOf(HIDE_CURSOR));
  });

  test('Ctrl-C ends watch with 130, and gives the cursor back', async ({ testbed }) => {
    await testbed.queue('rows').createBatch({ id: 'open' });
    const { out, type, ended } = inTerminal(testbed, 'watch', 'open');
    await eventually(() => out().includes(HIDE_CURSOR));
    type('\u0003');
    const all = await ended;
    expect(all.code).toBe(130);
    expect(all.out).toContain(SHOW_CURSOR);
  });

  test('cancel asks, and only a yes is one', async ({ testbed }) => {
    const batch = await testbed.queue('rows').createBatch({ id: 'open', description: 'November' });
    for (const [answer, code, state] of [
      ['\r', 1, 'open'],
      ['no\r', 1, 'open'],
      ['\u0004', 1, 'open'],
      ['\u0003', 130, 'open'],
      ['y\r', 0, 'finishing'],
    ] as const) {
      const { out, type, ended } = inTerminal(testbed, 'cancel', 'open');
      await eventually(() => out().includes("Cancel batch open 'November' (open, 0 of 0 members pending)? y/N"));
      type(answer);
      expect((await ended).code).toBe(code);
      expect((await batch.status()).state).toBe(state);
    }
  });

  test('lists fit into the width, and are coloured', async ({ testbed }) => {
    await testbed.queue('rows').createBatch({ description: `日本語 ${'long '.repeat(50)}` });
    const { out, code } = await inTerminal(testbed, 'list').ended;
    expect(code).toBe(0);
    expect(out).toContain('\u001b[2m');
    expect(out.split('\n')).toHaveLength(3);
    expect(out).toContain('…');
  });

  test('results are a table, in which nothing controls the terminal', async ({ testbed }) => {
    const queue = testbed.queue('rows');
    testbed.worker('rows', async () => 'a\u001b[2Jb\u0007');
    testbed.batchWorker();
    const batch = await queue.addBatch({ id: 'import' }, [{ name: 'row', data: {} }]);
    await batch.waitUntilFinished();
    const { out } = await inTerminal(testbed, 'results', 'import').ended;
    expect(out).toMatch(/ID +QUEUE +VALUE/);
    expect(out).toMatch(/rows +ab\r\n$/);
    const json = await inTerminal(testbed, 'results', 'import', '--json').ended;
    expect(JSON.parse(json.out).value).toBe('a\u001b[2Jb\u0007');
  });

  test('failures by reason are a table that fits into the width', async ({ testbed }) => {
    const queue = testbed.queue('rows');
    testbed.worker('rows', async ({ data: { n } }) => {
      throw new UnrecoverableError(`duplicate of row ${n}, ${'which is there already '.repeat(5)}`);
    });
    testbed.batchWorker();
    const batch = await queue.addBatch(
      { id: 'import' },
      [1, 2, 3].map((n) => ({ name: 'row', data: { n } })),
    );
    await batch.waitUntilFinished();
    const { out, code } = await inTerminal(testbed, 'failures', 'import', '--by', 'reason', '--no-color').ended;
    expect(code).toBe(0);
    expect(out).toMatch(/^COUNT +REASON/);
    expect(out).toMatch(/\r\n +3 +duplicate of row …/);
    for (const line of out.split('\r\n')) expect(line.length).toBeLessThanOrEqual(60);
  });
});
