import { isCallbackId } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD, memberName } from './keys.js';
import { readMemberPage } from './member-pages.js';
import { SCAN_START, type ScanPlace } from './scan-place.js';

const MEMBERS_PER_PAGE = 500;

/** How far the search of a batch for a member that has not run yet has come. */
export interface NotRunSearch {
  /** The life of the batch in which it began: another one under the same id has other members. */
  readonly nonce: string;
  /** How many members there were when it began. */
  readonly total: string;
  readonly place: ScanPlace;
  /** The member at which it stopped, because it had not run; undefined for none. */
  readonly notRun?: string | undefined;
}

/** Begins a search; undefined for a batch without members. */
export async function beginSearch(redis: BatchRedis, batchId: string): Promise<NotRunSearch | undefined> {
  const reply = await redis.command('HMGET', batchKeys(redis, batchId).job, FIELD.nonce, FIELD.total);
  const [nonce, total] = reply as (string | null)[];
  return !nonce || !total ? undefined : { nonce, total, place: SCAN_START };
}

/**
 * Continues a search by one page, or stops at a member that has not run. While the member at which it stopped has still
 * not run, no other is looked at.
 *
 * @returns 'all have run' after the last page. Members that were added meanwhile may not have been looked at.
 */
export async function continueSearch(
  redis: BatchRedis,
  batchId: string,
  search: NotRunSearch,
): Promise<NotRunSearch | 'all have run'> {
  const { notRun, place } = search;
  if (notRun !== undefined && (await hasStillNotRun(redis, batchId, notRun))) {
    return search;
  }
  const wanted = { which: 'dependencies', count: MEMBERS_PER_PAGE, withData: false } as const;
  const { members, next } = await readMemberPage(redis, batchId, { ...wanted, place });
  const waiting = members.find(({ key, value }) => isMember(redis, batchId, key) && !hasRun(redis, key, value));
  if (waiting !== undefined) {
    return { ...search, notRun: waiting.key };
  }
  return next === undefined ? 'all have run' : { ...search, place: next, notRun: undefined };
}

async function hasStillNotRun(redis: BatchRedis, batchId: string, key: string): Promise<boolean> {
  const { dependencies } = batchKeys(redis, batchId);
  const isOutstanding = (await redis.command('SISMEMBER', dependencies, key)) === 1;
  return isOutstanding && !hasRun(redis, key, await redis.command('HGET', key, 'atm'));
}

/** Whether an outstanding member has made an attempt. A child batch has run when it has finished. */
function hasRun({ prefix, batchesQueue }: BatchRedis, key: string, attempts: unknown): boolean {
  return memberName(prefix, key).queue !== batchesQueue && Number(attempts) > 0;
}

/** Whether an outstanding job is a member: a callback is none, nor is a child with another prefix. */
function isMember({ prefix }: BatchRedis, batchId: string, key: string): boolean {
  return key.startsWith(`${prefix}:`) && !isCallbackId(batchId, memberName(prefix, key).id);
}
