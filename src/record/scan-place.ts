/**
 * Lua: a place is a cursor of SSCAN, HSCAN or ZSCAN with the run of the Redis server that has returned it. A server that
 * was restarted, or has taken over from another one, keeps a collection in another order, and a cursor of before would
 * pass over some of it: there cursorAt(place) begins again. placeOf(cursor) is '0' at the end, as for the beginning.
 * thisServer() returns a text that differs between two runs of a server, or '' where INFO is forbidden.
 */
export const LUA_SCAN_PLACE = `
local function thisServer()
  -- An ACL may forbid INFO.
  local info = redis.pcall('INFO', 'server')
  local server = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
  return string.sub(server, 1, 16)
end
local function cursorAt(place)
  local cursor, server = string.match(place, '^(%d+):?(%w*)$')
  return (cursor == '0' or server == thisServer()) and cursor or '0'
end
local function placeOf(cursor)
  return cursor == '0' and '0' or cursor .. ':' .. thisServer()
end
`;
