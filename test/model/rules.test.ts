import { describe, expect, test } from 'vitest';
import type { BatchEvent } from '../../src/model/definition.js';
import {
  failureReason,
  hasHappened,
  isToBeCancelled,
  nextStep,
  progressOf,
  type Standing,
  stateOf,
} from '../../src/model/rules.js';
import type { CallbackSnapshot, CallbackState, MemberCounts } from '../../src/model/snapshot.js';

const counts = (total: number, pending: number, succeeded: number, failed: number): MemberCounts => ({
  total,
  pending,
  succeeded,
  failed,
  cancelled: 0,
  missing: total - pending - succeeded - failed,
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

/** As the decide step gives it: once sealed and settled, `complete` is due. */
function standing(facts: Partial<Standing>): Standing {
  const { sealedAt, counts: members = counts(0, 0, 0, 0) } = facts;
  return {
    ended: undefined,
    sealedAt,
    abandonedAt: undefined,
    cancelledAt: undefined,
    cancelReason: undefined,
    completedAt: sealedAt !== undefined && members.pending === 0 ? 1 : undefined,
    diedAt: undefined,
    attemptedAt: undefined,
    deaths: members.failed,
    counts: members,
    callbacks: [],
    definition: {},
    ...facts,
  };
}

const ALL_WELL = counts(2, 0, 2, 0);
const ONE_FAILED = counts(2, 0, 1, 1);
const ONE_MISSING = counts(2, 0, 1, 0);
const SEALED = 1;

describe('the next step of a batch', () => {
  test.each<[name: string, sealedAt: number | undefined, MemberCounts, CallbackSnapshot[], expected: string]>([
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
    const step = nextStep(standing({ sealedAt, counts: memberCounts, callbacks }));
    expect(step.kind === 'enqueue' ? `enqueue ${step.due.map(({ event }) => event)}` : step.kind).toBe(expected);
  });

  test('enqueues only those callbacks of an event that are not there yet, as after a crash in between', () => {
    const callbacks = [callback('complete', 'enqueued', 0), callback('complete', 'pending', 1)];
    const step = nextStep(standing({ sealedAt: SEALED, counts: ALL_WELL, callbacks }));
    expect(step).toEqual({ kind: 'enqueue', due: [callbacks[1]] });
  });

  test('waits for all callbacks of an event before it judges one that failed', () => {
    const callbacks = [callback('complete', 'failed', 0), callback('complete', 'enqueued', 1)];
    expect(nextStep(standing({ sealedAt: SEALED, counts: ALL_WELL, callbacks })).kind).toBe('await callbacks');
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
    expect(stateOf(standing({ ended, sealedAt, counts: memberCounts }))).toBe(state);
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
  const reason = (facts: Partial<Standing>) => failureReason(standing({ sealedAt: SEALED, ...facts }));
  expect(reason({ counts: counts(30, 0, 28, 2) })).toBe('2 of 30 members failed');
  expect(reason({ counts: counts(1, 0, 0, 1) })).toBe('1 of 1 member failed');
  expect(reason({ counts: counts(30, 0, 28, 2), anyFailure: 'no e-mail.\n  at row 7' })).toBe(
    '2 of 30 members failed: no e-mail, …',
  );
  expect(reason({ counts: counts(1, 0, 0, 1), anyFailure: 'no e-mail' })).toBe('1 of 1 member failed: no e-mail');
  expect(reason({ counts: counts(3, 0, 2, 0) })).toBe('1 of 3 members is missing');
  expect(reason({ counts: counts(4, 0, 1, 1), callbacks: [callback('complete', 'failed')] })).toBe(
    "1 of 4 members failed; 2 of 4 members are missing; the complete callback 'complete' in queue 'mail' failed: boom",
  );
  const longWinded = { ...callback('complete', 'failed'), failedReason: `boom ${'x'.repeat(1_000_000)}` };
  expect(reason({ counts: counts(1, 0, 1, 0), callbacks: [longWinded] })).toMatch(
    /^the complete callback 'complete' in queue 'mail' failed: boom x{195}…$/,
  );
  const cancelled = { ...counts(4, 0, 1, 1), cancelled: 2, missing: 0 };
  expect(reason({ counts: cancelled, cancelledAt: 1 })).toBe('cancelled; 1 of 4 members failed');
  expect(reason({ counts: cancelled, cancelledAt: 1, cancelReason: 'wrong file' })).toBe(
    'cancelled: wrong file; 1 of 4 members failed',
  );
});

describe('the next step after a failure', () => {
  const failed = { sealedAt: SEALED, counts: ONE_FAILED };

  test('is to tell the death callbacks and the parents, once', () => {
    const callbacks = [callback('death', 'pending')];
    expect(nextStep(standing({ ...failed, callbacks })).kind).toBe('announce death');
    expect(nextStep(standing({ ...failed, definition: { parentId: 'p' } })).kind).toBe('announce death');
    expect(nextStep(standing({ ...failed, definition: { parentId: 'p' }, diedAt: 1 })).kind).toBe('fail');
    expect(nextStep(standing(failed)).kind).toBe('fail');
  });

  test('enqueues death with complete, when it was not before', () => {
    const callbacks = [callback('death', 'pending'), callback('complete', 'pending')];
    expect(nextStep(standing({ ...failed, callbacks, diedAt: 1 }))).toEqual({ kind: 'enqueue', due: callbacks });
  });

  test('of child batches that were cancelled is no death', () => {
    const callbacks = [callback('death', 'pending')];
    expect(nextStep(standing({ ...failed, callbacks, deaths: 0 })).kind).toBe('fail');
  });

  test('is success all the same, where the batch asks for less than everything', () => {
    const share = (succeedIfPercent: number, members: MemberCounts) =>
      nextStep(standing({ sealedAt: SEALED, counts: members, definition: { policy: { succeedIfPercent } } })).kind;
    expect(share(99, counts(100, 0, 99, 1))).toBe('succeed');
    expect(share(99, counts(100, 0, 98, 2))).toBe('fail');
    expect(share(50, counts(100, 0, 99, 0))).toBe('fail'); // one is missing
    expect(share(50, { ...counts(100, 0, 99, 0), cancelled: 1 })).toBe('fail');
  });

  test('of a cancelled batch is never success', () => {
    const callbacks = [callback('complete', 'succeeded'), callback('success', 'pending')];
    expect(nextStep(standing({ counts: ALL_WELL, cancelledAt: 1, completedAt: 1, callbacks })).kind).toBe('fail');
  });
});

describe('attempted has happened', () => {
  test.each([
    ['when the sweep has seen that every member ran', { attemptedAt: 1, counts: counts(2, 2, 0, 0) }, true],
    ['when all are settled', { sealedAt: SEALED, counts: ONE_FAILED }, true],
    ['not while some are pending', { sealedAt: SEALED, counts: counts(2, 1, 1, 0) }, false],
    ['not when one is missing', { sealedAt: SEALED, counts: ONE_MISSING }, false],
    ['not before the seal', { counts: ALL_WELL }, false],
    ['not when the producer was given up', { abandonedAt: 1, counts: ALL_WELL }, false],
    ['not when some were cancelled', { cancelledAt: 1, counts: { ...ONE_MISSING, cancelled: 1 } }, false],
  ])('%s', (_, facts, expected) => {
    expect(hasHappened('attempted', standing(facts))).toBe(expected);
  });
});

describe('a failure policy cancels', () => {
  const judged = (policy: { cancelAfter?: number; cancelAtPercent?: number }, facts: Partial<Standing>) =>
    isToBeCancelled(standing({ ...facts, definition: { policy } }));
  test.each([
    ['at so many failures, sealed or not', { cancelAfter: 2 }, { counts: counts(9, 7, 0, 2) }, true],
    ['not before', { cancelAfter: 2 }, { counts: counts(9, 8, 0, 1) }, false],
    ['at a share of all members', { cancelAtPercent: 20 }, { sealedAt: SEALED, counts: counts(10, 8, 0, 2) }, true],
    ['not below the share', { cancelAtPercent: 20 }, { sealedAt: SEALED, counts: counts(11, 9, 0, 2) }, false],
    ['not at a share while members are added', { cancelAtPercent: 20 }, { counts: counts(1, 0, 0, 1) }, false],
    ['nothing that is settled', { cancelAfter: 1 }, { sealedAt: SEALED, counts: ONE_FAILED }, false],
    ['nothing twice', { cancelAfter: 1 }, { cancelledAt: 1, counts: counts(9, 7, 0, 2) }, false],
  ])('%s', (_, policy, facts, expected) => {
    expect(judged(policy, facts)).toBe(expected);
  });
});
