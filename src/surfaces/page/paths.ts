import type { ListedState } from '../../index.js';

/*
 * A batch's id is one segment of a path, percent-encoded. Users choose ids: those that have a meaning of their own in a
 * path ('..', 'report.json', 'index') get a '~' at their end, which no id contains.
 */
const AMBIGUOUS = /^\.{1,2}$|^index$|\.json$/;

/** The actions in the order of their buttons: what cannot be undone comes last. */
export const ACTION_NAMES = ['retry', 'seal', 'cancel'] as const;
export type ActionName = (typeof ACTION_NAMES)[number];

const DETAILS = ['failures', 'tree', 'explain', 'reasons'] as const;
type Detail = (typeof DETAILS)[number];

/** What a path asks for. */
export type Route =
  | { readonly kind: 'list'; readonly json: boolean }
  /** `literal`: the id with its '.json', for an address typed by hand; it counts if there is no batch `id`. */
  | { readonly kind: 'batch'; readonly id: string; readonly json: boolean; readonly literal?: string }
  | { readonly kind: Detail; readonly id: string; readonly json: boolean }
  | { readonly kind: 'action'; readonly id: string; readonly action: ActionName; readonly json: false }
  | { readonly kind: 'unknown' | 'malformed' | 'elsewhere'; readonly json: boolean };

/** Reads the part of a path that is below the base path, as it came: still percent-encoded. */
export function routeOf(path: string): Route {
  const json = path.endsWith('.json');
  const segments = path.replace(/^\//, '').replace(/\/$/, '').split('/');
  const [first = '', second] = segments;
  if (segments.length > 2 || (first === '' && second !== undefined)) {
    return { kind: 'unknown', json };
  }
  if (second === undefined) {
    return first === '' || first === 'index.json' ? { kind: 'list', json } : batchRoute(first, json);
  }
  const id = idOf(first);
  if (id === undefined) {
    return { kind: 'malformed', json };
  }
  return partRoute(id, second.replace(/\.json$/, ''), json);
}

function batchRoute(segment: string, json: boolean): Route {
  const id = idOf(json ? segment.slice(0, -'.json'.length) : segment);
  const literal = idOf(segment);
  if (id === undefined || literal === undefined) {
    return { kind: 'malformed', json };
  }
  return id === '' ? { kind: 'unknown', json } : { kind: 'batch', id, json, ...(json ? { literal } : {}) };
}

function partRoute(id: string, part: string, json: boolean): Route {
  const detail = DETAILS.find((name) => name === part);
  if (detail !== undefined && (json || detail === 'failures')) {
    return { kind: detail, id, json };
  }
  const action = ACTION_NAMES.find((name) => name === part);
  return action === undefined || json ? { kind: 'unknown', json } : { kind: 'action', id, action, json };
}

function idOf(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment).replace(/~$/, '');
  } catch {
    return undefined;
  }
}

function segmentOf(id: string): string {
  return `${encodeURIComponent(id)}${AMBIGUOUS.test(id) ? '~' : ''}`;
}

export interface ListQuery {
  readonly state?: ListedState | undefined;
  readonly q?: string | undefined;
  readonly page?: number | undefined;
}

/** The addresses of the page, below the path where it is mounted. */
export class Paths {
  constructor(readonly base: string) {}

  list({ state, q, page = 1 }: ListQuery = {}): string {
    const query = queryOf({ state, q, page: page === 1 ? undefined : page });
    // At the root of a site the list is '/'; elsewhere it has no slash at its end, as a mounted path has none.
    return `${this.base || '/'}${query}`;
  }

  batch(id: string, query: Readonly<Record<string, string | number | undefined>> = {}): string {
    return `${this.base}/${segmentOf(id)}${queryOf(query)}`;
  }

  batchJson(id: string): string {
    return `${this.batch(id)}.json`;
  }

  action(id: string, action: ActionName): string {
    return `${this.batch(id)}/${action}`;
  }

  detailJson(id: string, detail: Detail): string {
    return `${this.batch(id)}/${detail}.json`;
  }

  failures(
    id: string,
    { reason, cursor }: { readonly reason?: string | undefined; readonly cursor?: string | undefined } = {},
  ) {
    return `${this.batch(id)}/failures${queryOf({ reason, cursor })}`;
  }
}

function queryOf(values: Readonly<Record<string, string | number | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== '') {
      query.set(name, String(value));
    }
  }
  return query.size === 0 ? '' : `?${query}`;
}
