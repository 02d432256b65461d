import { BatchNotFoundError, BatchOptionsError } from '../errors.js';
import { reasonPattern } from '../model/reason-pattern.js';
import { plainReason } from '../model/rules.js';
import { type MemberName, memberName } from '../record/keys.js';
import { type MemberPage, memberPages, type PagedMember, readMemberPage } from '../record/member-pages.js';
import { beginsAgain, SCAN_START, type ScanPlace } from '../record/scan-place.js';
import { readSnapshot } from '../record/snapshot.js';
import { checkOptions, describe } from '../validation.js';
import type { BatchContext } from './batch-context.js';
import { describedMember, isMemberOf, memberFilter } from './members-among.js';
import { sourceOfResults } from './output.js';
import { checkCount, DEFAULT_COUNT, readCursor, writeCursor } from './paging.js';
import type { BatchStatus } from './status.js';

/** A member that succeeded: a job with what it returned, or a child batch with its final status. */
export type BatchResult<Result = unknown> =
  | {
      /** The id of the job. */
      readonly id: string;
      /** The name of the job's queue. */
      readonly queue: string;
      /** What the job has returned. */
      readonly value: Result;
      /** False: the member is a job. */
      readonly isBatch: false;
    }
  | {
      /** The id of the child batch. */
      readonly id: string;
      /** The name of the queue that holds the batches. */
      readonly queue: string;
      /** The final status of the child batch. */
      readonly value: BatchStatus;
      /** True: the member is a child batch. */
      readonly isBatch: true;
    };

/** A member that failed for good. */
export interface BatchFailure<Data = unknown> {
  /** The id of the job, or of the child batch. */
  readonly id: string;
  /** The name of the job's queue; for a child batch, of the queue that holds the batches. */
  readonly queue: string;
  /** The message of the last attempt's error; for a child batch, what failed in it. */
  readonly reason: string;
  /** The job's data; absent for a child batch, and when the job has been removed. */
  readonly data?: Data;
  /** Whether the member is a child batch. */
  readonly isBatch: boolean;
}

/** One page of the failures of a batch, as `batch.failuresPage()` returns it. */
export interface BatchFailuresPage<Data = unknown> {
  /** The failures of this page, in no particular order. */
  readonly failures: readonly BatchFailure<Data>[];
  /** Where the next page begins; undefined after the last one. */
  readonly cursor: string | undefined;
}

/** Which page of the failures `batch.failuresPage()` reads. */
export interface FailuresPageOptions {
  /** The `cursor` of the page before; without it, the first page. */
  readonly cursor?: string | undefined;
  /** About how many failures are wanted, 1 to 1,000; default 100. */
  readonly count?: number | undefined;
  /** Only failures with this reason, as `failureReasons()` tells it; default: all. */
  readonly reason?: string | undefined;
}

const PAGE_SIZE = 500;
/** How many failures one page of those with a given reason looks at. */
const MOST_EXAMINED = 1000;

export async function* resultsOf<Result>(context: BatchContext, batchId: string): AsyncGenerator<BatchResult<Result>> {
  const source = await sourceOfResults(context, batchId);
  for await (const { key, value } of settledMembers(context, source, 'processed', false)) {
    const name = memberName(context.redis.prefix, key);
    yield { ...name, value: returnValueOf(value), isBatch: name.queue === context.batches.name } as BatchResult<Result>;
  }
}

/** Yields the failures; without their data, the jobs of the members need not be read. */
export async function* failuresOf<Data>(
  context: BatchContext,
  batchId: string,
  { withData }: { readonly withData: boolean },
): AsyncGenerator<BatchFailure<Data>, void> {
  for await (const member of settledMembers(context, batchId, 'failed', withData)) {
    yield failureOf<Data>(context, member);
  }
}

/** Returns what a member has returned: workers of BullMQ's Elixir port store a string as it is, not as JSON. */
export function returnValueOf(stored: string): unknown {
  try {
    return JSON.parse(stored);
  } catch {
    return stored;
  }
}

function failureOf<Data>(context: BatchContext, member: PagedMember): BatchFailure<Data> {
  return { ...describedMember<Data>(context, member), reason: plainReason(member.value) };
}

/**
 * Reads one page of failures, for callers that cannot keep an iterator between two requests. Only the last page may be
 * empty; with a reason, any page may be, because it ends after a number of failures with other reasons.
 */
export async function failuresPage<Data>(
  context: BatchContext,
  batchId: string,
  options: FailuresPageOptions,
): Promise<BatchFailuresPage<Data>> {
  const { count, reason, ...from } = checkPageOptions(options);
  const isWanted = ({ value }: PagedMember) => reason === undefined || reasonPattern(value) === reason;
  const isMember = await memberFilter(context, batchId);
  let examined = 0;
  let place: ScanPlace | undefined = from.place;
  let members: PagedMember[] = [];
  do {
    const left = reason === undefined ? count - members.length : count;
    const wanted = { which: 'failed', count: left, withData: true } as const;
    const page: MemberPage = await readMemberPage(context.redis, batchId, { ...wanted, place });
    const found = page.members.filter(isMember).filter(isWanted);
    // A reading that begins again returns the members found so far once more.
    members = beginsAgain(place, page.next) ? [] : [...members, ...found];
    examined += page.members.length;
    place = page.next;
  } while (members.length < count && place !== undefined && (reason === undefined || examined < MOST_EXAMINED));
  return {
    failures: members.map((member) => failureOf<Data>(context, member)),
    cursor: place && writeCursor(place),
  };
}

function checkPageOptions(options: FailuresPageOptions): {
  place: ScanPlace;
  count: number;
  reason: string | undefined;
} {
  checkOptions('failuresPage', options, ['cursor', 'count', 'reason']);
  const { cursor, count = DEFAULT_COUNT, reason } = options;
  const place = cursor === undefined ? SCAN_START : readCursor(cursor);
  if (place === undefined) {
    throw new BatchOptionsError(
      `failuresPage(): cursor must be what the page before has returned, not ${describe(cursor)}.`,
    );
  }
  checkCount('failuresPage()', count);
  if (reason !== undefined && typeof reason !== 'string') {
    throw new BatchOptionsError(`failuresPage(): reason must be a string, not ${describe(reason)}.`);
  }
  return { place, count, reason: reason === undefined ? undefined : reasonPattern(reason) };
}

/** A page of what the jobs of a batch have returned, and where the next page is; undefined after the last one. */
export async function resultsPage(
  context: BatchContext,
  batchId: string,
  { place, count }: { readonly place: ScanPlace; readonly count: number },
): Promise<{
  readonly results: readonly (MemberName & { readonly value: unknown })[];
  readonly next: ScanPlace | undefined;
}> {
  const wanted = { which: 'processed', count, withData: false } as const;
  const page = await readMemberPage(context.redis, batchId, { ...wanted, place });
  const isMember = await memberFilter(context, batchId);
  const results = page.members.filter(isMember).map(({ key, value }) => ({
    ...memberName(context.redis.prefix, key),
    value: returnValueOf(value),
  }));
  return { results: results.filter(({ queue }) => queue !== context.batches.name), next: page.next };
}

/**
 * Reads settled members page by page, so that a batch of any size passes through little memory and never keeps Redis
 * busy.
 *
 * @throws BatchNotFoundError when the batch was removed, also meanwhile: what was yielded is not all then.
 */
async function* settledMembers(
  context: BatchContext,
  batchId: string,
  which: 'processed' | 'failed',
  withData: boolean,
): AsyncGenerator<PagedMember> {
  const before = await readSnapshot(context.redis, batchId);
  const isMember = isMemberOf(context, batchId, before?.strangers);
  for await (const page of memberPages(context.redis, batchId, { which, count: PAGE_SIZE, withData })) {
    yield* page.filter(isMember);
  }
  // A removal marks the batch before it takes members away: what is there in the end was there all the time.
  const after = await readSnapshot(context.redis, batchId);
  if (after === undefined || after.definition.nonce !== before?.definition.nonce) {
    throw new BatchNotFoundError(batchId);
  }
}
