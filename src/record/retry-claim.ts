import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_NONCE, LUA_NOW, script } from './script.js';

/** How long, in ms, a retry without a sign of life keeps a batch from expiring. */
const CLAIM_MS = 60_000;
/** How many levels are climbed at most: parents that were set by hand may form a circle. */
const MOST_LEVELS = 1000;

/*
 * Lua: climb(jobKey, nonce, batchesQueue) returns the keys of a batch and of those above it, or nil when this life of
 * the batch is gone, or when it or one above it is being removed.
 */
const LUA_CLIMB = `${LUA_NONCE}
local function climb(jobKey, nonce, batchesQueue)
  local keys, key = {}, jobKey
  while key and #keys < ${MOST_LEVELS} and string.sub(key, 1, #batchesQueue) == batchesQueue do
    local found = nonceOf(key)
    if redis.call('HEXISTS', key, '${FIELD.removal}') == 1 or key == jobKey and found ~= nonce then
      return nil
    end
    if not found then
      break
    end
    keys[#keys + 1] = key
    key = redis.call('HGET', key, 'parentKey')
  end
  return keys
end
`;

/**
 * Keeps a finished batch, and those above it, from expiring and from being removed without `force`, while it is
 * retried; or ends the claim of the same call.
 *
 * KEYS: batch job. ARGV: nonce, key prefix of the batches queue, a token of the call, for how many ms; 0 ends the
 * claim.
 * Returns 1, or 0 when this life of the batch is gone.
 */
const CLAIM = script(
  'claimRetry',
  1,
  `${LUA_NOW}${LUA_CLIMB}
local keys, ttl = climb(KEYS[1], ARGV[1], ARGV[2]), tonumber(ARGV[4])
for _, key in ipairs(keys or {}) do
  local claim = redis.call('HGET', key, '${FIELD.retrying}')
  if ttl > 0 then
    redis.call('HSET', key, '${FIELD.retrying}', ARGV[3] .. ' ' .. now() + ttl)
  elseif claim and string.sub(claim, 1, #ARGV[3] + 1) == ARGV[3] .. ' ' then
    redis.call('HDEL', key, '${FIELD.retrying}')
  end
end
return keys and 1 or 0`,
);

/** One life of a batch that is being retried, and the token of the retrying call. */
export interface RetryClaim {
  readonly batchId: string;
  readonly nonce: string;
  readonly token: string;
}

/** Claims a batch for a retry, or renews the claim. Returns false when the batch is gone. */
export function claimRetry(redis: BatchRedis, claim: RetryClaim): Promise<boolean> {
  return setClaim(redis, claim, CLAIM_MS);
}

/** Ends the claim of a retry. Returns false when the batch is gone. */
export function unclaimRetry(redis: BatchRedis, claim: RetryClaim): Promise<boolean> {
  return setClaim(redis, claim, 0);
}

async function setClaim(redis: BatchRedis, { batchId, nonce, token }: RetryClaim, ttlMs: number): Promise<boolean> {
  const args = [batchKeys(redis, batchId).job, nonce, batchesKey(redis, ''), token, ttlMs];
  return (await redis.run(CLAIM, args)) === 1;
}
