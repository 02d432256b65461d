import type { AttachmentLink } from './add-members.js';
import type { BatchRedis } from './batch-redis.js';
import { batchesKey } from './keys.js';
import { rowsOf } from './script.js';

/** A flow is not that deep: a longer line is a circle, made by hand. */
const MOST_LEVELS = 1000;

/**
 * Returns the keys of a job, of those above it in its flow, and at last of its batch's job; undefined outside of
 * batches.
 */
export async function pathToBatch(redis: BatchRedis, job: string): Promise<readonly string[] | undefined> {
  const line: string[] = [];
  for (let key: string | null = job; key !== null && line.length < MOST_LEVELS; ) {
    line.push(key);
    if (key.startsWith(batchesKey(redis, ''))) {
      return line;
    }
    key = (await redis.command('HGET', key, 'parentKey')) as string | null;
  }
  return undefined;
}

/**
 * Returns the links that entitle the first of these jobs to add to the batch at the end of the line: each is
 * outstanding in the next.
 */
export function linksAlong(line: readonly string[]): AttachmentLink[] {
  return line.slice(1).map((above, i) => ({ dependencies: `${above}:dependencies`, memberKey: line[i] ?? '' }));
}

const JOBS_PER_COMMAND = 500;

/** Returns the keys of the jobs below a job that made it fail. */
export async function failedBelow(redis: BatchRedis, key: string): Promise<readonly string[]> {
  const below = new Set<string>();
  let cursor = '0';
  do {
    const reply = await redis.command('ZSCAN', `${key}:unsuccessful`, cursor, 'COUNT', JOBS_PER_COMMAND);
    const [next, page] = reply as [string, string[]];
    for (const [job = ''] of rowsOf(page, 2)) {
      below.add(job);
    }
    cursor = next;
  } while (cursor !== '0');
  return [...below];
}
