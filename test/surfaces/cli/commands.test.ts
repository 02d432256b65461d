import { closeSync, existsSync, openSync } from 'node:fs';
import { UnrecoverableError } from 'bullmq';
import { parse } from 'csv-parse/sync';
import { withBatches } from '../../../src/index.js';
import { describe, eventually, expect, gate, keysOf, type Testbed, test } from '../../support/test.js';
import { cliOf, startCli, urlOf } from './run.js';

const HOSTILE = 'a\u001b[31mred\u0007\u202e\nline';

/** Two have succeeded, two have failed for good. */
async function finishedBatch(testbed: Testbed, description = 'Import') {
  const queue = testbed.queue('rows');
  const worker = testbed.worker('rows', async (job) => {
    if (job.data.fails !== undefined) {
      throw new UnrecoverableError(job.data.fails);
    }
    return job.data.gives;
  });
  const batchWorker = testbed.batchWorker();
  const batch = await queue.addBatch({ id: 'import', description, on: { complete: { name: 'report' } } }, [
    { name: 'row', data: { gives: { n: 1 } } },
    { name: 'row', data: { gives: '=1+1' } },
    { name: 'row', data: { fails: HOSTILE } },
    { name: 'row', data: { fails: 'no e-mail, no name' } },
  ]);
  await batch.waitUntilFinished();
  return { queue, batch, worker, batchWorker };
}

/** A parent with an open child of three jobs; nothing runs. */
async function standingBatches(testbed: Testbed) {
  const queue = testbed.queue('rows');
  const parent = await queue.createBatch({ id: 'parent', description: 'Year' });
  const child = await parent.createBatch({ id: 'child', description: 'November' });
  await child.addBulk([1, 2, 3].map((n) => ({ name: 'row', data: { n } })));
  await parent.seal();
  return { queue, parent, child };
}

const linesOf = (text: string) => text.split('\n').filter((line) => line !== '');
const jsonOf = (text: string) => linesOf(text).map((line) => JSON.parse(line));

test('--batches-queue names the queue that holds the batches, also in the command lines that are shown', async ({
  testbed,
}) => {
  const queue = withBatches(testbed.plainQueue('rows'), { batchesQueue: 'job-batches' });
  testbed.owns('job-batches');
  const batch = await queue.createBatch({ id: 'import' });
  await batch.add('row', {});
  const { run } = cliOf(testbed);
  const named = ['--batches-queue', 'job-batches'];
  expect((await run('list', ...named)).out).toContain('import');
  const { out, code } = await run('explain', 'import', ...named);
  expect(code).toBe(0);
  expect(out).toContain(`batchesQueue: 'job-batches' })`);
  expect(out).toContain(`  bullmq-batches seal import --prefix ${testbed.prefix} --batches-queue job-batches\n`);
  expect((await run('seal', 'import', ...named)).code).toBe(0);
  expect((await batch.status()).sealed).toBe(true);
  expect((await run('list', '--state', 'failed', ...named)).out).toMatch(/ with prefix '\S+' and queue 'job-batches'/);
  expect((await run('show', 'import')).code).toBe(3);
});

describe('list', () => {
  test('shows the batches as a table, and how many more there are', async ({ testbed }) => {
    await standingBatches(testbed);
    const { run } = cliOf(testbed);
    const { out, code, err } = await run('list');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const [header, ...rows] = linesOf(out);
    expect(header).toBe('ID      DESCRIPTION  STATE    DONE  TOTAL  FAILED  CREATED');
    expect(rows.sort()).toEqual([
      expect.stringMatching(/^child {3}November {5}open {6}0 % {6}3 {7}0 {2}\S/),
      expect.stringMatching(/^parent {2}Year {9}running {3}0 % {6}1 {7}0 {2}\S/),
    ]);
    expect(linesOf((await run('list', '--limit', '1')).out).at(-1)).toBe('… and 1 more: --limit 2');
  });

  test('shows the progress of all jobs below a batch with child batches, and so does show', async ({ testbed }) => {
    const { parent } = await standingBatches(testbed);
    const { opened, open } = gate();
    testbed.worker('rows', async ({ data: { n } }) => (n < 3 ? n : opened), { concurrency: 5 });
    testbed.batchWorker({ reconcileInterval: 50 });
    await eventually(async () => (await parent.status()).jobs?.pending === 1);
    const { run } = cliOf(testbed);
    expect((await run('list')).out).toMatch(/^parent .* 66 % +1 +0 /m);
    const { out } = await run('show', 'parent');
    expect(out).toMatch(/^progress +66 %$/m);
    expect(out).toMatch(/^members +1: 1 pending, 0 succeeded/m);
    expect(out).toMatch(/^jobs below +3: 1 pending, 2 succeeded, 0 failed, 0 cancelled, 0 missing$/m);
    open();
  });

  test('lists the newest first, and by state', async ({ testbed }) => {
    const queue = testbed.queue('rows');
    for (const id of ['first', 'second', 'third']) {
      await queue.createBatch({ id });
      const created = Date.now();
      await eventually(() => Date.now() > created);
    }
    const { run } = cliOf(testbed);
    expect(jsonOf((await run('list', '--json')).out).map(({ id }) => id)).toEqual(['third', 'second', 'first']);
    expect(jsonOf((await run('list', '--json', '--limit=1')).out)).toMatchObject([{ id: 'third', state: 'open' }]);
    expect((await run('list', '--json', '--state', 'failed,succeeded', '--state', 'running')).out).toBe('');
    const none = await run('list', '--state', 'failed');
    expect(none.out).toMatch(/^There are no batches that are failed in redis:\/\/\S+ with prefix 'test-/);
    expect(none.code).toBe(0);
  });

  test('a job that is no batch is not promised as one more', async ({ testbed }) => {
    await testbed.queue('rows').createBatch({ id: 'only' });
    await testbed.plainQueue('batches').add('stray', {}, { delay: 3_600_000 });
    expect(linesOf((await cliOf(testbed).run('list')).out)).toHaveLength(2);
  });

  test('what is in a description does not control the terminal', async ({ testbed }) => {
    const queue = testbed.queue('rows');
    await queue.createBatch({ id: 'bad', description: HOSTILE });
    const { out } = await cliOf(testbed).run('list');
    expect(linesOf(out)[1]).toMatch(/^bad {2}ared line {4}open/);
    expect((await cliOf(testbed).run('list', '--json')).out).not.toMatch(/\p{Cc}(?!$)|\u202e/u);
  });
});

describe('show', () => {
  test('tells counts, times and callbacks', async ({ testbed }) => {
    await finishedBatch(testbed);
    const { out, code } = await cliOf(testbed).run('show', 'import');
    expect(code).toBe(0);
    expect(linesOf(out)).toEqual([
      'id              import',
      'description     Import',
      'state           failed',
      expect.stringMatching(/^failed because {2}2 of 4 members failed: /),
      'progress        100 %',
      'members         4: 0 pending, 2 succeeded, 2 failed, 0 cancelled, 0 missing',
      expect.stringMatching(/^created {9}\d{4}-\d\d-\d\dT\S+ \(.+\)$/),
      expect.stringMatching(/^sealed/),
      expect.stringMatching(/^completed/),
      expect.stringMatching(/^finished/),
      'callbacks       complete: report in queue rows, succeeded',
    ]);
  });

  test('gives the status as JSON, also of a failed batch with exit code 0', async ({ testbed }) => {
    const { batch } = await finishedBatch(testbed);
    const { out, code } = await cliOf(testbed).run('show', 'import', '--json');
    expect(jsonOf(out)).toEqual([JSON.parse(JSON.stringify(await batch.status()))]);
    expect(code).toBe(0);
  });
});

test('tree shows all batches below, with their jobs added up', async ({ testbed }) => {
  const { parent } = await standingBatches(testbed);
  await parent.createBatch({ id: 'other' }).catch(() => {});
  const { run } = cliOf(testbed);
  expect((await run('tree', 'parent')).out).toBe(
    'Year (parent)  running  0 of 3 jobs\n└─ November (child)  open  0 of 3 jobs\n',
  );
  expect(jsonOf((await run('tree', 'parent', '--json')).out)).toMatchObject([
    { jobs: { total: 3 }, children: [{ id: 'child' }] },
  ]);
});

test('show names tags and metadata, in which nothing controls the terminal', async ({ testbed }) => {
  await testbed.queue('rows').createBatch({ id: 'open', tags: ['acme', 'vip'], metadata: { order: HOSTILE } });
  const { out } = await cliOf(testbed).run('show', 'open');
  expect(out).toMatch(/^tags +acme, vip$/m);
  expect(out).toMatch(/^metadata +\{"order":"a/m);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  expect(out).not.toMatch(/[\u001b\u0007\u202e]/);
});

test('explain gives the reasons, the commands that do the same, and the tables', async ({ testbed }) => {
  await standingBatches(testbed);
  const { run } = cliOf(testbed);
  const { out, code } = await run('explain', 'child');
  expect(code).toBe(0);
  expect(out).toContain("Batch child 'November': open\n- No BatchWorker is running");
  expect(out).toContain("Run 'bullmq-batches seal' when everything has been added.");
  expect(out).not.toContain('seal()');
  expect(out).toContain(`On the command line:\n  bullmq-batches seal child --prefix ${testbed.prefix}\n`);
  expect(out).toMatch(/QUEUE +STATE +COUNT +FAILED BEFORE +OLDEST\nrows +waiting +3 +0 +row /);
  expect(out).toMatch(/QUEUE +WORKERS\nbatches +0\nrows +0\n/);
  expect((await run('explain', 'parent')).out).toContain(`  bullmq-batches seal child --prefix ${testbed.prefix}\n`);
});

test('the commands that explain shows may be copied, whatever the id', async ({ testbed }) => {
  await testbed.queue('rows').createBatch({ id: "-it's $x" });
  const { out, code } = await cliOf(testbed).run('explain', '--', "-it's $x");
  expect(code).toBe(0);
  expect(out).toContain(`  bullmq-batches seal --prefix ${testbed.prefix} -- '-it'\\''s $x'\n`);
});

test('explain of a failed batch leads to failures and retry', async ({ testbed }) => {
  await finishedBatch(testbed);
  const { run } = cliOf(testbed);
  const { out } = await run('explain', 'import');
  expect(out).toContain(`  bullmq-batches failures import --prefix ${testbed.prefix}\n`);
  expect(out).toContain(`  bullmq-batches retry import --prefix ${testbed.prefix}\n`);
  expect(jsonOf((await run('explain', 'import', '--json')).out)).toMatchObject([{ state: 'failed', queues: [] }]);
});

describe('results and failures', () => {
  test('are JSON lines in a pipe', async ({ testbed }) => {
    await finishedBatch(testbed);
    const { run } = cliOf(testbed);
    const results = jsonOf((await run('results', 'import')).out);
    expect(results.map(({ value }) => value)).toEqual(expect.arrayContaining([{ n: 1 }, '=1+1']));
    const failures = jsonOf((await run('failures', 'import')).out);
    expect(failures.map(({ reason, data, queue }) => [reason, data, queue])).toEqual(
      expect.arrayContaining([
        [HOSTILE, { fails: HOSTILE }, 'rows'],
        ['no e-mail, no name', { fails: 'no e-mail, no name' }, 'rows'],
      ]),
    );
  });

  test('are CSV that a spreadsheet reads and does not run', async ({ testbed }) => {
    await finishedBatch(testbed);
    const { run } = cliOf(testbed);
    const options = { columns: true } as const;
    const results: Record<string, string>[] = parse((await run('results', 'import', '--format', 'csv')).out, options);
    expect(results.map(({ value }) => value).sort()).toEqual(["'=1+1", '{"n":1}']);
    const failures: Record<string, string>[] = parse((await run('failures', 'import', '--format=csv')).out, options);
    expect(Object.keys(failures[0] ?? {})).toEqual(['id', 'queue', 'isBatch', 'reason', 'data']);
    expect(failures.map(({ reason, data }) => [reason, JSON.parse(data ?? '')])).toEqual(
      expect.arrayContaining([
        [HOSTILE, { fails: HOSTILE }],
        ['no e-mail, no name', { fails: 'no e-mail, no name' }],
      ]),
    );
  });

  test('failures are counted by reason, for people and for programs', async ({ testbed }) => {
    const queue = testbed.queue('rows');
    testbed.batchWorker();
    testbed.worker('rows', async ({ data: { n } }) => {
      if (n > 0) throw new UnrecoverableError(n % 4 === 0 ? 'no e-mail' : `duplicate of row ${n}`);
    });
    const batch = await queue.addBatch(
      { id: 'import' },
      Array.from({ length: 21 }, (_, n) => ({ name: 'row', data: { n } })),
    );
    await batch.waitUntilFinished();
    const { run } = cliOf(testbed);
    expect(jsonOf((await run('failures', 'import', '--by', 'reason')).out)).toMatchObject([
      { reason: 'duplicate of row …', count: 15, examples: [{ queue: 'rows' }, {}, {}] },
      { reason: 'no e-mail', count: 5 },
    ]);
    const { out } = await run('failures', 'import', '--by', 'reason', '--format', 'csv');
    expect(out).toMatch(/^count,reason,example\r\n15,duplicate of row …,\S+\r\n5,no e-mail,\S+\r\n$/);
    expect(await run('failures', 'import', '--by', 'queue')).toMatchObject({
      code: 2,
      err: "bullmq-batches: --by takes reason, not 'queue'.\n",
    });
  });

  test('of a batch without any are an empty list, and a CSV header', async ({ testbed }) => {
    await standingBatches(testbed);
    const { run } = cliOf(testbed);
    expect((await run('results', 'child')).out).toBe('');
    expect((await run('results', 'child', '--format', 'csv')).out).toBe('id,queue,isBatch,value\r\n');
  });

  test('a reader that has read enough is no error', async ({ testbed }) => {
    await finishedBatch(testbed);
    const { start } = cliOf(testbed);
    const running = start('results', 'import');
    running.process.stdout?.destroy();
    expect(await running.ended).toMatchObject({ code: 0, err: '' });
  });

  test.skipIf(!existsSync('/dev/full'))(
    'an output that cannot be written is an error that says so (Linux: /dev/full)',
    async ({ testbed }) => {
      await finishedBatch(testbed);
      const full = openSync('/dev/full', 'w');
      const { ended } = startCli(
        ['results', 'import', '--prefix', testbed.prefix, '--redis', urlOf(testbed)],
        {},
        full,
      );
      expect(await ended).toMatchObject({
        code: 1,
        err: expect.stringContaining('The output cannot be written, and is not complete'),
      });
      closeSync(full);
    },
  );
});

describe('watch', () => {
  test('says once that a batch was cancelled, as show does', async ({ testbed }) => {
    const batch = await testbed.queue('rows').createBatch({ id: 'stopped' });
    await batch.add('row', {});
    testbed.batchWorker();
    await batch.cancel('wrong file');
    await batch.waitUntilFinished();
    const { run } = cliOf(testbed);
    expect((await run('watch', 'stopped')).out).toMatch(
      /cancelled {2}100 % {2}0 of 1 member succeeded, 1 cancelled: wrong file\n$/,
    );
    const shown = linesOf((await run('show', 'stopped')).out).filter((line) => line.includes('because'));
    expect(shown).toEqual([expect.stringMatching(/^cancelled because +wrong file$/)]);
  });

  test('prints a line for each change, and ends with 0 when the batch has succeeded', async ({ testbed }) => {
    const queue = testbed.queue('rows');
    const opened = gate();
    testbed.worker('rows', () => opened.opened);
    testbed.batchWorker();
    await queue.addBatch({ id: 'import' }, [{ name: 'row', data: {} }]);
    const running = cliOf(testbed).start('watch', 'import');
    await eventually(() => running.out().includes('running  0 %  0 of 1 member succeeded'));
    opened.open();
    const { out, code } = await running.ended;
    expect(linesOf(out).at(-1)).toMatch(/^\d{4}-\S+ {2}succeeded {2}100 % {2}1 of 1 member succeeded$/);
    expect(code).toBe(0);
    expect(out).not.toContain('\u001b');
  });

  test('ends with 4 when it has failed, and says why', async ({ testbed }) => {
    await finishedBatch(testbed);
    const { run } = cliOf(testbed);
    const { out, code } = await run('watch', 'import');
    expect(out).toMatch(/failed {2}100 % {2}2 of 4 members succeeded, 2 failed: 2 of 4 members failed: .+\n$/);
    expect(code).toBe(4);
    const json = await run('watch', 'import', '--json');
    expect(jsonOf(json.out)).toMatchObject([{ id: 'import', state: 'failed' }]);
    expect(json.code).toBe(4);
  });

  test('adds up the jobs of child batches', async ({ testbed }) => {
    await standingBatches(testbed);
    const running = cliOf(testbed).start('watch', 'parent');
    await eventually(() => running.out().includes('running  0 %  0 of 3 jobs succeeded'));
    running.process.kill('SIGINT');
    expect(await running.ended).toMatchObject({ code: 130, err: '' });
  });
});

describe('what changes a batch', () => {
  test('retry runs again what has failed', async ({ testbed }) => {
    await finishedBatch(testbed);
    const { out, code, err } = await cliOf(testbed).run('retry', 'import', '--json');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(jsonOf(out)).toEqual([{ id: 'import', retried: 2 }]);
  });

  test('seal lets the batch finish, and warns when no BatchWorker is there to do so', async ({ testbed }) => {
    const { child } = await standingBatches(testbed);
    const { run } = cliOf(testbed);
    expect(await run('seal', 'child')).toEqual({
      out: 'Batch child is sealed.\n',
      err: 'bullmq-batches: no BatchWorker is connected: nothing goes on until one runs.\n',
      code: 0,
    });
    expect((await child.status()).sealed).toBe(true);
    await testbed.batchWorker().waitUntilReady();
    expect(await run('seal', 'child')).toEqual({ out: 'Batch child was sealed before.\n', err: '', code: 0 });
  });

  test('cancel and remove need --yes where nobody can be asked', async ({ testbed }) => {
    const { child } = await standingBatches(testbed);
    const { run } = cliOf(testbed);
    for (const command of ['cancel', 'remove']) {
      const { code, err, out } = await run(command, 'child');
      expect({ code, out }).toEqual({ code: 2, out: '' });
      expect(err).toContain('say --yes');
    }
    expect((await child.status()).state).toBe('open');
  });

  test('cancel removes what has not started, with its reason', async ({ testbed }) => {
    const { child } = await standingBatches(testbed);
    const { out, code, err } = await cliOf(testbed).run('cancel', 'child', '--yes', '--reason', 'wrong file');
    expect({ out, code }).toEqual({ out: 'Batch child is cancelled: 3 members removed.\n', code: 0 });
    expect(err).toContain('no BatchWorker is connected');
    expect(await child.status()).toMatchObject({ cancelled: 3, cancelReason: 'wrong file' });
  });

  test('remove takes a finished batch, and an unfinished one by force only', async ({ testbed }) => {
    const { queue } = await standingBatches(testbed);
    const { run } = cliOf(testbed);
    const refused = await run('remove', 'parent', '--yes');
    expect(refused.code).toBe(1);
    expect(refused.err).toContain(`bullmq-batches remove parent --force --prefix ${testbed.prefix}`);
    const removed = await run('remove', 'parent', '--yes', '--force', '--json');
    expect(jsonOf(removed.out)).toEqual([{ id: 'parent', removed: true, members: false }]);
    await expect(queue.getBatch('parent')).rejects.toThrow('There is no batch');
  });

  test('what the library refuses is told in its words', async ({ testbed }) => {
    await finishedBatch(testbed);
    const { code, err } = await cliOf(testbed).run('cancel', 'import', '-y');
    expect(err).toBe("bullmq-batches: Batch 'import' has nothing left to cancel: all of its members are settled.\n");
    expect(code).toBe(1);
  });
});

test('a wrong password is told in a sentence, which does not repeat it', async ({ testbed }) => {
  const { host, port } = testbed.connection;
  const { out, err, code } = await startCli(['list', '--redis', `redis://joe:hunter2@${host}:${port}`]).ended;
  expect({ out, code }).toEqual({ out: '', code: 1 });
  expect(err).toMatch(/^bullmq-batches: redis:\/\/\S+ refuses the user or the password[^\n]+\n$/);
  expect(err).not.toContain('hunter2');
});

test('a database that is not there is an error, and not another database', async ({ testbed }) => {
  const { host, port } = testbed.connection;
  const { err, code } = await startCli(['list', '--redis', `redis://${host}:${port}/99999`]).ended;
  expect(err).toContain('has no database of this number');
  expect(code).toBe(1);
});

test('looking leaves no trace in Redis', async ({ testbed }) => {
  await standingBatches(testbed);
  // What a hash or set holds has no order: reading it may change that of its dump.
  const contentOf = async (key: string): Promise<unknown> => {
    const type = await testbed.redis.type(key);
    return type === 'hash'
      ? testbed.redis.hgetall(key)
      : type === 'set'
        ? (await testbed.redis.smembers(key)).sort()
        : testbed.redis.dump(key);
  };
  const contents = async () => {
    const keys = (await keysOf(testbed.redis, testbed.prefix)).sort();
    return Promise.all(keys.map(async (key) => [key, await contentOf(key)]));
  };
  const before = await contents();
  const { run } = cliOf(testbed);
  const commands = [
    'list',
    'show child',
    'tree parent',
    'explain child',
    'results child',
    'failures child',
    'show nobody',
  ];
  for (const command of commands) {
    await run(...command.split(' '));
  }
  expect(await contents()).toEqual(before);
});

test('without a batch of the id the exit code is 3, also for a key of the queue itself', async ({ testbed }) => {
  await standingBatches(testbed);
  for (const args of [
    ['show', 'nobody'],
    ['watch', 'nobody'],
    ['cancel', 'nobody', '--yes'],
    ['show', 'delayed'],
  ]) {
    const { code, err, out } = await cliOf(testbed).run(...args);
    expect({ code, out }).toEqual({ code: 3, out: '' });
    expect(err).toContain(`bullmq-batches: There is no batch '${args[1]}'`);
  }
});

test('colours are for terminals, unless they are asked for', async ({ testbed }) => {
  await finishedBatch(testbed);
  const { run, runWith } = cliOf(testbed);
  expect((await run('list')).out).not.toContain('\u001b');
  expect((await runWith({ FORCE_COLOR: '1' }, 'list')).out).toContain('\u001b[31mfailed');
  expect((await runWith({ FORCE_COLOR: '1' }, 'list', '--no-color')).out).not.toContain('\u001b');
});
