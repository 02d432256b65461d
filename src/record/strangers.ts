import { FIELD } from './keys.js';
import { LUA_SPLIT_KEY } from './script.js';

/**
 * Lua: isStranger(key, prefix, batchesKey, id, nonce): whether a job was attached to the batch job by hand, with
 * BullMQ's own methods. A member has an id that was made from the nonce or, with an id of the caller's, a mark in its
 * link to the parent; a child batch has a nonce of its own. A job that is gone, or was detached, cannot be asked, and
 * counts as a member.
 */
export const LUA_IS_STRANGER = `${LUA_SPLIT_KEY}
local function isStranger(key, prefix, batchesKey, id, nonce)
  local queueKey, memberId = splitKey(key, prefix)
  if not queueKey then
    return true
  end
  if string.sub(memberId, 1, #nonce + 1) == nonce .. '-'
    or string.sub(memberId, 1, #id + 1) == id .. '~' and string.sub(memberId, -#nonce - 1) == '~' .. nonce then
    return false
  end
  if queueKey == batchesKey then
    return redis.call('EXISTS', key) == 1 and redis.call('HEXISTS', key, '${FIELD.nonce}') == 0
  end
  -- A job that has been given the id of a member later belongs elsewhere, and says nothing of the member.
  local job = redis.call('HMGET', key, 'parentKey', 'parent')
  return job[1] == batchesKey .. id and not string.find(job[2] or '', '"b":1', 1, true)
end
`;
