import type { BatchDefinition } from '../model/definition.js';
import type { BatchRedis } from './batch-redis.js';
import { LUA_EXPIRED } from './expiry.js';
import { batchesKey, batchKeys, FIELD, needsKey } from './keys.js';
import { LUA_FORGET_NEEDS, LUA_NEED } from './needs.js';
import { LUA_FREES_MEMORY, LUA_NOW, named, script } from './script.js';

/**
 * After how many ms without a sign of life of its holder a removal may be taken over. Each step of the holder is one.
 */
export const LEASE_MS = 5000;

/** One life of a batch, and who removes it. */
export interface Hold {
  readonly batchId: string;
  /** The nonce of the life that is being removed: a later batch with this id is left alone. */
  readonly nonce: string;
  /** A token of the removing call. It tells a command that was sent twice from one of another call. */
  readonly holder: string;
}

/**
 * Lua, after LUA_NOW: reads and writes the mark of a removal in the batch's hash. The mark says who holds the removal,
 * how long the lease lasts, and what is removed besides the batch: `members`, the jobs of its members; `force`, also an
 * unfinished batch.
 */
export const LUA_REMOVAL = `
local function readRemoval(jobKey)
  local mark = redis.call('HGET', jobKey, '${FIELD.removal}')
  if not mark then
    return nil
  end
  local holder, ends, what = string.match(mark, '^(%S+) (%d+)(.*)$')
  local members, force = string.find(what, ' members', 1, true), string.find(what, ' force', 1, true)
  return { holder = holder, ends = tonumber(ends), members = members ~= nil, force = force ~= nil }
end
local function writeRemoval(jobKey, removal)
  local mark = removal.holder .. ' ' .. removal.ends
  mark = mark .. (removal.members and ' members' or '') .. (removal.force and ' force' or '')
  redis.call('HSET', jobKey, '${FIELD.removal}', mark)
end
-- Returns the removal of this life of the batch, and renews its lease; nil for all but its holder.
local function holdRemoval(jobKey, nonce, holder)
  local removal = readRemoval(jobKey)
  if not removal or removal.holder ~= holder or redis.call('HGET', jobKey, '${FIELD.nonce}') ~= nonce then
    return nil
  end
  removal.ends = now() + ${LEASE_MS}
  writeRemoval(jobKey, removal)
  return removal
end
`;

/**
 * Marks a batch as removed, or takes over a removal whose holder has died. From then on only the removal finds the
 * batch, whose parts go slice by slice. The conditions are judged in this script, so that a retry that came first keeps
 * the batch. Sent again, it finds its own mark.
 *
 * KEYS: batch job, its dependencies, the batches queue's completed, failed, what the keys of the sets of needs begin
 * with.
 * ARGV: batch id, nonce ('' for any life), how, holder, '1' to take the members' jobs too; for a child batch also the
 *       key of the job whose child it is, and the key, nonce and holder of the batch whose removal takes it. `how`:
 *       'remove' if it has finished, 'force' in any case, 'expire' if it has had its time, with the members' jobs where
 *       it asks for that, 'continue' if it is marked, 'child' as a part of the batch above, and to the same extent;
 *       'renew' and 'release' only extend, or end, the lease of the holder.
 * Returns outcome; with 'marked' also nonce, definition, and outstanding: how many dependencies there are. 'held':
 * another actor that is alive removes it, and takes what is asked for now, too. 'lost': the batch above is not
 * the caller's to remove any more.
 */
const BEGIN = script(
  'beginRemoval',
  5,
  `${LUA_FREES_MEMORY}${LUA_NOW}${LUA_NEED}${LUA_FORGET_NEEDS}${LUA_REMOVAL}${LUA_EXPIRED}
local id, how = ARGV[1], ARGV[3]
if how == 'renew' or how == 'release' then
  local own = holdRemoval(KEYS[1], ARGV[2], ARGV[4])
  if own and how == 'release' then
    own.ends = 0
    writeRemoval(KEYS[1], own)
  end
  return { 'outcome', own and 'held' or 'lost' }
end
local asked = { holder = ARGV[4], members = ARGV[5] == '1', force = how == 'force' or how == 'child' }
if how == 'child' then
  local above = holdRemoval(ARGV[7], ARGV[8], ARGV[9])
  if not above then
    return { 'outcome', 'lost' }
  end
  asked.members = above.members
  if redis.call('HGET', KEYS[1], 'parentKey') ~= ARGV[6] then
    return { 'outcome', 'not found' }
  end
end
local nonce = redis.call('HGET', KEYS[1], '${FIELD.nonce}')
if not nonce or ARGV[2] ~= '' and ARGV[2] ~= nonce then
  if redis.call('EXISTS', KEYS[1]) == 0 then
    forgetNeeds(KEYS[5], id)
  end
  return { 'outcome', 'not found' }
end
if how == 'expire' then
  asked.members = string.find(redis.call('HGET', KEYS[1], '${FIELD.keep}') or '', 'members', 1, true) ~= nil
end
local isEnded = redis.call('ZSCORE', KEYS[3], id) or redis.call('ZSCORE', KEYS[4], id)
local outstanding = redis.call('SCARD', KEYS[2])
local function mayGo()
  if how == 'force' or how == 'child' then
    return true
  end
  local retriedUntil = string.match(redis.call('HGET', KEYS[1], '${FIELD.retrying}') or '', '(%d+)$')
  local isRetried = retriedUntil and tonumber(retriedUntil) > now()
  return isEnded and outstanding == 0 and not isRetried
    and (how ~= 'expire' or isExpired(KEYS[1], id, KEYS[3], KEYS[4]))
end
local removal = readRemoval(KEYS[1])
local isHeld = removal and removal.holder ~= asked.holder and removal.ends > now()
if removal then
  removal.members, removal.force = removal.members or asked.members, removal.force or asked.force
elseif how == 'continue' then
  return { 'outcome', 'not removed' }
elseif not mayGo() then
  return { 'outcome', 'not finished' }
else
  removal = asked
end
if not isHeld then
  removal.holder, removal.ends = asked.holder, now() + ${LEASE_MS}
end
writeRemoval(KEYS[1], removal)
if isHeld then
  return { 'outcome', 'held' }
end
if not isEnded then
  -- Running members find it with isCancelled(), until the batch is gone.
  redis.call('HSETNX', KEYS[1], '${FIELD.cancelReason}', 'removed')
  redis.call('HSETNX', KEYS[1], '${FIELD.cancelledAt}', now())
end
need(KEYS[1], KEYS[5], id, 'removal')
local definition = redis.call('HGET', KEYS[1], '${FIELD.definition}')
return { 'outcome', 'marked', 'nonce', nonce, 'definition', definition, 'outstanding', outstanding }`,
);

/** What is to be removed besides the batch, its child batches and the jobs of its callbacks. */
export interface Extent {
  /** The members' jobs too. */
  readonly members: boolean;
  /** Also an unfinished batch. */
  readonly force: boolean;
}

/**
 * A child batch that is removed with a batch. `ownerKey` is the key of the job whose child it is: the batch's job, or
 * one of a flow in it.
 */
export interface ChildOf {
  readonly above: Hold;
  readonly ownerKey: string;
}

/** Who asks for a removal, and for which kind. */
export type Removal = { readonly holder: string } & (
  | { readonly how: 'remove'; readonly nonce: string; readonly extent: Extent }
  | { readonly how: 'expire' | 'continue' }
  | { readonly how: 'renew' | 'release'; readonly nonce: string }
  | { readonly how: 'child'; readonly of: ChildOf }
);

export type Begun =
  | {
      readonly outcome: 'marked';
      readonly nonce: string;
      readonly definition: BatchDefinition;
      readonly outstanding: number;
    }
  | { readonly outcome: 'not found' | 'not finished' | 'not removed' | 'held' | 'lost' };

export async function beginRemoval(redis: BatchRedis, batchId: string, removal: Removal): Promise<Begun> {
  const { job, dependencies } = batchKeys(redis, batchId);
  const keys = [job, dependencies, batchesKey(redis, 'completed'), batchesKey(redis, 'failed'), needsKey(redis)];
  const reply = named(await redis.run(BEGIN, [...keys, batchId, ...beginArguments(redis, removal)]));
  if (reply.outcome !== 'marked') {
    return { outcome: reply.outcome as Exclude<Begun['outcome'], 'marked'> };
  }
  return {
    outcome: 'marked',
    nonce: reply.nonce as string,
    definition: JSON.parse(reply.definition as string),
    outstanding: reply.outstanding as number,
  };
}

function beginArguments(redis: BatchRedis, removal: Removal): string[] {
  const { how, holder } = removal;
  switch (how) {
    case 'remove': {
      const { members, force } = removal.extent;
      return [removal.nonce, force ? 'force' : how, holder, members ? '1' : '0'];
    }
    case 'child': {
      const { above, ownerKey } = removal.of;
      return ['', how, holder, '0', ownerKey, batchKeys(redis, above.batchId).job, above.nonce, above.holder];
    }
    case 'renew':
    case 'release':
      return [removal.nonce, how, holder];
    default:
      return ['', how, holder, '0'];
  }
}

/** Renews the lease of a removal while its holder works on batches further down. */
export async function renewRemoval(redis: BatchRedis, { batchId, ...hold }: Hold): Promise<void> {
  await beginRemoval(redis, batchId, { how: 'renew', ...hold });
}

/** Releases a removal: the next process that comes to it continues. */
export async function releaseRemoval(redis: BatchRedis, { batchId, ...hold }: Hold): Promise<void> {
  await beginRemoval(redis, batchId, { how: 'release', ...hold });
}
