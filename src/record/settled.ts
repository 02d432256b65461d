import type { BatchRedis } from './batch-redis.js';
import { batchKeys, memberName } from './keys.js';
import { jobData } from './outstanding.js';
import { BYTES_PER_COMMAND, LUA_HASH_SLICE, LUA_OWN_REASON, rowsOf, script } from './script.js';

export interface SettledMember {
  readonly key: string;
  /** The return value as JSON, or the failure's reason. */
  readonly value: string;
  /** The job's data as JSON, where it was asked for and the job still exists. */
  readonly data: string | undefined;
}

/**
 * A slice of the members that are outstanding, succeeded, or failed.
 *
 * KEYS: dependencies, processed or failed. ARGV: cursor, about how many, about how many bytes, key prefix of all
 *       queues, or '' for members that succeeded.
 * Returns { cursor, { key, value, … } }; the value of one that is outstanding is ''.
 */
const SETTLED = script(
  'settled',
  1,
  `${LUA_HASH_SLICE}${LUA_OWN_REASON}
if redis.call('TYPE', KEYS[1]).ok == 'set' then
  local page, outstanding = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2]), {}
  for _, key in ipairs(page[2]) do
    outstanding[#outstanding + 1] = key
    outstanding[#outstanding + 1] = ''
  end
  return { page[1], outstanding }
end
local cursor, slice = hashSlice(KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
if ARGV[4] ~= '' then
  for i = 2, #slice, 2 do
    slice[i] = ownReason(ARGV[4], slice[i])
  end
end
return { cursor, slice }`,
);

/** Which members to read, how many at a time, and whether with their jobs' data. */
export interface Part {
  readonly which: 'dependencies' | 'processed' | 'failed';
  readonly count: number;
  readonly withData: boolean;
}

/**
 * Reads a page of the members that succeeded or failed. It is smaller than asked for where they are large. A member may
 * be on two pages while the batch is running.
 */
export async function settledPage(
  redis: BatchRedis,
  batchId: string,
  { which, cursor, count, withData }: Part & { readonly cursor: string },
): Promise<{ cursor: string; members: SettledMember[] }> {
  const collection = batchKeys(redis, batchId)[which];
  const prefix = which === 'failed' ? redis.prefix : '';
  const reply = await redis.run(SETTLED, [collection, cursor, count, BYTES_PER_COMMAND, prefix]);
  const [next, flat] = reply as [string, string[]];
  const settled = rowsOf(flat, 2).map(([key = '', value = '']) => ({ key, value }));
  // The data of a child batch is its definition.
  const jobs = settled.flatMap(({ key }) => (memberName(redis.prefix, key).queue === redis.batchesQueue ? [] : key));
  const data = withData ? await jobData(redis, collection, jobs) : undefined;
  return { cursor: next, members: settled.map((member) => ({ ...member, data: data?.get(member.key) || undefined })) };
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
  let cursor = '0';
  do {
    const page = await settledPage(redis, batchId, { ...part, cursor });
    yield page.members;
    cursor = page.cursor;
  } while (cursor !== '0');
}
