import type { BatchRedis } from './batch-redis.js';
import { jobData } from './job-facts.js';
import { batchKeys, memberName } from './keys.js';
import { LUA_SCAN_PLACE, nextPlace, SCAN_START, type ScanPlace } from './scan-place.js';
import { BYTES_PER_COMMAND, LUA_HASH_SLICE, LUA_OWN_REASON, named, rowsOf, script } from './script.js';

export interface PagedMember {
  readonly key: string;
  /** The return value as JSON, or the failure's reason; of an outstanding job how many attempts it has made, or ''. */
  readonly value: string;
  /** The job's data as JSON, where it was asked for and the job still exists. */
  readonly data: string | undefined;
}

/**
 * Reads a page of the members that are outstanding, have succeeded, or have failed.
 *
 * KEYS: dependencies, processed or failed.
 * ARGV: cursor, about how many, about how many bytes; of those that have failed the key prefix of all queues, else ''.
 * Returns cursor; members (key, value, …), where the value of one that is outstanding is how many attempts it has made,
 * or ''; server, see thisServer().
 */
const MEMBER_PAGE = script(
  'memberPage',
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

/** Which members to read, about how many on a page, and whether with the data of their jobs. */
export interface MembersToRead {
  readonly which: 'dependencies' | 'processed' | 'failed';
  readonly count: number;
  readonly withData: boolean;
}

export interface MemberPage {
  readonly members: readonly PagedMember[];
  /** Where the next page begins; undefined after the last one. */
  readonly next: ScanPlace | undefined;
  /** The run of the Redis server that was asked; see record/scan-place.ts. */
  readonly server: string;
}

/**
 * Reads a page of the members that are outstanding, have succeeded, or have failed; the batch's callbacks, and jobs
 * that were attached to it by hand, are among them. The page is smaller than asked for where they are large. A member
 * may be on two pages while the batch is running.
 */
export async function readMemberPage(
  redis: BatchRedis,
  batchId: string,
  { which, place, count, withData }: MembersToRead & { readonly place: ScanPlace },
): Promise<MemberPage> {
  const collection = batchKeys(redis, batchId)[which];
  const prefix = which === 'failed' ? redis.prefix : '';
  const reply = await redis.run(MEMBER_PAGE, [collection, place.cursor, count, BYTES_PER_COMMAND, prefix]);
  const { cursor, server, members: flat } = named(reply);
  const found = rowsOf(flat, 2).map(([key = '', value = '']) => ({ key, value }));
  // The data of a child batch is its definition.
  const jobs = found.flatMap(({ key }) => (memberName(redis.prefix, key).queue === redis.batchesQueue ? [] : key));
  const data = withData ? await jobData(redis, batchId, jobs) : undefined;
  return {
    members: found.map((member) => ({ ...member, data: data?.get(member.key) || undefined })),
    next: nextPlace(place, { cursor: String(cursor), server: String(server) }),
    server: String(server),
  };
}

/**
 * Yields all pages, one after the other. Members may leave the collection meanwhile: every one that stays is still
 * returned, because each page continues where the last one ended, or begins again on another server.
 */
export async function* memberPages(
  redis: BatchRedis,
  batchId: string,
  wanted: MembersToRead,
): AsyncGenerator<readonly PagedMember[], void> {
  let place: ScanPlace | undefined = SCAN_START;
  do {
    const page: MemberPage = await readMemberPage(redis, batchId, { ...wanted, place });
    yield page.members;
    place = page.next;
  } while (place !== undefined);
}
