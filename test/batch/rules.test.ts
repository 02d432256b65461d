import { describe, expect, test } from 'vitest';
import { failureReason, nextStep, progressOf, stateOf } from '../../src/batch/rules.js';
import type { BatchEvent } from '../../src/redis/definition.js';
import type { CallbackSnapshot, CallbackState, Counts } from '../../src/redis/snapshot.js';

const counts = (total: number, pending: number, succeeded: number, failed: number): Counts => ({
  total,
  pending,
  succeeded,
  failed,
});

const callback = (event: BatchEvent, state: CallbackState, index = 0): CallbackSnapshot => ({
  event,
  index,
  queue: 'mail',
  name: event,
  jobId: `b~${event}~${index}~n`,
  state,
  failedReason: state === 'failed' ? 'boom' : undefined,
});

const ALL_WELL = counts(2, 0, 2, 0);
const ONE_FAILED = counts(2, 0, 1, 1);
const ONE_MISSING = counts(2, 0, 1, 0);
const SEALED = 1;

describe('the next step of a batch', () => {
  test.each<[name: string, sealedAt: number | undefined, Counts, CallbackSnapshot[], expected: string]>([
    ['open, empty', undefined, counts(0, 0, 0, 0), [], 'await seal'],
    ['open, all settled', undefined, ALL_WELL, [callback('complete', 'pending')], 'await seal'],
    ['sealed, members pending', SEALED, counts(2, 1, 1, 0), [callback('complete', 'pending')], 'await members'],
    ['sealed, empty', SEALED, counts(0, 0, 0, 0), [], 'succeed'],
    [
      'sealed, empty, with callbacks',
      SEALED,
      counts(0, 0, 0, 0),
      [callback('complete', 'pending')],
      'enqueue complete',
    ],
    ['all succeeded, no callbacks', SEALED, ALL_WELL, [], 'succeed'],
    [
      'complete before success',
      SEALED,
      ALL_WELL,
      [callback('complete', 'pending'), callback('success', 'pending')],
      'enqueue complete',
    ],
    [
      'complete is running',
      SEALED,
      ALL_WELL,
      [callback('complete', 'enqueued'), callback('success', 'pending')],
      'await callbacks',
    ],
    [
      'complete has run',
      SEALED,
      ALL_WELL,
      [callback('complete', 'succeeded'), callback('success', 'pending')],
      'enqueue success',
    ],
    ['only success', SEALED, ALL_WELL, [callback('success', 'pending')], 'enqueue success'],
    ['complete failed', SEALED, ALL_WELL, [callback('complete', 'failed'), callback('success', 'pending')], 'fail'],
    ['success failed', SEALED, ALL_WELL, [callback('complete', 'succeeded'), callback('success', 'failed')], 'fail'],
    ['all done', SEALED, ALL_WELL, [callback('complete', 'succeeded'), callback('success', 'succeeded')], 'succeed'],
    [
      'a member failed',
      SEALED,
      ONE_FAILED,
      [callback('complete', 'pending'), callback('success', 'pending')],
      'enqueue complete',
    ],
    [
      'a member failed, complete has run',
      SEALED,
      ONE_FAILED,
      [callback('complete', 'succeeded'), callback('success', 'pending')],
      'fail',
    ],
    ['a member failed, no callbacks', SEALED, ONE_FAILED, [], 'fail'],
    [
      'a member is missing',
      SEALED,
      ONE_MISSING,
      [callback('complete', 'succeeded'), callback('success', 'pending')],
      'fail',
    ],
    [
      'healed after success had been withheld',
      SEALED,
      ALL_WELL,
      [callback('complete', 'succeeded'), callback('success', 'pending')],
      'enqueue success',
    ],
  ])('%s', (_, sealedAt, memberCounts, callbacks, expected) => {
    const step = nextStep({ abandonedAt: undefined, sealedAt, counts: memberCounts, callbacks });
    expect(step.kind === 'enqueue' ? `enqueue ${step.due.map(({ event }) => event)}` : step.kind).toBe(expected);
  });

  test('enqueues only those callbacks of an event that are not there yet, as after a crash in between', () => {
    const callbacks = [callback('complete', 'enqueued', 0), callback('complete', 'pending', 1)];
    const step = nextStep({ abandonedAt: undefined, sealedAt: SEALED, counts: ALL_WELL, callbacks });
    expect(step).toEqual({ kind: 'enqueue', due: [callbacks[1]] });
  });

  test('waits for all callbacks of an event before it judges one that failed', () => {
    const callbacks = [callback('complete', 'failed', 0), callback('complete', 'enqueued', 1)];
    expect(nextStep({ abandonedAt: undefined, sealedAt: SEALED, counts: ALL_WELL, callbacks }).kind).toBe(
      'await callbacks',
    );
  });
});

describe('the state of a batch', () => {
  test.each([
    ['open', undefined, undefined, ALL_WELL],
    ['running', undefined, SEALED, counts(2, 1, 1, 0)],
    ['finishing', undefined, SEALED, ONE_FAILED],
    ['succeeded', 'completed', SEALED, ALL_WELL],
    ['failed', 'failed', SEALED, ONE_FAILED],
  ] as const)('%s', (state, ended, sealedAt, memberCounts) => {
    expect(stateOf({ abandonedAt: undefined, ended, sealedAt, counts: memberCounts })).toBe(state);
  });
});

describe('progress', () => {
  test.each([
    [counts(0, 0, 0, 0), false, 0],
    [counts(0, 0, 0, 0), true, 100],
    [counts(3, 2, 1, 0), false, 33],
    [counts(3, 2, 0, 1), false, 33],
    [counts(1000, 1, 999, 0), false, 99],
    [counts(2, 0, 2, 0), false, 99],
    [counts(2, 0, 2, 0), true, 100],
  ])('of %o, finished: %s, is %i %%', (memberCounts, isFinished, percent) => {
    expect(progressOf(memberCounts, isFinished)).toBe(percent);
  });
});

test('the reason of a failure is a sentence', () => {
  expect(failureReason(counts(30, 0, 28, 2), [])).toBe('2 of 30 members failed');
  expect(failureReason(counts(1, 0, 0, 1), [])).toBe('1 of 1 member failed');
  expect(failureReason(counts(3, 0, 2, 0), [])).toBe('1 of 3 members is missing');
  expect(failureReason(counts(4, 0, 1, 1), [callback('complete', 'failed')])).toBe(
    "1 of 4 members failed; 2 of 4 members are missing; the complete callback 'complete' in queue 'mail' failed: boom",
  );
});
