import type { BatchLife } from './add-members.js';
import type { BatchRedis } from './batch-redis.js';
import { LUA_CANCEL_JOB } from './deferral.js';
import { batchesKey, batchKeys, droppedKey, FIELD, jobKey } from './keys.js';
import { LUA_FREES_MEMORY, LUA_WAKE, named, script } from './script.js';
import { LUA_IS_STRANGER } from './strangers.js';

/**
 * Takes a member that does not run out of its batch, which counts one less from then on, and its job out of its queue;
 * the batch job is woken when nothing else was left. A job in a list is dropped: it has no parent any more, and is
 * taken out by whoever comes to it. Sent again, it finds no such member.
 *
 * KEYS: batch job, its dependencies, processed, failed, registry of dropped jobs.
 * ARGV: nonce, batch id, key prefix of the batches queue, key of the member, key prefix of the member's queue, its id.
 * Returns outcome: 'removed', 'not found' (no such life of the batch), 'no member', or why it stays: 'settled',
 *       'running', 'has jobs below'.
 */
const REMOVE_MEMBER = script(
  'removeMember',
  5,
  `${LUA_FREES_MEMORY}${LUA_WAKE}${LUA_CANCEL_JOB}${LUA_IS_STRANGER}
local nonce, batchId, batchesQueue, key, queueKey, id = unpack(ARGV)
local batch = redis.call('HMGET', KEYS[1], '${FIELD.nonce}', '${FIELD.removal}', '${FIELD.enqueued}')
local prefix = string.match(batchesQueue, '^(.*):[^:]*:$')
if batch[1] ~= nonce or batch[2] then
  return { 'outcome', 'not found' }
elseif string.find('\\n' .. (batch[3] or '') .. '\\n', '\\n' .. key .. '\\n', 1, true)
  or isStranger(key, prefix, batchesQueue, batchId, nonce) then
  -- A callback, or a job that was attached by hand: neither is counted.
  return { 'outcome', 'no member' }
elseif redis.call('SISMEMBER', KEYS[2], key) == 0 then
  local isSettled = redis.call('HEXISTS', KEYS[3], key) == 1 or redis.call('HEXISTS', KEYS[4], key) == 1
  return { 'outcome', isSettled and 'settled' or 'no member' }
elseif redis.call('SCARD', key .. ':dependencies') > 0 then
  return { 'outcome', 'has jobs below' }
elseif isJobRunning(key, queueKey, id) then
  return { 'outcome', 'running' }
end
if cancelJob(key, queueKey, id, KEYS[1], deferralOf(nonce, 'removed from its batch')) ~= 'cancelled' then
  return { 'outcome', 'settled' }
end
noteDropped(KEYS[5])
redis.call('HINCRBY', KEYS[1], '${FIELD.total}', -1)
wakeIfIdle(batchesQueue, KEYS[1], batchId, KEYS[2])
return { 'outcome', 'removed' }`,
);

export type MemberRemoved = 'removed' | 'not found' | 'no member' | 'settled' | 'running' | 'has jobs below';

export async function takeMemberOut(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  member: { readonly queue: string; readonly id: string },
): Promise<MemberRemoved> {
  const { job, dependencies, processed, failed } = batchKeys(redis, id);
  const keys = [job, dependencies, processed, failed, droppedKey(redis)];
  const place = [jobKey(redis.prefix, member.queue, member.id), jobKey(redis.prefix, member.queue, ''), member.id];
  const reply = await redis.run(REMOVE_MEMBER, [...keys, nonce, id, batchesKey(redis, ''), ...place]);
  return named(reply).outcome as MemberRemoved;
}
