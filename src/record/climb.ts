import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_NOW, script } from './script.js';

/** How many levels are climbed at most: parents that were set by hand may form a circle. */
const MOST_LEVELS = 1000;

/**
 * Climbs from a batch to those above it, in one step however deep it is; the climb ends at a parent that is not a
 * batch or is kept elsewhere. With a claim, each of them notes, or forgets again, that it is being retried.
 *
 * KEYS: batch job.
 * ARGV: key prefix of the batches queue, nonce or '', token of the claim or '', for how many ms it holds (0 ends it);
 *       for a running job, the key of its lock or '', and its token or ''.
 * Returns 'ended' when the job's lock is not held, or not with its token; 'gone' without this life of the batch, or
 *       when it or one above it is being removed; otherwise 'cancelled' if any of them is, or 'not cancelled'. Removing
 *       an unfinished batch cancels it: without a claim, that is 'cancelled' until the batch is gone.
 */
const CLIMB = script(
  'climb',
  1,
  `${LUA_NOW}
local queueKey, nonce, claimToken, claimMs, lockKey, lockToken = unpack(ARGV)
if lockKey ~= '' then
  local token = redis.call('GET', lockKey)
  if not token or lockToken ~= '' and token ~= lockToken then
    return 'ended'
  end
end
local keys, key, isCancelled = {}, KEYS[1], false
while key and #keys < ${MOST_LEVELS} and string.sub(key, 1, #queueKey) == queueKey do
  local own, isRemoved, cancelledAt, above = unpack(redis.call('HMGET', key, '${FIELD.nonce}', '${FIELD.removal}',
    '${FIELD.cancelledAt}', 'parentKey'))
  if key == KEYS[1] and (not own or nonce ~= '' and nonce ~= own)
    or isRemoved and (claimToken ~= '' or not cancelledAt) then
    return 'gone'
  elseif not own then
    break
  end
  keys[#keys + 1] = key
  isCancelled = isCancelled or cancelledAt
  key = above
end
for _, climbed in ipairs(claimToken ~= '' and keys or {}) do
  local claim = redis.call('HGET', climbed, '${FIELD.retrying}')
  if tonumber(claimMs) > 0 then
    redis.call('HSET', climbed, '${FIELD.retrying}', claimToken .. ' ' .. now() + claimMs)
  elseif claim and string.sub(claim, 1, #claimToken + 1) == claimToken .. ' ' then
    redis.call('HDEL', climbed, '${FIELD.retrying}')
  end
end
return isCancelled and 'cancelled' or 'not cancelled'`,
);

type Climbed = 'ended' | 'gone' | 'cancelled' | 'not cancelled';

interface Climb {
  readonly batchId: string;
  readonly nonce?: string;
  readonly claim?: { readonly token: string; readonly ms: number };
  readonly lock?: { readonly key: string; readonly token: string };
}

async function climb(redis: BatchRedis, { batchId, nonce = '', claim, lock }: Climb): Promise<Climbed> {
  const claimed = [claim?.token ?? '', claim?.ms ?? 0];
  const held = [lock?.key ?? '', lock?.token ?? ''];
  const args = [batchKeys(redis, batchId).job, batchesKey(redis, ''), nonce, ...claimed, ...held];
  return (await redis.run(CLIMB, args)) as Climbed;
}

/** Whether a batch or one above it is cancelled; undefined when this life of it is gone, or is being removed. */
export async function isCancelled(redis: BatchRedis, batchId: string, nonce: string): Promise<boolean | undefined> {
  const found = await climb(redis, { batchId, nonce });
  return found === 'gone' ? undefined : found === 'cancelled';
}

/**
 * What a running job is to know of its batch: `cancelled` also when it is gone, or being removed. `ended` when another
 * worker has taken the job, or it is not running any more.
 */
export async function isCancelledFor(
  redis: BatchRedis,
  batch: { readonly id: string },
  lock: { readonly key: string; readonly token: string },
): Promise<'cancelled' | 'not cancelled' | 'ended'> {
  const found = await climb(redis, { batchId: batch.id, lock });
  return found === 'gone' ? 'cancelled' : found;
}

/** One life of a batch that is being retried, and the token of the retrying call. */
export interface RetryClaim {
  readonly batchId: string;
  readonly nonce: string;
  readonly token: string;
}

/** How long, in ms, a retry without a sign of life keeps a batch from expiring. */
const CLAIM_MS = 60_000;

/**
 * Keeps a finished batch, and those above it, from expiring and from being removed without `force`, while it is
 * retried. Returns false when the batch is gone.
 */
export function claimRetry(redis: BatchRedis, claim: RetryClaim): Promise<boolean> {
  return setClaim(redis, claim, CLAIM_MS);
}

/** Ends the claim of a retry. Returns false when the batch is gone. */
export function unclaimRetry(redis: BatchRedis, claim: RetryClaim): Promise<boolean> {
  return setClaim(redis, claim, 0);
}

async function setClaim(redis: BatchRedis, { batchId, nonce, token }: RetryClaim, ms: number): Promise<boolean> {
  return (await climb(redis, { batchId, nonce, claim: { token, ms } })) !== 'gone';
}
