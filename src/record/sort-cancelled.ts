import type { BatchRedis } from './batch-redis.js';
import { type Advance, type CancelledBatch, continuedAt, LUA_HAS_NO_MEMBERS, type Page } from './cancel.js';
import { type FlowNode, flowNodes } from './cancel-members.js';
import { LUA_DEFERRAL } from './deferral.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_SCAN_PLACE } from './scan-place.js';
import { LUA_FREES_MEMORY, named, script } from './script.js';

/**
 * What one command looks at: so many failures, or so many bytes of their reasons. Redis does not tell how long a reason
 * is before it returns it, so they are read one by one.
 */
const MOST_FAILURES = 500;
const MOST_BYTES = 400_000;
const COST_OF_A_BATCH = 5;

/**
 * Sorts the failed members of cancelled batches, one bounded part. A member that BullMQ has failed because of the
 * cancel is counted as cancelled, and leaves `failed`. Others may fail meanwhile: afterwards `failed` may hold members
 * that were not sorted, but those that are reported have failed by themselves.
 *
 * KEYS: a batch job, which only says where in a cluster the others are.
 * ARGV: key prefix of the batches queue, key prefix of all queues, then per batch id, nonce ('' for the life there is),
 * place in them, and, once it has begun, '1' when no member was outstanding when it began, else '0'.
 * Returns cursors (places to go on at), of as many batches as it came to; nonces and settled, of each; flows: id,
 * nonce, key and collection of failed members that have jobs below them; failures: how many members have failed by
 * themselves, cancelled child batches apart.
 */
const SORT = script(
  'sortCancelled',
  1,
  `${LUA_FREES_MEMORY}${LUA_HAS_NO_MEMBERS}${LUA_DEFERRAL}${LUA_SCAN_PLACE}
local batchesQueue, prefix = ARGV[1], ARGV[2]
local used, bytes, failures, cursors, nonces, settled, flows = 0, 0, 0, {}, {}, {}, {}
local function noteFailure(id, nonce, member)
  local queueKey, memberId = splitKey(member, prefix)
  if queueKey == batchesQueue then
    failures = failures + 1 - redis.call('HEXISTS', member, '${FIELD.cancelReported}')
  elseif not isStranger(member, prefix, batchesQueue, id, nonce) and not isOwnCallback(memberId, id, nonce) then
    failures = failures + 1
    if redis.call('EXISTS', member .. ':dependencies', member .. ':unsuccessful', member .. ':failed') > 0 then
      flows[#flows + 1], flows[#flows + 2], flows[#flows + 3], flows[#flows + 4] = id, nonce, member, 'dependencies'
    end
  end
end
local function sortPage(id, nonce, key, cursor)
  local page, count = redis.call('HSCAN', key .. ':failed', cursor, 'COUNT', 1), 0
  for i = 1, #page[2], 2 do
    local member, reason = page[2][i], page[2][i + 1]
    used, bytes = used + 1, bytes + #reason
    if isDeferral(reason, nonce) then
      count = count + redis.call('HDEL', key .. ':failed', member)
    else
      noteFailure(id, nonce, member)
    end
  end
  if count > 0 then
    redis.call('HINCRBY', key, '${FIELD.cancelled}', count)
  end
  return page[1]
end
local function mayGoOn()
  return used < ${MOST_FAILURES} and bytes < ${MOST_BYTES}
end
for i = 3, #ARGV, 4 do
  if not mayGoOn() then
    break
  end
  local id, nonce, place, isSettled = unpack(ARGV, i, i + 3)
  local key, cursor = batchesQueue .. id, cursorAt(place)
  local batch = redis.call('HMGET', key, '${FIELD.nonce}', '${FIELD.cancelledAt}')
  used = used + ${COST_OF_A_BATCH}
  if batch[1] and batch[2] and (nonce == '' or nonce == batch[1]) then
    nonce = batch[1]
    if isSettled == '' then
      isSettled = hasNoMembers(key .. ':dependencies', id, nonce, prefix, batchesQueue) and '1' or '0'
    end
    repeat
      cursor = sortPage(id, nonce, key, cursor)
    until cursor == '0' or not mayGoOn()
    if cursor == '0' and isSettled == '1' then
      -- No member can have failed since it began.
      redis.call('HDEL', key, '${FIELD.deferred}')
    end
  else
    cursor = '0'
  end
  cursors[#cursors + 1], nonces[#nonces + 1], settled[#settled + 1] = placeOf(cursor), nonce, isSettled
end
return { 'cursors', cursors, 'nonces', nonces, 'settled', settled, 'flows', flows, 'failures', failures }`,
);

export interface SortPage extends CancelledBatch, Page {
  /** Whether no member was outstanding when it began; '' before it has. */
  readonly settled: '' | '0' | '1';
}

export interface Sorted extends Advance<SortPage, FlowNode> {
  /** How many of the members that it has read have failed by themselves. */
  readonly failures: number;
}

/** Sorts a further part of the failed members of these batches, and finds those with jobs below them. */
export async function sortFailed(redis: BatchRedis, pages: readonly SortPage[]): Promise<Sorted> {
  const reply = await redis.run(SORT, [
    ...[batchKeys(redis, pages[0]?.batchId ?? '').job, batchesKey(redis, ''), redis.prefix],
    ...pages.flatMap(({ batchId, nonce, cursor, settled }) => [batchId, nonce, cursor, settled]),
  ]);
  const { failures, ...lists } = named(reply);
  const { cursors = [], nonces = [], settled = [], flows = [] } = lists as Record<string, readonly string[]>;
  const goOn = (page: SortPage, i: number) => ({
    ...page,
    nonce: nonces[i] ?? '',
    settled: (settled[i] ?? '') as SortPage['settled'],
  });
  return { pages: continuedAt(pages, cursors).map(goOn), found: flowNodes(flows), failures: Number(failures) };
}

/**
 * Counts those failed members of a cancelled batch as cancelled that BullMQ has failed because of the cancel. Returns
 * how many have failed by themselves; 0 for a batch that is not cancelled. As long as members are outstanding, more may
 * fail for either reason: what is in `failed` afterwards proves nothing.
 */
export async function sortCancelled(redis: BatchRedis, batchId: string): Promise<number> {
  let failures = 0;
  const whole: SortPage = { batchId, nonce: '', cursor: '0', settled: '' };
  for (let pages: readonly SortPage[] = [whole]; pages.length > 0; ) {
    const sorted = await sortFailed(redis, pages);
    failures += sorted.failures;
    pages = sorted.pages.filter(({ cursor }) => cursor !== '0');
  }
  return failures;
}
