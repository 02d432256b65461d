import { FIELD } from './keys.js';

/** What a batch can need from maintenance while nothing wakes its batch job. */
export type Need = 'death' | 'attempted' | 'policy' | 'cancel' | 'callbacks' | 'removal';

/**
 * Lua: writes what a batch needs from maintenance into the batch, and the batch into the index that maintenance goes round.
 * `what` is one word, or several separated by spaces. Called by the script that makes the batch need it, so that a crash can
 * not leave a batch in need that is in no index.
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
`;
