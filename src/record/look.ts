import { type NamedReply, named } from './script.js';

/** A page of a list of batches: its first and its last rank, and the number of the round. */
export interface Ranks {
  readonly from: number;
  readonly to: number;
  readonly round: number;
}

/** What a page of batches was found to need. */
export interface Look<T = string> {
  /** The batches that need a step now, mostly their ids. */
  readonly due: readonly T[];
  /** The ids of the batches that could not be looked at, each with its error message. */
  readonly broken: ReadonlyMap<string, string>;
}

/** A look at a page of a list; `listed` is how many batches the page has, 0 past the last one. */
export interface RankedLook<T = string> extends Look<T> {
  readonly listed: number;
}

/** Parses what a script has found that uses LUA_LOOK_AT. */
export function parseLook({ due, broken }: NamedReply): Look {
  return {
    due: due as string[],
    broken: new Map(Object.entries(named(broken)).map(([id, problem]) => [id, String(problem)])),
  };
}
