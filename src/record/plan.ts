import type { BatchDefinition } from '../model/definition.js';
import type { StoredJob } from '../model/workflow.js';
import type { BatchLife } from './add-members.js';
import { amend } from './amend.js';
import type { BatchRedis } from './batch-redis.js';
import { batchKeys, FIELD, planKey } from './keys.js';

/*
 * The plan of a stage: the jobs that it is to have, kept in a list of slices until they are its members. Each slice is
 * small enough for one command.
 */

/** How many jobs a slice has at most. */
export const PLAN_SLICE = 200;

export interface PlanSlice {
  /** The position of the first of its jobs among all jobs of the stage. */
  readonly from: number;
  readonly jobs: readonly StoredJob[];
}

/** A slice as it is stored: the jobs from one position up to, and without, another one, as JSON. */
export interface StoredSlice {
  readonly from: number;
  readonly to: number;
  readonly json: string;
}

/** Makes a slice of jobs that are JSON. It begins with the positions, which record/amend.ts reads. */
export function storedSlice(from: number, jobs: readonly string[]): StoredSlice {
  const to = from + jobs.length;
  return { from, to, json: `{"from":${from},"to":${to},"jobs":[${jobs.join(',')}]}` };
}

/**
 * Appends a slice to the plan of a stage that has not started, if it begins where the plan ends.
 *
 * @returns whether it was appended.
 */
export async function extendPlan(
  redis: BatchRedis,
  { id, nonce }: BatchLife,
  { from, json }: StoredSlice,
): Promise<boolean> {
  const plan = { from, slice: json };
  return (await amend(redis, { id, nonce, expect: { [FIELD.startedAt]: '' }, plan })) === 'done';
}

/** Returns at which position the plan ends, as far as it is stored: 0 without one. */
export async function readPlanEnd(redis: BatchRedis, batchId: string): Promise<number> {
  const slice = (await redis.command('LINDEX', planKey(redis, batchId), -1)) as string | null;
  return Number(/^{"from":\d+,"to":(\d+)/.exec(slice ?? '')?.[1] ?? 0);
}

/** Reads a slice, by its position in the plan; undefined past the last one. */
export async function readPlan(redis: BatchRedis, batchId: string, at: number): Promise<PlanSlice | undefined> {
  const slice = (await redis.command('LINDEX', planKey(redis, batchId), at)) as string | null;
  return slice === null ? undefined : JSON.parse(slice);
}

/** How far the adding of a stage's members has come: a position in its plan, or a cursor of the results. */
export interface Filling {
  readonly definition: BatchDefinition;
  readonly filledTo: string;
}

/** Reads how far a stage is filled that has started; undefined when nothing is to be added any more. */
export async function readFilling(redis: BatchRedis, batchId: string): Promise<Filling | undefined> {
  const fields = [FIELD.definition, FIELD.startedAt, FIELD.filledTo, FIELD.sealedAt, FIELD.cancelledAt, FIELD.removal];
  const reply = await redis.command('HMGET', batchKeys(redis, batchId).job, ...fields);
  const [definition, startedAt, filledTo, ...ends] = reply as (string | null)[];
  return !definition || !startedAt || ends.some((end) => end !== null)
    ? undefined
    : { definition: JSON.parse(definition), filledTo: filledTo ?? '0' };
}

/**
 * Remembers how far a stage is filled. A turn that goes on from an earlier place, after a crash, adds nothing twice.
 */
export async function noteFilled(redis: BatchRedis, { id, nonce }: BatchLife, filledTo: string): Promise<void> {
  await amend(redis, { id, nonce, set: { [FIELD.filledTo]: filledTo } });
}
