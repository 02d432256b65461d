import { beforeEach, expect, test } from 'vitest';
import { BatchNotFoundError } from '../../src/index.js';
import { ErrorThrottle } from '../../src/worker/error-throttle.js';

let now: number;
let throttle: ErrorThrottle;
beforeEach(() => {
  now = 1000;
  throttle = new ErrorThrottle(() => now);
});

/** As ioredis has it, of one of many scripts. */
const oom = (line: number) =>
  new Error(
    `OOM command not allowed when used memory > 'maxmemory'. script: ${String(line).padStart(40, 'a')}, on ` +
      `@user_script:${line}.`,
  );

test('the first error is told as it is', () => {
  const error = oom(1);
  expect(throttle.next(error)).toBe(error);
});

test('thousands that follow are told once in ten seconds, with their number', () => {
  throttle.next(oom(1));
  for (let i = 0; i < 26_776; i++) {
    now += 0.3;
    expect(throttle.next(oom(i % 7))).toBeUndefined();
  }
  now = 1000 + 10_000;
  expect(throttle.next(oom(7))?.message).toMatch(
    /^OOM command not allowed .*:7\. \(and 26,776 more like it in the 10 s since the last report\)$/,
  );
  expect(throttle.next(oom(8))).toBeUndefined();
  now += 12_000;
  expect(throttle.next(oom(9))?.message).toContain('(and 1 more like it in the 12 s since the last report)');
});

test('one that comes again later, and none in between, is told as it is', () => {
  throttle.next(oom(1));
  now += 10_000;
  const again = oom(2);
  expect(throttle.next(again)).toBe(again);
});

test('errors of other kinds are told meanwhile, those that differ in an id or a number are not', () => {
  throttle.next(new Error(`Missing lock for job 17. moveToFinished`));
  expect(throttle.next(new Error('Missing lock for job 18a. moveToFinished'))).toBeUndefined();
  expect(throttle.next(new Error('connect ECONNREFUSED 127.0.0.1:6379'))).toBeDefined();
  expect(throttle.next(new Error(`Batch 'one' is not this BatchWorker's to run any more`))).toBeDefined();
  expect(throttle.next(new Error(`Batch 'two' is not this BatchWorker's to run any more`))).toBeUndefined();
  expect(throttle.next(new TypeError('Missing lock for job 17. moveToFinished'))).toBeDefined();
});

test('the class, the cause and the fields stay, and neither the message nor the stack of the first is changed', () => {
  const cause = new Error('why');
  const make = () => Object.assign(new BatchNotFoundError('b'), { cause, code: 'E_GONE' });
  const [first, second, third] = [make(), make(), make()];
  throttle.next(first);
  throttle.next(second);
  now += 10_000;
  const { message } = third;
  const told = throttle.next(third);
  expect(told).not.toBe(third);
  expect(told).toBeInstanceOf(BatchNotFoundError);
  expect(told).toMatchObject({ name: 'BatchNotFoundError', batchId: 'b', code: 'E_GONE', cause });
  expect(Object.prototype.toString.call(told)).toBe('[object Error]');
  expect(told?.message).toBe(`${message} (and 1 more like it in the 10 s since the last report)`);
  expect(told?.stack).toContain('(and 1 more like it');
  expect(told?.stack).toContain('error-throttle.test.ts');
  expect([third.message, third.stack?.includes('more like it')]).toEqual([message, false]);
});

test('it remembers a bounded number of kinds: the one that was told longest ago is forgotten first', () => {
  const kind = (n: number) => new Error('x'.repeat(n));
  for (let n = 1; n <= 101; n++) {
    expect(throttle.next(kind(n))).toBeDefined();
  }
  expect(throttle.next(kind(2))).toBeUndefined();
  expect(throttle.next(kind(101))).toBeUndefined();
  expect(throttle.next(kind(1))).toBeDefined();
});
