import { named } from './script.js';

/** A page of a list of batches: its first and its last rank, and the number of the round. */
export interface Ranks {
  readonly from: number;
  readonly to: number;
  readonly round: number;
}

/** What a page of batches was found to need. */
export interface Look {
  /** Where the next page begins; '0' after the last one. */
  readonly cursor: string;
  /** The ids of the batches that need a step now. */
  readonly due: readonly string[];
  /** The ids of the batches that could not be looked at, each with its error message. */
  readonly broken: ReadonlyMap<string, string>;
}

/** Parses the reply of a script that looks at a page of batches. */
export function parseLook(reply: unknown): Look {
  const { cursor, due, broken } = named(reply);
  return {
    cursor: String(cursor),
    due: due as string[],
    broken: parseBroken(broken),
  };
}

/** Parses what LUA_LOOK_AT notes of the batches that could not be looked at. */
export function parseBroken(flat: unknown): ReadonlyMap<string, string> {
  return new Map(Object.entries(named(flat)).map(([id, problem]) => [id, String(problem)]));
}
