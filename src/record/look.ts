import { type NamedReply, named } from './script.js';

/** A page of a list of batches. */
export interface Page {
  /** Where it begins; '0' for the first one. */
  readonly cursor: string;
  /** How many batches it has at most. */
  readonly count: number;
  /** The number of the round through the list. */
  readonly round: number;
}

/** What a page of batches was found to need. */
export interface Look<T = string> {
  /** Where the next page begins; '0' after the last one. */
  readonly cursor: string;
  /** The batches that need a step now, mostly their ids. */
  readonly due: readonly T[];
  /** The ids of the batches that could not be looked at, each with its error message. */
  readonly broken: ReadonlyMap<string, string>;
}

/** Returns the first and the last rank of a page of a list that is read by rank. */
export function ranksOf({ cursor, count }: Page): [from: number, to: number] {
  return [Number(cursor), Number(cursor) + count - 1];
}

/** Lua: returns where the page after one that was read by rank begins; an empty page is the end of the list. */
export const LUA_NEXT_RANK = `
local function nextRank(to, listed)
  return listed > 0 and string.format('%d', to + 1) or '0'
end
`;

/** Parses what a script has found that uses LUA_LOOK_AT. */
export function parseLook({ cursor, due, broken }: NamedReply): Look {
  return {
    cursor: String(cursor),
    due: due as string[],
    broken: new Map(Object.entries(named(broken)).map(([id, problem]) => [id, String(problem)])),
  };
}
