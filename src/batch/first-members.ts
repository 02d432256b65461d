import type { BatchDefinition } from '../model/definition.js';
import type { NewJob } from '../record/adding-lua.js';
import { contextOf, type MemberQueue, type QueueContext } from './batch-context.js';
import type { MemberIds } from './ids.js';
import type { CheckedJob } from './job.js';
import { type Member, memberEntries, memberOf } from './member-jobs.js';
import { BULLMQ_AT_ONCE, BYTES_AT_ONCE } from './members.js';
import { CHUNK_SIZE } from './stream.js';

/** Jobs that a batch is to be created with, if that can be one step. */
export interface MembersToBe {
  readonly members: readonly CheckedJob[];
  /** Returns what makes the ids of the members of this batch. */
  idsOf(definition: BatchDefinition): MemberIds;
}

/** All members of a new batch, with which it is created and sealed in one step. */
export interface FirstMembers {
  readonly members: readonly Member[];
  readonly entries: readonly NewJob[];
  /** Whether all of their ids were made for this batch: with its nonce in them, no job has them. */
  readonly isFresh: boolean;
}

const NONE: FirstMembers = { members: [], entries: [], isFresh: true };

/**
 * The members that a batch is created with; none of them when they are too many for one step, or when more has to be
 * done than to store them: then they are added afterwards.
 */
export async function firstMembers(
  context: QueueContext,
  definition: BatchDefinition,
  wanted: MembersToBe | undefined,
): Promise<FirstMembers> {
  if (wanted === undefined) {
    return NONE;
  }
  const { members: jobs, idsOf } = wanted;
  const queues = [...new Set(jobs.map(({ queue }) => queue))];
  const areInSameRedis = await Promise.all(queues.map((queue) => isInSameRedis(queue, context)));
  const bytes = jobs.reduce((sum, { json = '' }) => sum + json.length, 0);
  if (jobs.length === 0 || jobs.length > CHUNK_SIZE || bytes > BYTES_AT_ONCE || !areInSameRedis.every(Boolean)) {
    return NONE;
  }
  const ids = idsOf(definition);
  const members = jobs.map((job) => memberOf(job, ids));
  const entries = memberEntries(context, definition, members, () => undefined);
  if (jobs.length > BULLMQ_AT_ONCE && !context.redis.writesFast(entries)) {
    return NONE;
  }
  return { members, entries, isFresh: members.every(({ opts }) => opts?.jobId === undefined) };
}

/** Whether the queue is in the batch's own Redis, and nothing is traced. */
async function isInSameRedis(queue: MemberQueue, context: QueueContext): Promise<boolean> {
  const { telemetry } = queue.queue.opts as { readonly telemetry?: unknown };
  if (telemetry !== undefined || context.telemetry !== undefined) {
    return false;
  }
  return (
    queue === context.own ||
    queue === context.queueNamed(queue.name) ||
    (await contextOf(queue.queue)).redis === context.redis
  );
}
