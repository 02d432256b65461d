import type { BatchLife } from './add-members.js';
import { amend } from './amend.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey, batchKeys, FIELD } from './keys.js';
import { LUA_SCAN_PLACE } from './scan-place.js';
import { script } from './script.js';
import { readSnapshot } from './snapshot.js';
import { LUA_IS_STRANGER } from './strangers.js';

/** How many settled members one step may look at for strangers. */
export const SEARCHED_AT_ONCE = 500;

/** Up to so many settled dependencies are searched in each pass, which costs less than to note that they were. */
export const SEARCHED_EACH_TIME = 50;

/** How many strangers are kept apart from members; further ones count as members. */
const MOST_STRANGERS = 100;

/**
 * Searches a page of the settled members of a batch for jobs that were attached to it by hand, and notes them.
 *
 * KEYS: batch job; its processed or failed.
 * ARGV: nonce, place in them, how many to look at, batch id, key prefix of all queues, key prefix of the batches queue.
 * Returns the next place.
 */
const SEARCH = script(
  'searchForStrangers',
  2,
  `${LUA_IS_STRANGER}${LUA_SCAN_PLACE}
local batch = redis.call('HMGET', KEYS[1], '${FIELD.nonce}', '${FIELD.enqueued}', '${FIELD.strangers}')
if batch[1] ~= ARGV[1] then
  return '0'
end
local known = '\\n' .. (batch[2] or '') .. '\\n' .. (batch[3] or '') .. '\\n'
local found, _, count = batch[3] or '', string.gsub(batch[3] or '', '\\n', '')
local page = redis.call('HSCAN', KEYS[2], cursorAt(ARGV[2]), 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
  local key = page[2][i]
  if count < ${MOST_STRANGERS} and isStranger(key, ARGV[5], ARGV[6], ARGV[4], ARGV[1])
    and not string.find(known, '\\n' .. key .. '\\n', 1, true) then
    found = found == '' and key or found .. '\\n' .. key
    known = known .. key .. '\\n'
    count = count + 1
  end
end
if found ~= (batch[3] or '') then
  redis.call('HSET', KEYS[1], '${FIELD.strangers}', found)
end
return placeOf(page[1])`,
);

/** Searches all settled members for strangers, and notes that it has, unless members were settled meanwhile. */
export async function searchForStrangers(redis: BatchRedis, batchId: string): Promise<void> {
  const before = await readSnapshot(redis, batchId);
  if (before === undefined) {
    return;
  }
  const { processed, failed } = batchKeys(redis, batchId);
  await searchCollection(redis, before.definition, processed);
  await searchCollection(redis, before.definition, failed);
  const after = await readSnapshot(redis, batchId);
  if (after !== undefined && after.version === before.version) {
    const { id, nonce } = after.definition;
    const searched = String(after.counts.succeeded + after.counts.failed);
    await amend(redis, { id, nonce, set: { [FIELD.searchedForStrangers]: searched } });
  }
}

/** Searches the failed members for jobs that were attached to the batch by hand: their failures do not count. */
export async function searchFailures(redis: BatchRedis, batch: BatchLife): Promise<void> {
  await searchCollection(redis, batch, batchKeys(redis, batch.id).failed);
}

async function searchCollection(redis: BatchRedis, { id, nonce }: BatchLife, collection: string): Promise<void> {
  const { job } = batchKeys(redis, id);
  const place = [id, redis.prefix, batchesKey(redis, '')];
  let cursor = '0';
  do {
    cursor = String(await redis.run(SEARCH, [job, collection, nonce, cursor, SEARCHED_AT_ONCE, ...place]));
  } while (cursor !== '0');
}
