/*
 * A place in a collection is a cursor of SSCAN, HSCAN or ZSCAN with the run of the Redis server that has returned it. A
 * server that was restarted, or has taken over from another one, keeps the collection in another order, where a cursor
 * of before would pass over some of it: there the reading begins again.
 */

/**
 * Lua: cursorAt(place) returns the cursor to go on with, on another server '0'. placeOf(cursor) returns the place, '0'
 * at the end as at the beginning. thisServer() returns a text that differs between two runs of a server, or '' where
 * INFO is forbidden.
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

/** How often the reading of a collection begins at most: a proxy may lead each command to another server. */
const MOST_BEGINNINGS = 4;

/** Where the reading of a collection goes on: which page is next, on which server, and how often it has begun. */
export interface ScanPlace {
  readonly cursor: string;
  /** The run of the server, as thisServer() names it; undefined before the first page. */
  readonly server: string | undefined;
  readonly beginning: number;
}

export const SCAN_START: ScanPlace = { cursor: '0', server: undefined, beginning: 1 };

/** Where to go on after a page; undefined after the last one. On another server the reading begins again. */
export function nextPlace(
  before: ScanPlace,
  { cursor, server }: { readonly cursor: string; readonly server: string },
): ScanPlace | undefined {
  const isOther = before.server !== undefined && before.server !== server;
  if (isOther && before.beginning < MOST_BEGINNINGS) {
    return { cursor: '0', server, beginning: before.beginning + 1 };
  }
  return cursor === '0' ? undefined : { ...before, cursor, server };
}

/** Whether the reading begins again after a page. */
export function beginsAgain(before: ScanPlace, next: ScanPlace | undefined): next is ScanPlace {
  return next !== undefined && next.beginning > before.beginning;
}
