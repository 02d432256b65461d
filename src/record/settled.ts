import type { BatchRedis } from './batch-redis.js';
import { batchKeys, memberName } from './keys.js';
import { jobData } from './outstanding.js';
import { LUA_SCAN_PLACE } from './scan-place.js';
import { BYTES_PER_COMMAND, LUA_HASH_SLICE, LUA_OWN_REASON, named, rowsOf, script } from './script.js';

export interface SettledMember {
  readonly key: string;
  /** The return value as JSON, or the failure's reason; of an outstanding job how many attempts it has made, or ''. */
  readonly value: string;
  /** The job's data as JSON, where it was asked for and the job still exists. */
  readonly data: string | undefined;
}

/**
 * A slice of the members that are outstanding, succeeded, or failed.
 *
 * KEYS: dependencies, processed or failed. ARGV: cursor, about how many, about how many bytes, key prefix of all
 *       queues, or '' for members that succeeded.
 * Returns cursor; members (key, value, …), where the value of one that is outstanding is its number of attempts made, or
 * ''; server, a text that differs between two runs of a Redis server, or '' where INFO is forbidden.
 */
const SETTLED = script(
  'settled',
  1,
  `${LUA_HASH_SLICE}${LUA_OWN_REASON}${LUA_SCAN_PLACE}
if redis.call('TYPE', KEYS[1]).ok == 'set' then
  local page, outstanding = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2]), {}
  for _, key in ipairs(page[2]) do
    -- One that was attached by hand may be on another node of a cluster.
    local attempts = redis.pcall('HGET', key, 'atm')
    outstanding[#outstanding + 1] = key
    outstanding[#outstanding + 1] = type(attempts) == 'string' and attempts or ''
  end
  return { 'cursor', page[1], 'members', outstanding, 'server', thisServer() }
end
local cursor, slice = hashSlice(KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
if ARGV[4] ~= '' then
  for i = 2, #slice, 2 do
    slice[i] = ownReason(ARGV[4], slice[i])
  end
end
return { 'cursor', cursor, 'members', slice, 'server', thisServer() }`,
);

/** Which members to read, how many at a time, and whether with their jobs' data. */
export interface Part {
  readonly which: 'dependencies' | 'processed' | 'failed';
  readonly count: number;
  readonly withData: boolean;
}

/** One page, and where the next one begins: '0' after the last one. */
export interface SettledPage {
  readonly cursor: string;
  /** Which run of a Redis server has returned the cursor: to any other one it means other members. */
  readonly server: string;
  readonly members: SettledMember[];
}

/**
 * Reads a page of the members that succeeded or failed. It is smaller than asked for where they are large. A member may
 * be on two pages while the batch is running.
 */
export async function settledPage(
  redis: BatchRedis,
  batchId: string,
  { which, cursor, count, withData }: Part & { readonly cursor: string },
): Promise<SettledPage> {
  const collection = batchKeys(redis, batchId)[which];
  const prefix = which === 'failed' ? redis.prefix : '';
  const reply = await redis.run(SETTLED, [collection, cursor, count, BYTES_PER_COMMAND, prefix]);
  const { cursor: next, server, members: flat } = named(reply);
  const settled = rowsOf(flat, 2).map(([key = '', value = '']) => ({ key, value }));
  // The data of a child batch is its definition.
  const jobs = settled.flatMap(({ key }) => (memberName(redis.prefix, key).queue === redis.batchesQueue ? [] : key));
  const data = withData ? await jobData(redis, collection, jobs) : undefined;
  const members = settled.map((member) => ({ ...member, data: data?.get(member.key) || undefined }));
  return { cursor: String(next), server: String(server), members };
}

/** How often the reading of a collection begins again at most: a proxy may lead each command to another server. */
const MOST_BEGINNINGS = 4;

/** Where the reading of a collection goes on: which page is next, on which server, and how often it has begun. */
export interface Place {
  readonly cursor: string;
  readonly server: string | undefined;
  readonly beginning: number;
}

export const BEGINNING: Place = { cursor: '0', server: undefined, beginning: 1 };

/**
 * Where to go on after a page; undefined after the last one. A server that was restarted, or has taken over from
 * another one, puts the fields of a hash in another order, and a cursor of before would pass over some: the reading
 * begins again.
 */
export function nextPlace(
  before: Place,
  { cursor, server }: Pick<SettledPage, 'cursor' | 'server'>,
): Place | undefined {
  const isOther = before.server !== undefined && before.server !== server;
  if (isOther && before.beginning < MOST_BEGINNINGS) {
    return { cursor: '0', server, beginning: before.beginning + 1 };
  }
  return cursor === '0' ? undefined : { ...before, cursor, server };
}

/** Whether the reading begins again after a page. */
export function beginsAgain(before: Place, next: Place | undefined): next is Place {
  return next !== undefined && next.beginning > before.beginning;
}

/**
 * Yields all pages, one after the other. Members may leave the collection meanwhile: HSCAN still returns every one that
 * stays, because each page continues where the last one ended.
 */
export async function* settledPages(
  redis: BatchRedis,
  batchId: string,
  part: Part,
): AsyncGenerator<readonly SettledMember[], void> {
  let place: Place | undefined = BEGINNING;
  do {
    const page: SettledPage = await settledPage(redis, batchId, { ...part, cursor: place.cursor });
    yield page.members;
    place = nextPlace(place, page);
  } while (place !== undefined);
}
