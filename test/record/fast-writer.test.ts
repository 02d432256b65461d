import { createHash, randomUUID } from 'node:crypto';
import { afterEach, describe } from 'vitest';
import type { NewJob } from '../../src/record/adding-lua.js';
import { bullmqScript } from '../../src/record/bullmq-commands.js';
import { rawClientOf, type ScriptClient, scriptClientOf } from '../../src/record/client.js';
import { PROVED } from '../../src/record/proved-scripts.js';
import { arePlain, pausedListOf, writingFor } from '../../src/record/writing.js';
import { type AnyQueue, eventually, expect, keysOf, type Testbed, test, withTestbed } from '../support/test.js';

/*
 * The proof of the fast writer: what it leaves in Redis is compared, key by key and field by field, with what BullMQ's
 * own `addBulk` leaves, and with BullMQ's own Lua behind the same door. `npm run verify-bullmq` runs it with another
 * version of BullMQ.
 */

const isVerifying = process.env.VERIFY_BULLMQ !== undefined;
const COMMANDS = ['addStandardJob', 'addDelayedJob', 'addPrioritizedJob'];

interface Row {
  readonly name: string;
  readonly data?: unknown;
  readonly opts?: Readonly<Record<string, unknown>>;
  readonly queue?: string;
}

interface Situation {
  readonly queue?: object;
  readonly jobOptions?: object;
  prepare?(queue: AnyQueue, testbed: Testbed): Promise<unknown>;
}

/** Each adds to what BullMQ's scripts look at before they choose a list, or a marker. */
const SITUATIONS: Readonly<Record<string, Situation>> = {
  'a new queue': {},
  'a queue that is paused': { prepare: (queue) => queue.pause() },
  'a queue with room in its global concurrency': {
    async prepare(queue, { redis, prefix }) {
      await queue.setGlobalConcurrency(2);
      await redis.lpush(`${prefix}:users:active`, 'other');
    },
  },
  'a queue at its global concurrency': {
    async prepare(queue, { redis, prefix }) {
      await queue.setGlobalConcurrency(1);
      await redis.lpush(`${prefix}:users:active`, 'other');
    },
  },
  'a queue at its global concurrency that is paused': {
    async prepare(queue, { redis, prefix }) {
      await queue.setGlobalConcurrency(1);
      await redis.lpush(`${prefix}:users:active`, 'other');
      await queue.pause();
    },
  },
  'a queue with a rate limit': {
    async prepare(_queue, { redis, prefix }) {
      await redis.hset(`${prefix}:users:meta`, 'max', 1, 'duration', 60_000);
      await redis.set(`${prefix}:users:limiter`, 5);
    },
  },
  'a queue whose events are trimmed': { queue: { streams: { events: { maxLen: 20 } } } },
  'a queue without metadata': { queue: { skipMetasUpdate: true } },
  'a queue with jobs of its own': {
    prepare: (queue) =>
      queue.addBulk([
        ...[0, 1, 2].map((n) => ({ name: 'own', data: n, opts: { timestamp: AT, delay: 1000 * n } })),
        ...[0, 1, 2].map((n) => ({ name: 'own', data: n, opts: { timestamp: AT, priority: n } })),
      ]),
  },
  'a queue and a batch with default options': {
    queue: { defaultJobOptions: { attempts: 4, removeOnFail: 100 } },
    jobOptions: { attempts: 2, backoff: 50, removeOnComplete: { age: 5, count: 7 } },
  },
};

const AT = 1_700_000_000_000;

const OPTIONS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  none: {},
  attempts: { attempts: 3 },
  'backoff in ms': { attempts: 3, backoff: 250 },
  'backoff of a kind': { attempts: 5, backoff: { type: 'exponential', delay: 1000, jitter: 0.5 } },
  'removal at once': { removeOnComplete: true, removeOnFail: true },
  'removal by number': { removeOnComplete: 1000, removeOnFail: { age: 3600, count: 10 } },
  'no removal': { removeOnComplete: false, removeOnFail: false },
  lifo: { lifo: true },
  'no lifo': { lifo: false },
  priority: { priority: 3 },
  'the lowest priority': { priority: 2 ** 21 - 1 },
  'no priority': { priority: 0 },
  delay: { delay: 60_000 },
  'a short delay': { delay: 1 },
  'delay and priority': { delay: 1000, priority: 7 },
  'delay and lifo': { delay: 1000, lifo: true },
  'priority and lifo': { priority: 1, lifo: true },
  'no delay': { delay: 0 },
  logs: { keepLogs: 10, stackTraceLimit: 2 },
  trace: { telemetry: { metadata: '{"traceparent":"00-1"}', omitContext: false } },
  'an option of the user': { tenant: { id: 7, tags: ['a', 'b'], none: null } },
};

const DATA: readonly unknown[] = [undefined, null, 0, 'text', 'größe 👍', [], {}, { deep: [{ a: 1.5 }], empty: [] }];

/** Jobs of all kinds, in turn. */
const MIXED: readonly Row[] = Array.from({ length: 3 }, (_, round) =>
  Object.values(OPTIONS).map((opts, i) => ({ name: `job ${i % 4}`, data: DATA[(i + round) % DATA.length], opts })),
).flat();

afterEach(() => {
  delete process.env.BULLMQ_BATCHES_WRITER;
});

describe.each(Object.entries(SITUATIONS))('the fast writer leaves what BullMQ does, in %s', (_, situation) => {
  test('with each of the options alone', async ({ testbed }) => {
    for (const opts of Object.values(OPTIONS)) {
      await prove(testbed, situation, [DATA.map((data) => ({ name: 'row', data, opts }))]);
    }
  });

  test('with jobs of all kinds in turn, in several queues', async ({ testbed }) => {
    const rows = MIXED.map((row, i) => ({ ...row, queue: ['users', 'mails', 'users', 'bills'][i % 4] as string }));
    await prove(testbed, situation, [MIXED, rows]);
  });

  test('with ids of the caller, of which some are members already', async ({ testbed }) => {
    const named = MIXED.map((row, i) => ({ ...row, opts: { ...row.opts, jobId: `row-${i}` } }));
    await prove(testbed, situation, [named.slice(0, 20), named.slice(10, 40), [...named].reverse()]);
  });

  test('with callbacks', async ({ testbed }) => {
    expect(await callbacksOf(testbed, '', situation)).toEqual(await callbacksOf(testbed, 'bullmq', situation));
  });

  test('with members whose jobs were deleted', async ({ testbed }) => {
    const named = MIXED.map((row, i) => ({ ...row, opts: { ...row.opts, jobId: `row-${i}` } }));
    const lose = async ({ redis, prefix }: Testbed) => {
      await redis.del(`${prefix}:users:row-1`, `${prefix}:users:row-12`);
    };
    const [first, second] = [
      await outcomeOf(testbed, '', situation, [named, lose, named]),
      await outcomeOf(testbed, 'bullmq', situation, [named, lose, named]),
    ];
    expect(first.keys).toEqual(second.keys);
  });
});

test('the fast writer keeps 5,000 jobs of the same millisecond in the order in which BullMQ does', async ({
  testbed,
}) => {
  const rows = Array.from({ length: 5000 }, (_, n) => ({ name: 'row', data: n, opts: { delay: 5 } }));
  await prove(testbed, {}, [rows, [{ name: 'row', opts: { delay: 6 } }]]);
});

test("the fast writer takes up BullMQ's count of prioritized jobs, also where it begins again", async ({ testbed }) => {
  const prepare = (_: AnyQueue, { redis, prefix }: Testbed) => redis.set(`${prefix}:users:pc`, 2 ** 32 - 5);
  await prove(testbed, { prepare }, [Array.from({ length: 12 }, (_, n) => ({ name: 'row', opts: { priority: n } }))]);
});

test('the fast writer writes nothing where a key of the queue has another type', async ({ testbed }) => {
  for (const [key, opts] of Object.entries({
    wait: {},
    delayed: { delay: 5 },
    pc: { priority: 1 },
    events: {},
    id: {},
  })) {
    const queue = testbed.queue(`users-${key}`);
    const batch = await queue.createBatch();
    await testbed.redis.del(`${testbed.prefix}:${queue.name}:${key}`);
    await testbed.redis.hset(`${testbed.prefix}:${queue.name}:${key}`, 'x', 1);
    const rows = [
      { name: 'row', data: 1, opts },
      { name: 'row', data: 2 },
    ];
    await expect(batch.addBulk(rows)).rejects.toThrow('WRONGTYPE');
    expect(await batch.status()).toMatchObject({ total: 0, pending: 0 });
    expect(
      (await keysOf(testbed.redis, `${testbed.prefix}:${queue.name}:`)).filter((name) => /:\w{8}-\w+$/.test(name)),
    ).toEqual([]);
    await batch.seal();
  }
});

test('the installed BullMQ is one that the fast writer is proved for', async ({ testbed }) => {
  const client = scriptClientOf(await rawClientOf(testbed.plainQueue('users')));
  const lines = COMMANDS.map((command) => {
    const { lua } = bullmqScript(
      client,
      Object.keys(client.scriptsSet ?? {}).find((n) => n.startsWith(`${command}:`)) ?? command,
    );
    return [createHash('sha1').update(lua).digest('hex'), pausedListOf(lua)] as const;
  });
  if (process.env.VERIFY_BULLMQ === undefined) {
    expect(lines.filter(([sha, list]) => PROVED.get(sha) !== list)).toEqual([]);
  } else {
    console.log(lines.map(([sha, list]) => `VERIFIED ['${sha}', '${list}'],`).join('\n'));
  }
});

test('a script that is not proved adds jobs itself, and so do all with a job that is not plain', () => {
  const client = (lua: string): ScriptClient => ({
    defineCommand: () => {},
    runCommand: async () => null,
    scriptsSet: { 'addStandardJob:9.0.0': { numberOfKeys: 9, lua } },
  });
  const jobs = (...plain: boolean[]): NewJob[] =>
    plain.map((isPlain) => {
      const command = { name: 'addStandardJob:9.0.0', args: [] };
      return { id: 'a', data: '1', shape: { queueKey: 'bull:users:', kind: 'member', command, isPlain } };
    });
  const installed = bullmqScript(client(''), 'addStandardJob:shipped').lua;
  expect(writingFor(client(installed), jobs(true, true)).writer).toBe('fast');
  expect(writingFor(client(installed), jobs(true, false)).writer).toBe('BullMQ');
  expect(writingFor(client(`${installed} `), jobs(true)).writer).toBe('BullMQ');
  expect(arePlain({ attempts: 3, delay: 5, tenant: 7 })).toBe(true);
  for (const opts of [{ sizeLimit: 5 }, { delay: 0.5 }, { deduplication: { id: 'a' } }, { repeat: { every: 5 } }]) {
    expect(arePlain(opts)).toBe(false);
  }
});

/** Either jobs to be added by one call, or something that happens in between. */
type Step = readonly Row[] | ((testbed: Testbed) => Promise<unknown>);

interface Outcome {
  /** What is in Redis, by key, as JSON compares it. */
  readonly keys: Readonly<Record<string, unknown>>;
  /** The ids that were made for jobs, in the order in which they were added. */
  readonly ids: readonly string[];
}

/** Adds the same jobs with the fast writer, with BullMQ's own Lua behind the door, and with BullMQ's own `addBulk`. */
async function prove(testbed: Testbed, situation: Situation, steps: readonly (readonly Row[])[]): Promise<void> {
  const fast = await outcomeOf(testbed, '', situation, steps);
  const bullmqs = await addBulkOutcome(testbed, situation, steps.flat(), fast.ids);
  expect(fast.keys).toEqual(bullmqs);
  if (steps.flat().every(({ opts }) => opts !== undefined && 'jobId' in opts)) {
    expect(fast.keys).toEqual((await outcomeOf(testbed, 'bullmq', situation, steps)).keys);
  }
}

async function outcomeOf(
  { connection, redis }: Testbed,
  writer: '' | 'bullmq',
  { queue, jobOptions, prepare }: Situation,
  steps: readonly Step[],
): Promise<Outcome> {
  return withTestbed({ connection, redis, prefix: newPrefix() }, async (testbed) => {
    const users = testbed.queue('users', queue);
    testbed.owns('mails');
    testbed.owns('bills');
    await users.waitUntilReady();
    await prepare?.(users, testbed);
    const batch = await users.createBatch({ id: 'import', ...(jobOptions === undefined ? {} : { jobOptions }) });
    process.env.BULLMQ_BATCHES_WRITER = writer === '' && isVerifying ? 'unproved' : writer;
    for (const step of steps) {
      await (typeof step === 'function' ? step(testbed) : batch.addBulk(step.map(dated) as never));
    }
    delete process.env.BULLMQ_BATCHES_WRITER;
    return { keys: await dump(testbed), ids: await idsOf(testbed) };
  });
}

/** What a BatchWorker leaves that has enqueued a callback with each of the options that a callback may have. */
async function callbacksOf(
  { connection, redis }: Testbed,
  writer: '' | 'bullmq',
  { queue, prepare }: Situation,
): Promise<Outcome['keys']> {
  return withTestbed({ connection, redis, prefix: newPrefix() }, async (testbed) => {
    const users = testbed.queue('users', queue);
    await users.waitUntilReady();
    await prepare?.(users, testbed);
    const options = Object.entries(OPTIONS).filter(([, opts]) => !('removeOnComplete' in opts));
    const complete = options.map(([name, opts]) => ({ name, opts: { timestamp: AT, ...opts } }));
    const batch = await users.createBatch({ id: 'import', on: { complete } });
    await batch.seal();
    process.env.BULLMQ_BATCHES_WRITER = writer === '' && isVerifying ? 'unproved' : writer;
    testbed.batchWorker();
    await eventually(async () => redis.zscore(`${testbed.prefix}:batches:waiting-children`, 'import'));
    delete process.env.BULLMQ_BATCHES_WRITER;
    const { 'batches:import:logs': _, ...keys } = await dump(testbed);
    const nonce = await redis.hget(`${testbed.prefix}:batches:import`, 'b:nonce');
    return JSON.parse(JSON.stringify(keys).replaceAll(String(nonce), 'nonce'));
  });
}

/** The same jobs, with the ids that they have got, as BullMQ adds them; those that are there already are left out. */
async function addBulkOutcome(
  { connection, redis }: Testbed,
  { queue, jobOptions, prepare }: Situation,
  rows: readonly Row[],
  ids: Outcome['ids'],
): Promise<Outcome['keys']> {
  return withTestbed({ connection, redis, prefix: newPrefix() }, async (testbed) => {
    const users = testbed.queue('users', queue);
    await users.waitUntilReady();
    await prepare?.(users, testbed);
    await users.createBatch({ id: 'import' });
    const queues = new Map([['users', users as AnyQueue]]);
    const parent = { id: 'import', queue: `${testbed.prefix}:batches` };
    const [made, seen] = [ids.slice(), new Set<unknown>()];
    for (const { queue: name = 'users', opts, data, name: jobName } of rows.map(dated)) {
      const jobId = opts.jobId ?? made.shift();
      const into = queues.get(name) ?? testbed.plainQueue(name, { skipMetasUpdate: true });
      queues.set(name, into);
      if (!seen.has(jobId)) {
        const own = { ...jobOptions, ...opts, jobId, parent, ignoreDependencyOnFailure: true };
        await into.addBulk([{ name: jobName, data, opts: own as never }]);
      }
      seen.add(jobId);
    }
    return dump(testbed);
  });
}

const newPrefix = () => `p${randomUUID().slice(0, 8)}`;

/** With a time that is the same each time that the jobs are added. */
function dated(row: Row): Row & { readonly opts: Record<string, unknown> } {
  return { ...row, opts: { timestamp: AT, ...row.opts } };
}

/** Generated ids count upwards; those of the caller are known anyway. */
async function idsOf({ redis, prefix }: Testbed): Promise<string[]> {
  const keys = await redis.smembers(`${prefix}:batches:import:dependencies`);
  const ids = keys.map((key) => key.split(':')[2] ?? '').filter((id) => /^\w{8}-/.test(id));
  const number = (id: string) => Number.parseInt(id.slice(15), 36);
  return ids.sort((a, b) => number(a) - number(b));
}

/** What the queues of the members hold, and which members the batch has. */
async function dump({ redis, prefix }: Testbed): Promise<Record<string, unknown>> {
  const keys = (await keysOf(redis, `${prefix}:`)).filter(
    (key) => !/:batches:(?!import:)/.test(key) && !/:batches:import$/.test(key),
  );
  const entries = await Promise.all(
    keys.sort().map(async (key) => [key.slice(prefix.length + 1), await contentOf(redis, key)] as const),
  );
  return JSON.parse(JSON.stringify(Object.fromEntries(entries)).replaceAll(prefix, 'prefix'));
}

async function contentOf(redis: Testbed['redis'], key: string): Promise<unknown> {
  switch (await redis.type(key)) {
    case 'hash':
      return jobOf(await redis.hgetall(key));
    case 'list':
      return redis.lrange(key, 0, -1);
    case 'set':
      return (await redis.smembers(key)).sort();
    case 'zset':
      return redis.zrange(key, '0', '-1', 'WITHSCORES');
    case 'stream':
      return keptEvents(redis, key);
    default:
      return redis.get(key);
  }
}

/** The events that must be kept: which others are trimmed depends on how many milliseconds lie between them. */
async function keptEvents(redis: Testbed['redis'], key: string): Promise<unknown> {
  const kept = Number(await redis.hget(key.replace(/events$/, 'meta'), 'opts.maxLenEvents'));
  return (await redis.xrange(key, '-', '+')).map(([, fields]) => fields).slice(-kept);
}

/** Without what only `addBulk` stores, because nothing reads it, and with the mark of a member. */
function jobOf({ opts, parent, ...fields }: Record<string, string>): object {
  if (opts === undefined || parent === undefined) {
    return { ...fields, ...(opts === undefined ? {} : { opts }) };
  }
  const { parent: _parent, jobId: _id, idof: _idof, ...others } = JSON.parse(opts);
  return { ...fields, opts: others, parent: { ...JSON.parse(parent), idof: 1 } };
}
