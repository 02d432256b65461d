import { BatchOptionsError } from '../errors.js';
import { plainReason } from '../model/rules.js';
import { type MemberPage, type PagedMember, readMemberPage } from '../record/member-pages.js';
import { beginsAgain, SCAN_START } from '../record/scan-place.js';
import { checkOptions, describe } from '../validation.js';
import type { BatchContext } from './batch-context.js';
import { describedMember, memberFilter } from './members-among.js';
import { checkCount, DEFAULT_COUNT, readCursor, writeCursor } from './paging.js';
import { returnValueOf } from './settled.js';

/** How a member stands: `pending` until it has succeeded, or failed for good. */
export type MemberState = 'pending' | 'succeeded' | 'failed';

/** A member of a batch: a job, or a child batch. */
export interface BatchMember<Data = unknown, Result = unknown> {
  /** The id of the job, or of the child batch. */
  readonly id: string;
  /** The queue of the job; of a child batch, that of the batches. */
  readonly queue: string;
  /** Whether the member is a child batch. */
  readonly isBatch: boolean;
  /** Whether it is pending, has succeeded or has failed. */
  readonly state: MemberState;
  /** The data of the job, as long as it exists. */
  readonly data?: Data;
  /** What a member that succeeded has returned; of a child batch, its final status. */
  readonly value?: Result;
  /** Why a member failed. */
  readonly reason?: string;
}

/** A page of the members of a batch. */
export interface BatchMembersPage<Data = unknown, Result = unknown> {
  /** The members of this page, in no particular order. */
  readonly members: readonly BatchMember<Data, Result>[];
  /** Where the next page begins; undefined after the last one. */
  readonly cursor: string | undefined;
}

/** Which members `batch.members()` reads. */
export interface MembersPageOptions {
  /** Only members that stand so. Default: all of them, those that are pending first. */
  readonly state?: MemberState | undefined;
  /** The `cursor` of the page before; without it, the first page. */
  readonly cursor?: string | undefined;
  /** About how many members are wanted, 1 to 1,000. Default: 100. */
  readonly count?: number | undefined;
}

const COLLECTION = { pending: 'dependencies', succeeded: 'processed', failed: 'failed' } as const;
const STATES: readonly MemberState[] = ['pending', 'succeeded', 'failed'];

/** Reads one page; it holds members that stand alike, and only the last one may be empty. */
export async function membersPage<Data, Result>(
  context: BatchContext,
  batchId: string,
  options: MembersPageOptions,
): Promise<BatchMembersPage<Data, Result>> {
  const { states, count, ...from } = checkPageOptions(options);
  const isMember = await memberFilter(context, batchId);
  let { at, place } = from;
  for (;;) {
    const state = states[at] ?? 'failed';
    const wanted = { which: COLLECTION[state], count, withData: true } as const;
    const { members, next, server }: MemberPage = await readMemberPage(context.redis, batchId, { ...wanted, place });
    if (beginsAgain(place, next)) {
      // With the first state, because a member that had settled is pending again on a server that has taken over
      // before it had got the end of the job.
      [at, place] = [0, next];
      continue;
    }
    const found = members.filter(isMember);
    [at, place] = next === undefined ? [at + 1, { ...place, cursor: '0', server }] : [at, next];
    const cursor = at >= states.length ? undefined : `${states[at]}:${writeCursor(place)}`;
    if (found.length > 0 || cursor === undefined) {
      return { members: found.map((member) => memberOf<Data, Result>(context, state, member)), cursor };
    }
  }
}

function memberOf<Data, Result>(
  context: BatchContext,
  state: MemberState,
  member: PagedMember,
): BatchMember<Data, Result> {
  const { value } = member;
  return {
    ...describedMember<Data>(context, member),
    state,
    ...(state === 'succeeded' ? { value: returnValueOf(value) as Result } : {}),
    ...(state === 'failed' ? { reason: plainReason(value) } : {}),
  };
}

const textOf = (given: unknown) => (typeof given === 'string' ? given : '');

function checkPageOptions(options: MembersPageOptions) {
  checkOptions('members', options, ['state', 'cursor', 'count']);
  const { state, count = DEFAULT_COUNT } = options;
  if (state !== undefined && !STATES.includes(state)) {
    throw new BatchOptionsError(`members(): state must be one of ${STATES.join(', ')}, not ${describe(state)}.`);
  }
  checkCount('members()', count);
  const states = state === undefined ? STATES : [state];
  const [, first = '', rest] = /^([a-z]+):(.+)$/.exec(textOf(options.cursor)) ?? [];
  const at = options.cursor === undefined ? 0 : states.indexOf(first as MemberState);
  const place = options.cursor === undefined ? SCAN_START : readCursor(rest);
  if (at < 0 || place === undefined) {
    throw new BatchOptionsError(
      `members(): cursor must be what the page before has returned, not ${describe(options.cursor)}.`,
    );
  }
  return { states, count, at, place };
}
