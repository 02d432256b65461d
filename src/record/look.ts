import { named } from './script.js';

/** What a page of batches was found to need. */
export interface Look {
  /** Where the next page begins; '0' after the last one. */
  readonly cursor: string;
  /** The ids of the batches that are to be attended to now. */
  readonly due: readonly string[];
  /** The ids of those that could not be looked at, each with what is wrong. */
  readonly broken: ReadonlyMap<string, string>;
}

/** The reply of a script that looks at a page of batches. */
export function parseLook(reply: unknown): Look {
  const { cursor, due, broken } = named(reply);
  return {
    cursor: String(cursor),
    due: due as string[],
    broken: new Map(Object.entries(named(broken)).map(([id, problem]) => [id, String(problem)])),
  };
}
