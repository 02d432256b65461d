import type { BatchRedis } from './batch-redis.js';
import { batchKeys } from './keys.js';
import { script } from './script.js';

export interface SettledMember {
  readonly key: string;
  /** The return value as JSON, or the failure's reason. */
  readonly value: string;
  /** The job's data as JSON, where it was asked for and the job still exists. */
  readonly data: string | undefined;
}

/**
 * KEYS: processed or failed. ARGV: cursor, count, '1' to look up the members' data too.
 * Returns { cursor, { key, value, data, … } }; data is '' without a job.
 */
const SETTLED = script(
  'settled',
  1,
  `
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local members = {}
for i = 1, #page[2], 2 do
  local data = ARGV[3] == '1' and redis.call('HGET', page[2][i], 'data') or ''
  members[#members + 1] = page[2][i]
  members[#members + 1] = page[2][i + 1]
  members[#members + 1] = data
end
return { page[1], members }`,
);

/** Which members, how many at a time, and whether with their jobs' data. */
export interface Part {
  readonly which: 'processed' | 'failed';
  readonly count: number;
  readonly withData: boolean;
}

/** A page of the members that succeeded or failed; a member may be on two pages while the batch is running. */
export async function settledPage(
  redis: BatchRedis,
  batchId: string,
  { which, cursor, count, withData }: Part & { readonly cursor: string },
): Promise<{ cursor: string; members: SettledMember[] }> {
  const key = batchKeys(redis, batchId)[which];
  const reply = (await redis.run(SETTLED, [key, cursor, count, withData ? '1' : '0'])) as [string, string[]];
  const [next, flat] = reply;
  const members: SettledMember[] = [];
  for (let i = 0; i + 2 < flat.length; i += 3) {
    members.push({ key: flat[i] ?? '', value: flat[i + 1] ?? '', data: flat[i + 2] || undefined });
  }
  return { cursor: next, members };
}

/**
 * All pages, one after the other. Members may leave the collection meanwhile: HSCAN still returns every one that stays, if it
 * goes on from where the last page ended.
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
