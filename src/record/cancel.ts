import type { BatchLife } from './add-members.js';
import { amend, amendAll } from './amend.js';
import type { BatchRedis } from './batch-redis.js';
import { LUA_CHILDREN_ON } from './children.js';
import { batchesKey, batchKeys, FIELD, needsKey } from './keys.js';
import { LUA_NEED } from './needs.js';
import { LUA_FREES_MEMORY, LUA_IS_OWN_CALLBACK, LUA_NOW, LUA_WAKE, named, rowsOf, script } from './script.js';
import { LUA_IS_STRANGER } from './strangers.js';

/** One life of a cancelled batch. */
export interface CancelledBatch {
  readonly batchId: string;
  readonly nonce: string;
}

/** A batch with more dependencies than this has members among them: callbacks and strangers are fewer. */
const MOST_OTHERS = 200;

/** Lua: whether no member of a batch is outstanding, so that it waits only for its own callbacks and for strangers. */
export const LUA_HAS_NO_MEMBERS = `${LUA_IS_STRANGER}${LUA_IS_OWN_CALLBACK}
local function hasNoMembers(dependencies, batchId, nonce, prefix, batchesKey)
  if redis.call('SCARD', dependencies) > ${MOST_OTHERS} then
    return false
  end
  for _, key in ipairs(redis.call('SMEMBERS', dependencies)) do
    local _, id = splitKey(key, prefix)
    if not isStranger(key, prefix, batchesKey, batchId, nonce) and not isOwnCallback(id, batchId, nonce) then
      return false
    end
  end
  return true
end
`;

/** How much of a tree one command marks, in list entries; marking a child costs several. */
const TREE_BUDGET = 1000;
const COST_OF_A_CHILD = 8;

/**
 * Marks a batch as cancelled; then the child batches of cancelled batches, one bounded part. From then on nothing can
 * be added to it, and `success` cannot fire. A batch that is marked needs maintenance until its pending members are
 * gone, so that a crash of the caller does no harm. An open batch is closed by it. With a nonce, only that life of the
 * batch is marked; if it is to be overdue, only one whose deadline has passed.
 *
 * KEYS: a batch job, which only says where in a cluster the others are; what the keys of the sets of needs begin with.
 * ARGV: key prefix of the batches queue, key prefix of all queues; of the batch to be marked id or '', nonce or '',
 * reason or '', '1' if it is to be overdue; then per cancelled batch id, nonce, and the page in the list of its
 * children.
 * Returns outcome and nonce of the batch that was to be marked: 'cancelled', 'cancelled before', 'finished' when there
 * is nothing left to cancel, 'not due', or 'not found'; cursors, of as many of the others as it came to; children: ids
 * and nonces, of those too that were cancelled before.
 */
const MARK_CANCELLED = script(
  'markCancelled',
  2,
  `${LUA_FREES_MEMORY}${LUA_NOW}${LUA_WAKE}${LUA_NEED}${LUA_HAS_NO_MEMBERS}${LUA_CHILDREN_ON}
local queueKey, prefix, needsKey = ARGV[1], ARGV[2], KEYS[2]
local function mark(id, nonce, reason, isOverdue)
  local key = queueKey .. id
  local batch = redis.call('HMGET', key, '${FIELD.nonce}', '${FIELD.removal}', '${FIELD.cancelledAt}',
    '${FIELD.completed}')
  local own = not batch[2] and batch[1]
  if not own or nonce ~= '' and nonce ~= own then
    return 'not found'
  elseif batch[3] then
    return 'cancelled before', own
  elseif isOverdue and now() < tonumber(redis.call('HGET', key, '${FIELD.deadline}') or math.huge) then
    return 'not due', own
  end
  if redis.call('ZSCORE', queueKey .. 'completed', id) or redis.call('ZSCORE', queueKey .. 'failed', id)
    -- Its members have been settled before: unless some have been retried, all that is outstanding are a few callbacks.
    or batch[4] and hasNoMembers(key .. ':dependencies', id, own, prefix, queueKey) then
    return 'finished', own
  end
  redis.call('HSET', key, '${FIELD.cancelledAt}', now(), '${FIELD.cancelReason}', reason)
  need(key, needsKey, id, 'cancel')
  if redis.call('ZSCORE', queueKey .. 'delayed', id) then
    wake(queueKey, key, id)
  end
  return 'cancelled', own
end
local outcome, own
if ARGV[3] ~= '' then
  outcome, own = mark(ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1')
end
local used, cursors, children = 0, {}, {}
local function markPage(batchKey, cursor, reason)
  local ids, following = childrenOn(batchKey, cursor)
  for _, id in ipairs(ids) do
    used = used + 1
    if redis.call('SISMEMBER', batchKey .. ':dependencies', queueKey .. id) == 1 then
      local isMarked, outcome, nonce = pcall(mark, id, '', reason)
      used = used + ${COST_OF_A_CHILD}
      if isMarked and (outcome == 'cancelled' or outcome == 'cancelled before') then
        children[#children + 1] = id
        children[#children + 1] = nonce
      end
    end
  end
  return following
end
for i = 7, #ARGV, 3 do
  if used >= ${TREE_BUDGET} then
    break
  end
  local batchKey, cursor = queueKey .. ARGV[i], ARGV[i + 2]
  local batch = redis.call('HMGET', batchKey, '${FIELD.nonce}', '${FIELD.cancelledAt}', '${FIELD.cancelReason}')
  used = used + ${COST_OF_A_CHILD}
  if batch[1] == ARGV[i + 1] and batch[2] then
    repeat
      cursor = markPage(batchKey, cursor, batch[3] or '')
    until cursor == '0' or used >= ${TREE_BUDGET}
  else
    cursor = '0'
  end
  cursors[#cursors + 1] = cursor
end
return { 'outcome', outcome or '', 'nonce', own or '', 'cursors', cursors, 'children', children }`,
);

export interface Marked {
  readonly outcome: 'cancelled' | 'cancelled before' | 'finished' | 'not due' | 'not found';
  /** The nonce of the batch; '' when there is no such batch. */
  readonly nonce: string;
}

/**
 * Marks a batch as cancelled: the given life of it or, without a nonce, the one that exists; if it is to be overdue,
 * only once its deadline has passed by Redis's clock.
 */
export async function markCancelled(
  redis: BatchRedis,
  batchId: string,
  {
    reason = '',
    nonce = '',
    isOverdue = false,
  }: { readonly reason?: string | undefined; readonly nonce?: string; readonly isOverdue?: boolean },
): Promise<Marked> {
  const keys = [batchKeys(redis, batchId).job, needsKey(redis)];
  const args = [batchesKey(redis, ''), redis.prefix, batchId, nonce, reason, isOverdue ? '1' : ''];
  return named(await redis.run(MARK_CANCELLED, [...keys, ...args])) as unknown as Marked;
}

/** Something that is read page by page, from the cursor '0' until the cursor is '0' again. */
export interface Page {
  readonly cursor: string;
}

/** The result of one command: the pages that it has read, each with its next cursor, and what it has found. */
export interface Advance<P extends Page, Found> {
  readonly pages: readonly P[];
  readonly found: readonly Found[];
}

export type TreePage = CancelledBatch & Page;

export async function markChildren(
  redis: BatchRedis,
  pages: readonly TreePage[],
): Promise<Advance<TreePage, CancelledBatch>> {
  const reply = await redis.run(MARK_CANCELLED, [
    ...[batchKeys(redis, pages[0]?.batchId ?? '').job, needsKey(redis)],
    ...[batchesKey(redis, ''), redis.prefix, '', '', '', ''],
    ...pages.flatMap(({ batchId, nonce, cursor }) => [batchId, nonce, cursor]),
  ]);
  const { cursors = [], children = [] } = named(reply) as Record<string, readonly string[]>;
  return {
    pages: continuedAt(pages, cursors),
    found: rowsOf(children, 2).map(([batchId = '', nonce = '']) => ({ batchId, nonce })),
  };
}

/** Returns the pages that a command has read, each with its next cursor. */
export function continuedAt<P extends Page>(pages: readonly P[], cursors: readonly string[]): P[] {
  return pages.slice(0, cursors.length).map((page, i) => ({ ...page, cursor: cursors[i] ?? '0' }));
}

/**
 * Returns what is to be done in a cancelled batch now: 'everything', only its 'members' when it has been gone through
 * before, or 'nothing' while a member that was running then still is. A batch that is not cancelled, or is gone, loses
 * the need for it.
 */
export async function lookAtCancelled(
  redis: BatchRedis,
  batchId: string,
): Promise<{ readonly what: 'nothing' | 'everything' | 'members'; readonly nonce: string }> {
  const fields = [FIELD.nonce, FIELD.cancelledAt, FIELD.removal, FIELD.needs, FIELD.deferred];
  const found = await redis.command('HMGET', batchKeys(redis, batchId).job, ...fields);
  const [nonce, cancelledAt, isRemoved, needs, deferred] = found as (string | null)[];
  if (!nonce || !cancelledAt || isRemoved) {
    // Meanwhile a new batch can have been created under this id, and cancelled.
    await amend(redis, { id: batchId, expect: { [FIELD.cancelledAt]: '' }, unneed: 'cancel cancel!' });
    return { what: 'nothing', nonce: '' };
  }
  if (!needs?.split(' ').includes('cancel!')) {
    return { what: 'everything', nonce };
  }
  const isRunning = deferred && (await redis.command('EXISTS', `${deferred}:lock`)) === 1;
  return { what: isRunning ? 'nothing' : 'members', nonce };
}

/** A cancelled batch that was gone through. */
export interface EmptiedBatch extends CancelledBatch {
  /** Whether a job of the batch has still to end. */
  readonly isOutstanding: boolean;
}

/**
 * Notes that cancelled batches were gone through. Those without an outstanding job need nothing any more; what is left
 * of the others was running then.
 */
export async function noteEmptied(redis: BatchRedis, batches: readonly EmptiedBatch[]): Promise<void> {
  const changes = batches.map(({ batchId: id, nonce, isOutstanding }) =>
    isOutstanding
      ? { id, nonce, having: 'cancel', unneed: 'cancel', need: 'cancel!' }
      : { id, nonce, unneed: 'cancel cancel!' },
  );
  await amendAll(redis, changes);
}

/**
 * Counts a cancelled child batch on its parent, once, so that its failure there is not taken for a death. Returns false
 * when the child is gone, or is being removed.
 */
export async function reportCancelToParent(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  parentId: string,
): Promise<boolean> {
  const { cancelReported, cancelledChildren } = FIELD;
  const increment = { of: parentId, field: cancelledChildren };
  const change = { id, nonce, expect: { [cancelReported]: '' }, set: { [cancelReported]: '1' }, increment };
  return (await amend(redis, change)) !== 'gone';
}
