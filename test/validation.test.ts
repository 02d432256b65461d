import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { QueueKeys } from 'bullmq';
import { QueueKeys as QueueKeys5 } from 'bullmq5';
import { describe, expect, test } from 'vitest';
import { checkBatchId, checkJson, checkKeys, checkMemberOptions, QUEUE_KEYS } from '../src/validation.js';

describe('unknown options', () => {
  test.each([
    ['descripton', "Did you mean 'description'?"],
    ['jobOpts', "Did you mean 'jobOptions'?"],
    ['ID', "Did you mean 'id'?"],
    ['retries', 'Known are: id, description, jobOptions.'],
  ])('%s is answered with a hint', (key, hint) => {
    expect(() => checkKeys('A batch', { [key]: 1 }, ['id', 'description', 'jobOptions'])).toThrow(hint);
  });
});

test.each([
  ['42', 'must not be an integer'],
  ['failed', "the name of a key of BullMQ's"],
  ['meta', "the name of a key of BullMQ's"],
  ['', 'non-empty string'],
  [42, 'non-empty string, not 42'],
  [null, 'non-empty string, not null'],
])('the batch id %o is refused', (id, message) => {
  expect(() => checkBatchId(id)).toThrow(message);
});

describe('no id is a word under which BullMQ keeps something of a queue', () => {
  const scriptsOf = (bullmq: string) => {
    const folder = join(dirname(createRequire(import.meta.url).resolve(bullmq)), 'scripts');
    return readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8'));
  };
  /** The first segment of the keys that scripts make of a queue's beginning, e.g. `baseKey .. 'metrics:failed'`. */
  const wordsIn = (lua: string) =>
    [...lua.matchAll(/(?:\w*[pP]refix|prefixKey|baseKey) \.\. ['"]([a-z-]+)|\w*[qQ]ueueKey \.\. ['"]:([a-z-]+)/g)].map(
      ([, word = '', afterColon = '']) => word || afterColon,
    );

  test.each([
    ['bullmq', QueueKeys],
    ['bullmq5', QueueKeys5],
  ] as const)('in %s', (bullmq, Keys) => {
    const named = Object.keys(new Keys().getKeys('q')).filter((word) => word !== '');
    const inScripts = new Set(scriptsOf(bullmq).flatMap(wordsIn));
    expect(inScripts).toContain('stalled-check');
    expect([...named, ...inScripts].filter((word) => !QUEUE_KEYS.includes(word))).toEqual([]);
    for (const word of [...named, ...inScripts]) {
      expect(() => checkBatchId(word)).toThrow("the name of a key of BullMQ's");
      expect(() => checkMemberOptions('opts', { jobId: word })).toThrow("the name of a key of BullMQ's");
    }
  });

  test('and the guide says which they are', () => {
    const guide = readFileSync(new URL('../docs/guarantees.md', import.meta.url), 'utf8');
    const [, list = ''] = /words under which\s+BullMQ keeps something\s+of a queue: ([^.]+)\./.exec(guide) ?? [];
    expect([...list.matchAll(/`([^`]+)`/g)].map(([, word]) => word)).toEqual(QUEUE_KEYS);
  });
});

test('batch ids that only look like numbers are fine', () => {
  for (const id of ['import-42', '42a', '4.2', '007']) {
    expect(() => checkBatchId(id)).not.toThrow();
  }
});

test.each<[what: string, value: unknown, message: string]>([
  ['a function', { a: { b: () => 1 } }, 'data.a.b is a function'],
  ['half a character', { t: '😀'.slice(0, 1) }, 'data.t has half of a character'],
  ['a BigInt', { rows: [1n] }, 'data.rows[0] is a bigint'],
  ['not a number', { n: Number.NaN }, 'data.n is NaN'],
  ['a Map', { m: new Map() }, 'data.m is a Map'],
  ['a symbol', { s: Symbol('x') }, 'data.s is a symbol'],
])('data with %s is refused by path', (_, value, message) => {
  expect(() => checkJson('data', value)).toThrow(message);
});

test('data that refers to itself is refused, data that uses an object twice is not', () => {
  const shared = { x: 1 };
  expect(() => checkJson('data', { a: shared, b: shared })).not.toThrow();
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  expect(() => checkJson('data', circle)).toThrow('data.self refers back');
});

test('data that Redis cannot read because it is nested too deeply is refused', () => {
  const nested = (levels: number): unknown => (levels === 0 ? 'x' : { a: nested(levels - 1) });
  expect(() => checkJson('data', nested(400))).not.toThrow();
  expect(() => checkJson('data', nested(600))).toThrow('nested more than 500 levels deep');
});

test('dates, null, nested arrays and absent values are JSON', () => {
  expect(() =>
    checkJson('data', { at: new Date(0), none: null, absent: undefined, list: [[1, 'a', true]] }),
  ).not.toThrow();
});

test.each([
  [{ parent: { id: 'x', queue: 'y' } }, "must not have 'parent'"],
  [{ failParentOnFailure: true }, "must not have 'failParentOnFailure'"],
  [{ continueParentOnFailure: true }, "must not have 'continueParentOnFailure'"],
  [{ removeDependencyOnFailure: true }, "must not have 'removeDependencyOnFailure'"],
  [{ ignoreDependencyOnFailure: false }, "must not switch 'ignoreDependencyOnFailure' off"],
  [{ repeat: { every: 1000 } }, "must not have 'repeat'"],
  [{ deduplication: { id: 'x' } }, "must not have 'deduplication'"],
  [{ jobId: '17' }, 'must not be an integer'],
  [{ jobId: 'wait' }, "the name of a key of BullMQ's"],
  [{ priority: 1.5 }, 'The options.priority must be an integer from 0 to 2097152, not 1.5'],
  [{ timestamp: new Date() }, 'The options.timestamp must be a number of milliseconds since the epoch, not a Date'],
  [{ tenant: { since: new Date() } }, 'The options.tenant.since is a Date, which BullMQ cannot store among options'],
  [{ delay: Number.NaN }, 'The options.delay must be a number of milliseconds, not NaN'],
  [{ jobId: 'a:b' }, "must not contain ':', BullMQ's separator: 'a:b'. Use e.g. 'a-b'."],
  [{ jobId: '0:1:2' }, "Use e.g. 'row-0-1-2'."],
  ['fast', "must be an object, not 'fast'"],
])('member options %o are refused', (opts, message) => {
  expect(() => checkMemberOptions('The options', opts)).toThrow(message);
});
