import { FIELD } from './keys.js';

/** What a batch can need from maintenance while nothing wakes its batch job. */
export type Need = 'death' | 'attempted' | 'policy' | 'cancel' | 'callbacks';

/**
 * Lua: writes what a batch needs from maintenance into the batch, and the batch into the index that maintenance goes round.
 * `what` is one word, or several separated by spaces. Called by the script that makes the batch need it, so that a crash can
 * not leave a batch in need that is in no index. `unneed` takes words off again.
 */
export const LUA_NEED = `
local function need(jobKey, needsKey, id, what)
  local needs = redis.call('HGET', jobKey, '${FIELD.needs}') or ''
  for word in string.gmatch(what, '%S+') do
    if not string.find(' ' .. needs .. ' ', ' ' .. word .. ' ', 1, true) then
      needs = needs == '' and word or needs .. ' ' .. word
    end
  end
  if needs ~= '' then
    redis.call('HSET', jobKey, '${FIELD.needs}', needs)
    redis.call('SADD', needsKey, id)
  end
end
local function unneed(jobKey, ...)
  local done, kept = {}, {}
  for _, word in ipairs({ ... }) do
    done[word] = true
  end
  for word in string.gmatch(redis.call('HGET', jobKey, '${FIELD.needs}') or '', '%S+') do
    kept[#kept + 1] = not done[word] and word or nil
  end
  if #kept > 0 then
    redis.call('HSET', jobKey, '${FIELD.needs}', table.concat(kept, ' '))
  else
    redis.call('HDEL', jobKey, '${FIELD.needs}')
  end
end
`;
