import { UnrecoverableError, WaitingChildrenError } from 'bullmq';
import { type BatchExplanation, BatchNotFoundError } from '../../src/index.js';
import { type AnyJob, describe, eventually, expect, gate, type Testbed, test } from '../support/test.js';

const ISO = String.raw`\d{4}-\d\d-\d\dT[\d:.]+Z`;

const countsOf = ({ members }: BatchExplanation) =>
  Object.fromEntries(members.map(({ queue, state, count }) => [`${queue} ${state}`, count]));

const worker = (testbed: Testbed, queue: string) =>
  `new Worker('${queue}', processor, { connection, prefix: '${testbed.prefix}' })`;

describe('explain() says', () => {
  test('that nobody works, most important first, and how to change that', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    const batch = await mail.createBatch({ description: 'November' });
    await batch.addBulk([1, 2, 3].map((data) => ({ name: 'send', data })));
    await batch.add('remind', {}, { delay: 3_600_000 });
    const explanation = await batch.explain();
    expect(explanation.reasons).toEqual([
      `No BatchWorker is running: start one with new BatchWorker({ connection, prefix: '${testbed.prefix}' }).`,
      `3 members are waiting and 1 is delayed in queue 'mail', and no worker is connected to it: start one with ` +
        `${worker(testbed, 'mail')}.`,
      expect.stringMatching(
        new RegExp(
          `^It is not sealed: it has been open since ${ISO}, and its producer's last sign of life was at ${ISO}. ` +
            'Call seal\\(\\) when everything has been added.$',
        ),
      ),
    ]);
    expect(explanation).toMatchObject({
      id: batch.id,
      description: 'November',
      state: 'open',
      sealed: false,
      createdAt: (await batch.status()).createdAt,
      lastSignOfLifeAt: expect.any(Number),
      queues: [
        { name: 'batches', workers: 0, paused: false },
        { name: 'mail', workers: 0, paused: false },
      ],
    });
  });

  test('about how many members wait in a large batch, from a sample, and which of them wait longest', async ({
    testbed,
  }) => {
    const held = await testbed.heldConnection();
    const mail = testbed.queue('mail', { connection: held.connection });
    const batch = await mail.createBatch();
    await batch.add('first', {});
    await batch.addBulk(Array.from({ length: 6000 }, () => ({ name: 'send', data: {} })));
    await batch.addBulk(Array.from({ length: 2000 }, () => ({ name: 'remind', data: {}, opts: { delay: 3_600_000 } })));
    for (const sealed of [true, false, false]) {
      const child = await batch.createBatch();
      if (sealed) await child.seal();
    }
    await held.idle();
    held.countFrom();
    const { members, children, sampled, reasons } = await batch.explain();
    expect(held.commands.filter((name) => name === 'outstanding').length).toBeLessThan(12);
    expect(sampled).toBeGreaterThanOrEqual(2000);
    expect(children).toMatchObject([
      { state: 'open', count: 2 },
      { state: 'running', count: 1 },
    ]);
    const [waiting, delayed] = members;
    expect((waiting?.count ?? 0) + (delayed?.count ?? 0)).toBe(8001);
    expect(waiting?.count).toBeGreaterThan(5000);
    expect(waiting?.oldest[0]?.name).toBe('first');
    // Those that wait longest may be in the sample too.
    expect(new Set(waiting?.oldest.map(({ id }) => id)).size).toBe(3);
    expect(reasons).toContainEqual(
      expect.stringMatching(/^About \d+ members are waiting and \d+ are delayed in queue 'mail', and no worker/),
    );
  });

  test('nothing of workers that are connected', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    const held = gate();
    testbed.use({ close: async () => held.open() });
    const mailWorkers = [1, 2].map(() => testbed.worker('mail', () => held.opened, { name: 'of-the-tests' }));
    await Promise.all([...mailWorkers, testbed.batchWorker()].map((one) => one.waitUntilReady()));
    const batch = await mail.addBatch({}, [{ name: 'send', data: 1 }]);
    await eventually(async () => (await mail.getActiveCount()) === 1);
    const { reasons, queues, members } = await batch.explain();
    expect(members).toMatchObject([{ queue: 'mail', state: 'active', count: 1, failing: 0 }]);
    expect(reasons).toEqual([`1 member is running in queue 'mail'; 2 workers are connected to it.`]);
    expect(queues).toEqual([
      { name: 'batches', workers: 1, paused: false },
      { name: 'mail', workers: 2, paused: false },
    ]);
  });

  test('which queues are paused, also that of the batches', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    await Promise.all(
      [testbed.worker('mail', async () => {}), testbed.batchWorker()].map((one) => one.waitUntilReady()),
    );
    await mail.pause();
    await testbed.plainQueue('batches').pause();
    const batch = await mail.addBatch({}, [{ name: 'send', data: 1 }]);
    expect((await batch.explain()).reasons).toEqual([
      `The queue 'batches' is paused, so no batch goes on: resume it, e.g. in Bull Board.`,
      `1 member is waiting in queue 'mail', which is paused: call queue.resume().`,
    ]);
  });

  test('nothing of workers where Redis does not allow CLIENT LIST', async ({ testbed }) => {
    const username = testbed.prefix;
    await testbed.redis.call(
      'ACL',
      'SETUSER',
      username,
      'on',
      '>secret',
      '~*',
      '&*',
      '+@all',
      '-client',
      '+client|setname',
    );
    testbed.use({ close: () => testbed.redis.call('ACL', 'DELUSER', username) });
    const connection = { ...testbed.connection, username, password: 'secret' };
    const batch = await testbed.queue('mail', { connection }).addBatch({}, [{ name: 'send', data: 1 }]);
    const { reasons, queues } = await batch.explain();
    expect(queues.map(({ workers }) => workers)).toEqual([undefined, undefined]);
    expect(reasons).toEqual([`1 member is waiting in queue 'mail'.`]);
  });

  test('in which state its members are, and which are the oldest', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    const held = gate();
    testbed.use({ close: async () => held.open() });
    const running = testbed.worker(
      'mail',
      async (job, token = '') => {
        if (job.name === 'flow') {
          await testbed
            .plainQueue('parts')
            .add('part', {}, { parent: { id: job.id ?? '', queue: job.queueQualifiedName } });
          await job.moveToWaitingChildren(token);
          throw new WaitingChildrenError();
        }
        await held.opened;
      },
      { concurrency: 2 },
    );
    const batch = await mail.createBatch();
    await batch.add('flow', {});
    const ids: string[] = [];
    for (const n of [1, 2]) {
      ids.push((await batch.add('run', n)).id ?? '');
    }
    await eventually(async () => {
      const counts = countsOf(await batch.explain());
      return counts['mail active'] === 2 && counts['mail waiting-children'] === 1;
    });
    // A worker that dies leaves a running job without its lock.
    await running.pause(true);
    await testbed.redis.del(`${testbed.prefix}:mail:${ids[1]}:lock`);
    await batch.addBulk(
      [1, 2, 3, 4, 5].map((n) => ({ name: `wait-${n}`, data: n, opts: { timestamp: 6000 - n * 1000 } })),
    );
    await batch.add('important', {}, { priority: 1 });
    await batch.add('later', {}, { delay: 3_600_000 });
    await batch.add('elsewhere', {}, {});
    const lost = await batch.add('lost', {}, { delay: 3_600_000 });
    await testbed.redis.del(`${testbed.prefix}:mail:${lost.id}`);
    testbed.owns('other');
    await batch.addBulk([{ name: 'other', data: 1, queue: 'other' }]);
    const [other] = await testbed.plainQueue('other').getWaiting();
    const taken = await batch.add('taken', {});
    await testbed.redis.hset(`${testbed.prefix}:mail:${taken.id}`, 'parentKey', `${testbed.prefix}:other:${other?.id}`);
    const explanation = await batch.explain();
    expect(countsOf(explanation)).toEqual({
      'mail active': 2,
      'mail waiting': 6,
      'mail prioritized': 1,
      'mail delayed': 1,
      'mail waiting-children': 1,
      'mail no job': 2,
      'other waiting': 1,
    });
    const waiting = explanation.members.find(({ queue, state }) => queue === 'mail' && state === 'waiting');
    expect(waiting?.oldest.map(({ name, timestamp }) => [name, timestamp])).toEqual([
      ['wait-5', 1000],
      ['wait-4', 2000],
      ['wait-3', 3000],
    ]);
    const active = explanation.members.find(({ state }) => state === 'active');
    expect(active?.oldest.map(({ id }) => id).sort()).toEqual([...ids].sort());
    expect(explanation.members.find(({ state }) => state === 'no job')).toMatchObject({
      oldest: expect.arrayContaining([
        { id: lost.id, name: undefined, timestamp: undefined, attemptsMade: 0, failedReason: undefined },
      ]),
    });
    expect(explanation.reasons).toContainEqual(
      expect.stringContaining(`2 members in queue 'mail' have no job, e.g. '`),
    );
  });

  test('which members fail, and why', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    await testbed.batchWorker().waitUntilReady();
    await testbed
      .worker('mail', async () => {
        throw new Error('no route to host.\n    at somewhere');
      })
      .waitUntilReady();
    const batch = await mail.addBatch({ jobOptions: { attempts: 3, backoff: 3_600_000 } }, [{ name: 'send', data: 1 }]);
    await eventually(async () => (await mail.getDelayedCount()) === 1);
    const explanation = await batch.explain();
    const [member] = await mail.getDelayed();
    expect(explanation.members).toEqual([
      {
        queue: 'mail',
        state: 'delayed',
        count: 1,
        failing: 1,
        oldest: [
          {
            id: member?.id,
            name: 'send',
            timestamp: member?.timestamp,
            attemptsMade: 1,
            failedReason: 'no route to host.\n    at somewhere',
          },
        ],
      },
    ]);
    expect(explanation.reasons).toEqual([
      `1 of the members that are delayed in queue 'mail' has failed before and is tried again, e.g. 'send' ` +
        `(${member?.id}): no route to host.`,
      `1 member is delayed in queue 'mail'; 1 worker is connected to it.`,
    ]);
  });

  test('which child batches are outstanding', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    await testbed.batchWorker().waitUntilReady();
    const batch = await mail.createBatch();
    const open = await batch.createBatch({ description: 'Users' });
    const sealed = await batch.createBatch();
    await sealed.addBulk([1, 2].map((data) => ({ name: 'send', data })));
    await sealed.seal();
    const lost = await batch.createBatch();
    await testbed.redis.del(`${testbed.prefix}:batches:${lost.id}`);
    await testbed.redis.zrem(`${testbed.prefix}:batches:delayed`, lost.id);
    await batch.seal();
    const { children, members, reasons } = await batch.explain();
    expect(children).toEqual([
      { state: 'open', count: 1, oldest: [{ id: open.id, description: 'Users', state: 'open', pending: 0 }] },
      { state: 'running', count: 1, oldest: [{ id: sealed.id, description: undefined, state: 'running', pending: 2 }] },
    ]);
    expect(members).toMatchObject([{ queue: 'batches', state: 'no job', count: 1, oldest: [{ id: lost.id }] }]);
    expect(reasons).toEqual([
      `1 child batch is not sealed, e.g. Users (${open.id}). Call seal() on every batch to which everything has ` +
        'been added.',
      expect.stringContaining(`1 child batch in queue 'batches' has no job, e.g. '${lost.id}'`),
      `1 child batch is running, e.g. batch (${sealed.id}). Ask (await queue.getBatch('${sealed.id}')).explain() ` +
        'what holds it.',
    ]);
  });

  test('not to seal a child batch that was cancelled before it was sealed', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    const held = gate();
    testbed.use({ close: async () => held.open() });
    testbed.worker('mail', () => held.opened);
    await testbed.batchWorker().waitUntilReady();
    const batch = await mail.createBatch();
    const child = await batch.createBatch();
    await child.add('send', {});
    await batch.seal();
    await eventually(async () => (await mail.getActiveCount()) === 1);
    await child.cancel();
    const { children, reasons } = await batch.explain();
    expect(children).toMatchObject([{ state: 'running', oldest: [{ id: child.id, state: 'running', pending: 1 }] }]);
    expect(reasons).toEqual([
      `1 child batch is running, e.g. batch (${child.id}). Ask (await queue.getBatch('${child.id}')).explain() what ` +
        'holds it.',
    ]);
  });

  test('that a batch which was cancelled before it was sealed is mended without a seal', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    const batch = await mail.createBatch();
    const { id } = await batch.add('send', {});
    await testbed.redis.del(`${testbed.prefix}:mail:${id}`);
    await batch.cancel();
    const { members, reasons } = await batch.explain();
    expect(members).toMatchObject([{ state: 'no job', count: 1 }]);
    expect(reasons.join('\n')).toContain(`or a BatchWorker counts it as missing after 'missingAfter'.`);
  });

  test('which callbacks wait or fail; they are no members', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    testbed.owns('reports');
    const workers = [
      testbed.batchWorker(),
      testbed.worker('mail', async (job: AnyJob) => {
        if (job.name === 'never') throw new UnrecoverableError('not known');
        if (job.name === 'flaky') throw new Error('timeout');
      }),
    ];
    await Promise.all(workers.map((one) => one.waitUntilReady()));
    const batch = await mail.addBatch(
      {
        on: {
          complete: [
            { name: 'report', queue: 'reports' },
            { name: 'flaky', opts: { attempts: 3, backoff: 3_600_000 } },
            { name: 'never' },
          ],
          success: { name: 'later' },
        },
      },
      [{ name: 'send', data: 1 }],
    );
    await eventually(async () => (await mail.getDelayedCount()) === 1 && (await mail.getFailedCount()) === 1);
    const { state, members, callbacks, reasons, queues } = await batch.explain();
    expect({ state, members }).toEqual({ state: 'finishing', members: [] });
    const [report, flaky, never] = (await batch.status()).callbacks;
    expect(callbacks).toEqual([
      { ...report, state: 'enqueued', jobState: 'waiting', attemptsMade: 0, failedReason: undefined },
      { ...flaky, state: 'enqueued', jobState: 'delayed', attemptsMade: 1, failedReason: 'timeout' },
      { ...never, state: 'failed', jobState: 'failed', attemptsMade: 1, failedReason: 'not known' },
    ]);
    expect(queues.map(({ name, workers }) => [name, workers])).toEqual([
      ['batches', 1],
      ['reports', 0],
      ['mail', 1],
    ]);
    expect(reasons).toEqual([
      `The complete callback 'report' is waiting in queue 'reports', and no worker is connected to it: start one ` +
        `with ${worker(testbed, 'reports')}.`,
      `The complete callback 'flaky' has failed 1 attempt and is tried again: timeout.`,
      `The complete callback 'never' in queue 'mail' has failed: not known. The batch fails when it finishes; ` +
        'batch.retry() then runs the callback again.',
      `The complete callback 'flaky' is delayed in queue 'mail'; 1 worker is connected to it.`,
    ]);
  });

  test('that it was cancelled, why, and what still runs', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    const held = gate();
    testbed.batchWorker();
    testbed.worker('mail', async () => held.opened);
    const batch = await mail.createBatch();
    await batch.add('send', {});
    await eventually(async () => (await mail.getActiveCount()) === 1);
    await batch.cancel('wrong price');
    const running = await batch.explain();
    expect(running.reasons).toEqual([
      expect.stringMatching(/^1 member is running in queue 'mail'/),
      expect.stringMatching(/^It was cancelled at .* \(wrong price\), and finishes when what is running has ended/),
    ]);
    held.open();
    await batch.waitUntilFinished(10_000);
    expect((await batch.explain()).reasons).toEqual([
      expect.stringMatching(/^It has finished, at .*, with state 'cancelled': cancelled: wrong price\.$/),
      'A cancelled batch stays so: create a new one for what is to run again.',
    ]);
  });

  test('that a callback is due, when only the BatchWorker is missing', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    const batch = await mail.addBatch({ on: { complete: { name: 'report' } } }, []);
    const { callbacks, reasons } = await batch.explain();
    expect(callbacks).toMatchObject([{ name: 'report', state: 'pending', jobState: 'no job' }]);
    expect(reasons).toEqual([
      expect.stringMatching(/^No BatchWorker is running/),
      `The complete callback 'report' is due: a BatchWorker enqueues it.`,
    ]);
  });

  test('that it was abandoned', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    testbed.owns('reports');
    await testbed.batchWorker().waitUntilReady();
    const batch = await mail.createBatch({
      openTimeout: 1,
      on: { complete: { name: 'report', queue: 'reports' } },
    });
    await eventually(async () => (await batch.status()).callbacks[0]?.state === 'enqueued');
    expect((await batch.explain()).reasons).toEqual([
      expect.stringMatching(/^The complete callback 'report' is waiting in queue 'reports', and no worker/),
      expect.stringMatching(new RegExp(`^It was abandoned at ${ISO}: .* seal\\(\\), revives it.$`)),
    ]);
  });

  test('that and how it has finished', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    testbed.batchWorker();
    testbed.worker('mail', async (job: AnyJob) => {
      if (job.data === 'bad') throw new UnrecoverableError('no');
    });
    const good = await mail.addBatch({}, [{ name: 'send', data: 'good' }]);
    const bad = await mail.addBatch({}, [{ name: 'send', data: 'bad' }]);
    await Promise.all([good.waitUntilFinished(10_000), bad.waitUntilFinished(10_000)]);
    const at = async (batch: typeof good) => new Date((await batch.status()).finishedAt ?? 0).toISOString();
    expect(await good.explain()).toMatchObject({
      state: 'succeeded',
      reasons: [`It has finished, at ${await at(good)}, with state 'succeeded'.`],
      queues: [],
    });
    expect(await bad.explain()).toMatchObject({
      state: 'failed',
      reasons: [
        `It has finished, at ${await at(bad)}, with state 'failed': 1 of 1 member failed: no.`,
        'batch.failures() lists the members that failed, and batch.retry() runs again what failed.',
      ],
      members: [],
    });
  });

  test('that only a callback has failed, and that retry() runs it again', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    testbed.batchWorker();
    testbed.worker('mail', async (job: AnyJob) => {
      if (job.name === 'report') throw new UnrecoverableError('no printer');
    });
    const batch = await mail.addBatch({ on: { complete: { name: 'report' } } }, [{ name: 'send', data: 1 }]);
    await batch.waitUntilFinished(10_000);
    expect((await batch.explain()).reasons).toEqual([
      expect.stringMatching(/^It has finished, at .*: the complete callback 'report' .* failed: no printer\.$/),
      'No member has failed: batch.retry() runs the callback again.',
    ]);
  });

  test('why several members have failed, in a sentence with one end', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    testbed.batchWorker();
    testbed.worker('mail', async () => Promise.reject(new UnrecoverableError('no')));
    const bad = { name: 'send', data: 1 };
    const batch = await mail.addBatch({}, [bad, bad]);
    await batch.waitUntilFinished(10_000);
    expect((await batch.explain()).reasons[0]).toMatch(/: 2 of 2 members failed: no, …$/);
  });

  describe('that a late callback has failed', () => {
    async function withLateFailure(testbed: Testbed, { succeeds }: { succeeds: boolean }) {
      const mail = testbed.queue('mail');
      const printer = { isOn: false };
      testbed.batchWorker();
      testbed.worker('mail', async (job: AnyJob) => {
        if (job.name === 'bad') throw new UnrecoverableError('no');
        if (job.name === 'report' && !printer.isOn) throw new UnrecoverableError('no printer.\n    at somewhere');
      });
      const batch = await mail.addBatch({}, [{ name: succeeds ? 'send' : 'bad', data: 1 }]);
      await batch.waitUntilFinished(10_000);
      await batch.on('complete', { name: 'report' });
      await eventually(async () => (await batch.status()).callbacks[0]?.state === 'failed');
      return { mail, batch, printer, jobId: (await batch.status()).callbacks[0]?.jobId ?? '' };
    }

    test('although the batch has succeeded; retrying its job, as it says, mends it', async ({ testbed }) => {
      const { mail, batch, printer, jobId } = await withLateFailure(testbed, { succeeds: true });
      const { state, reasons, callbacks } = await batch.explain();
      expect(state).toBe('succeeded');
      expect(reasons).toEqual([
        expect.stringMatching(/^It has finished, at .*, with state 'succeeded'\.$/),
        `The batch has succeeded, but its late complete callback 'report' in queue 'mail' has failed: no printer. ` +
          `Retry its job '${jobId}' in that queue, or call batch.retry().`,
      ]);
      expect(callbacks).toMatchObject([{ jobId, state: 'failed', failedReason: 'no printer.\n    at somewhere' }]);
      printer.isOn = true;
      await mail.pause();
      await (await mail.getJob(jobId))?.retry();
      expect((await batch.explain()).reasons).toEqual([
        `The complete callback 'report' is waiting in queue 'mail', which is paused: call queue.resume().`,
        expect.stringMatching(/^It has finished, at .*, with state 'succeeded', and stays so\.$/),
      ]);
      await mail.resume();
      await eventually(async () => (await batch.status()).callbacks[0]?.state === 'succeeded');
      expect(await batch.explain()).toMatchObject({
        state: 'succeeded',
        reasons: [expect.stringMatching(/^It has finished, at .*, with state 'succeeded'\.$/)],
      });
    });

    test('and batch.retry() mends it, as it says', async ({ testbed }) => {
      const { batch, printer } = await withLateFailure(testbed, { succeeds: true });
      printer.isOn = true;
      expect(await batch.retry()).toEqual({ retried: 1 });
      await eventually(async () => (await batch.status()).callbacks[0]?.state === 'succeeded');
      expect((await batch.status()).state).toBe('succeeded');
    });

    test('of a batch that had failed before', async ({ testbed }) => {
      const { batch, jobId } = await withLateFailure(testbed, { succeeds: false });
      expect((await batch.explain()).reasons).toEqual([
        expect.stringMatching(/^It has finished, at .*, with state 'failed': 1 of 1 member failed: no\.$/),
        `Its late complete callback 'report' in queue 'mail' has failed: no printer. Retry its job '${jobId}' in ` +
          'that queue, or call batch.retry().',
        'batch.failures() lists the members that failed, and batch.retry() runs again what failed.',
      ]);
    });
  });

  test('that a batch which had failed waits for a member again', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    testbed.batchWorker();
    const failing = testbed.worker('mail', async () => {
      throw new Error('no');
    });
    const batch = await mail.addBatch({}, [{ name: 'send', data: 1 }]);
    await batch.waitUntilFinished(10_000);
    await failing.close();
    const [member] = await mail.getFailed();
    await member?.retry();
    await eventually(async () => (await mail.getWorkersCount()) === 0);
    expect(await batch.explain()).toMatchObject({
      state: 'failed',
      members: [{ queue: 'mail', state: 'waiting', count: 1, failing: 0 }],
      reasons: [
        expect.stringMatching(/^1 member is waiting in queue 'mail', and no worker is connected to it/),
        'It had failed, and what failed is being run again: a BatchWorker reopens it within seconds.',
      ],
    });
  });

  test('that a member has finished without its batch having been told', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    await Promise.all(
      [testbed.batchWorker(), testbed.worker('mail', async () => {})].map((one) => one.waitUntilReady()),
    );
    const batch = await mail.createBatch();
    const job = await batch.add('send', 1);
    await eventually(async () => (await batch.status()).succeeded === 1);
    // What BullMQ does to a finished job that is added once more by a connection that was cut.
    await testbed.redis.sadd(`${testbed.prefix}:batches:${batch.id}:dependencies`, `${testbed.prefix}:mail:${job.id}`);
    await testbed.redis.hdel(`${testbed.prefix}:batches:${batch.id}:processed`, `${testbed.prefix}:mail:${job.id}`);
    await batch.seal();
    const { members, reasons } = await batch.explain();
    expect(members).toMatchObject([{ queue: 'mail', state: 'completed', count: 1, oldest: [{ id: job.id }] }]);
    expect(reasons).toEqual([
      `1 member in queue 'mail' has completed, but the batch still waits for it: a BatchWorker corrects that within seconds.`,
    ]);
  });

  test('exact counts of many members, and the oldest of all pages', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    testbed.owns('letters');
    const batch = await mail.createBatch();
    await batch.addBulk(
      Array.from({ length: 1200 }, (_, n) => ({
        name: `m${n}`,
        data: n,
        opts: { timestamp: 1_000_000 - n, ...(n % 3 === 0 ? { delay: 3_600_000_000 } : {}) },
        queue: n % 4 === 0 ? 'letters' : 'mail',
      })),
    );
    const explanation = await batch.explain();
    expect(countsOf(explanation)).toEqual({
      'letters waiting': 200,
      'letters delayed': 100,
      'mail waiting': 600,
      'mail delayed': 300,
    });
    expect(explanation.members.map(({ oldest }) => oldest.map(({ name }) => name))).toEqual([
      ['m1196', 'm1192', 'm1184'],
      ['m1188', 'm1176', 'm1164'],
      ['m1199', 'm1198', 'm1195'],
      ['m1197', 'm1194', 'm1191'],
    ]);
  });

  test('that there is no batch, by an error', async ({ testbed }) => {
    const mail = testbed.queue('mail');
    const batch = await mail.addBatch({}, []);
    testbed.batchWorker();
    await batch.waitUntilFinished(10_000);
    await batch.remove();
    await expect(batch.explain()).rejects.toThrow(BatchNotFoundError);
  });
});
