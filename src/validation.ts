import type { BulkJobOptions, JobsOptions } from 'bullmq';
import { BatchOptionsError } from './errors.js';

/** BullMQ's options that decide what becomes of a job's parent. The batch sets them itself. */
type ReservedJobOption =
  | 'parent'
  | 'failParentOnFailure'
  | 'continueParentOnFailure'
  | 'removeDependencyOnFailure'
  | 'ignoreDependencyOnFailure'
  | 'repeat'
  | 'deduplication'
  | 'debounce';

/** BullMQ's job options, without those that would take the job out of its batch. */
export type MemberOptions = Omit<BulkJobOptions, ReservedJobOption>;

/** Defaults for the members of a batch: BullMQ's job options without an id. */
export type MemberDefaults = Omit<MemberOptions, 'jobId'>;

/** BullMQ's options of a callback job: its id and its removal belong to the batch. */
export type CallbackJobOptions = Omit<MemberDefaults, 'removeOnComplete' | 'removeOnFail' | 'sizeLimit'>;

const RESERVED: readonly (readonly [option: string, why: string])[] = [
  ['parent', 'a member has one parent, its batch'],
  ['failParentOnFailure', 'a failed member is counted, and the callbacks run'],
  ['continueParentOnFailure', 'a failed member is counted, and the callbacks run'],
  ['removeDependencyOnFailure', 'a failed member would vanish from the counts'],
  ['repeat', 'BullMQ does not attach repeated jobs to a parent'],
  ['deduplication', 'BullMQ does not deduplicate jobs with a parent; give the member a jobId instead'],
  ['debounce', 'BullMQ does not debounce jobs with a parent; give the member a jobId instead'],
];

/** Refuses unknown properties, and suggests what may have been meant. */
export function checkKeys(what: string, value: object, known: readonly string[]): void {
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      const near = nearest(key, known);
      const hint = near === undefined ? `Known are: ${known.join(', ')}.` : `Did you mean '${near}'?`;
      throw new BatchOptionsError(`${what} has no option '${key}'. ${hint}`);
    }
  }
}

/** @param example what the object may look like, for an error that helps. */
export function checkObject(what: string, value: unknown, example?: string): asserts value is Record<string, unknown> {
  if (value instanceof Promise) {
    throw new BatchOptionsError(`${what} must be an object, not a Promise: await it first.`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const hint = example === undefined ? '' : ` Example: ${example}.`;
    throw new BatchOptionsError(`${what} must be an object, not ${describe(value)}.${hint}`);
  }
}

/** Refuses what cannot be the options of a method. */
export function checkOptions(method: string, options: unknown, known: readonly string[]): void {
  checkObject(`The options of ${method}`, options);
  checkKeys(`${method}()`, options, known);
}

/** Names one option: 'jobOptions.delay', or 'The options of job 3: delay'. */
const optionOf = (what: string, name: string) => (what.includes(' of ') ? `${what}: ${name}` : `${what}.${name}`);

/**
 * Refuses half of a surrogate pair, as a string has that was cut in the middle of an emoji: Redis's Lua cannot read it
 * in JSON.
 */
function checkWellFormed(what: string, text: string): void {
  if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)) {
    throw new BatchOptionsError(
      `${what} has half of a character in it (it was cut in the middle of an emoji?): ${JSON.stringify(text)}.`,
    );
  }
}

export function checkName(what: string, value: unknown): asserts value is string {
  if (typeof value !== 'string' || value === '') {
    throw new BatchOptionsError(`${what} must be a non-empty string, not ${describe(value)}.`);
  }
  checkWellFormed(what, value);
}

/**
 * The names of the keys that BullMQ keeps beside a queue's jobs, and its words for states: a job with such an id would
 * share a key with them.
 */
export const QUEUE_KEYS: readonly string[] = [
  ...['active', 'wait', 'waiting', 'waiting-children', 'paused', 'delayed', 'prioritized', 'completed', 'failed'],
  ...['id', 'meta', 'events', 'marker', 'pc', 'de', 'dn', 'limiter', 'repeat', 'stalled', 'stalled-check', 'metrics'],
  ...['delay', 'priority', 'resumed', 'cleaned'],
];

/** Checks the name of a queue. */
export function checkQueueName(what: string, value: unknown): asserts value is string {
  checkName(what, value);
  if (value.includes(':')) {
    throw new BatchOptionsError(`${what} must not contain ':', BullMQ's separator: '${value}'.`);
  }
  checkOneLine(what, value);
}

/** Refuses a part of a key with several lines: a batch lists the keys of its callbacks line by line. */
export function checkOneLine(what: string, text: string): void {
  if (text.includes('\n')) {
    throw new BatchOptionsError(`${what} must be one line, not ${JSON.stringify(text)}.`);
  }
}

/** Whether a batch can have this id. Keys of the queue that are not jobs must not be taken for batches. */
export function mayBeBatchId(id: string): boolean {
  return !/[:~\n]/.test(id) && !QUEUE_KEYS.includes(id);
}

/**
 * Escapes an id: ':', '~' and the end of a line, the separators of Redis keys, of this library's ids and of its lists,
 * become '%3A', '%7E' and '%0A'. Ids that are made from a job's id, or from a file, may have them. An escaped id stays
 * as it is.
 */
export function escapedId(id: string): string {
  return id.replaceAll(':', '%3A').replaceAll('~', '%7E').replaceAll('\n', '%0A');
}

/**
 * Checks an id of the caller's, which BullMQ's parent and child scripts and the ids of callbacks must be able to carry
 * once it is escaped.
 */
export function checkBatchId(id: unknown): asserts id is string {
  checkName('The id of a batch', id);
  checkNotBullMqs('The id of a batch', id, 'import');
}

/** Refuses an id that BullMQ gives itself, or that is the name of a key of a queue. */
function checkNotBullMqs(what: string, id: string, example: string): void {
  if (QUEUE_KEYS.includes(id)) {
    throw new BatchOptionsError(
      `${what} must not be '${id}', the name of a key of BullMQ's. Use e.g. '${example}-${id}'.`,
    );
  }
  if (String(Number.parseInt(id, 10)) === id) {
    throw new BatchOptionsError(
      `${what} must not be an integer, those are BullMQ's own: '${id}'. Use e.g. '${example}-${id}'.`,
    );
  }
}

/** Refuses job options that break batches, wherever they come from. */
export function checkJobOptions(what: string, opts: unknown): asserts opts is JobsOptions {
  checkObject(what, opts);
  for (const [option, why] of RESERVED) {
    if (opts[option]) {
      throw new BatchOptionsError(`${what} must not have '${option}' in a batch: ${why}.`);
    }
  }
  if (opts.ignoreDependencyOnFailure === false) {
    throw new BatchOptionsError(
      `${what} must not switch 'ignoreDependencyOnFailure' off: the batch needs it to go on after a failure.`,
    );
  }
  checkQuantities(what, opts);
}

/** The highest priority number that BullMQ can store. */
const PRIORITY_LIMIT = 2 ** 21;

/**
 * Checks the numbers that BullMQ refuses, or miscounts, only when the job is added: for the job of a callback that
 * would be too late.
 */
function checkQuantities(what: string, { priority, delay, timestamp, backoff }: Record<string, unknown>): void {
  if (priority !== undefined && !(Number.isInteger(priority) && between(priority, 0, PRIORITY_LIMIT))) {
    throw new BatchOptionsError(
      `${optionOf(what, 'priority')} must be an integer from 0 to ${PRIORITY_LIMIT}, not ${describe(priority)}.`,
    );
  }
  if (delay !== undefined && !between(delay, 0, Number.MAX_SAFE_INTEGER)) {
    throw new BatchOptionsError(`${optionOf(what, 'delay')} must be a number of milliseconds, not ${describe(delay)}.`);
  }
  if (timestamp !== undefined && !between(timestamp, 0, Number.MAX_SAFE_INTEGER)) {
    throw new BatchOptionsError(
      `${optionOf(what, 'timestamp')} must be a number of milliseconds since the epoch, not ${describe(timestamp)}.`,
    );
  }
  const { jitter } = typeof backoff === 'object' && backoff !== null ? (backoff as { jitter?: unknown }) : {};
  if (jitter !== undefined && !between(jitter, 0, 1)) {
    throw new BatchOptionsError(
      `${optionOf(what, 'backoff.jitter')} must be a number from 0 to 1, not ${describe(jitter)}.`,
    );
  }
}

export function between(value: unknown, least: number, most: number): boolean {
  return typeof value === 'number' && value >= least && value <= most;
}

export function checkMemberOptions(what: string, opts: unknown, batchId?: string): asserts opts is MemberOptions {
  checkJobOptions(what, opts);
  checkJson(what, opts);
  checkPlainOptions(what, opts);
  const { jobId } = opts;
  if (jobId === undefined) {
    return;
  }
  const idOption = optionOf(what, 'jobId');
  checkName(idOption, jobId);
  checkNotBullMqs(idOption, jobId, 'row');
  if (batchId !== undefined && jobId.startsWith(`${batchId}~`)) {
    throw new BatchOptionsError(
      `${idOption} must not begin with '${batchId}~', as the ids of the batch's own callbacks do: '${jobId}'.`,
    );
  }
  if (jobId.startsWith('0:') || (jobId.includes(':') && jobId.split(':').length !== 3)) {
    throw new BatchOptionsError(
      `${idOption} must not contain ':', BullMQ's separator: '${jobId}'. Use e.g. ` +
        `'${jobId.replace(/^0:/, 'row-0:').replaceAll(':', '-')}'.`,
    );
  }
}

/** Redis's Lua reads JSON up to 1,000 levels; the batch's own definition is around what is checked here. */
const DEEPEST_JSON = 500;

/** Refuses what JSON cannot carry, by path. */
export function checkJson(path: string, value: unknown, seen: ReadonlySet<unknown> = new Set()): void {
  if (seen.size > DEEPEST_JSON) {
    throw new BatchOptionsError(`${path.slice(0, 60)}… is nested more than ${DEEPEST_JSON} levels deep.`);
  }
  if (typeof value === 'string') {
    checkWellFormed(path, value);
    return;
  }
  if (value === null || typeof value === 'boolean' || value === undefined) {
    return;
  }
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) {
      throw new BatchOptionsError(`${path} is ${value}, which JSON cannot carry.`);
    }
    return;
  }
  if (typeof value !== 'object') {
    throw new BatchOptionsError(`${path} is ${describe(value)}, which JSON cannot carry.`);
  }
  if (seen.has(value)) {
    throw new BatchOptionsError(`${path} refers back to what contains it, which JSON cannot carry.`);
  }
  if ('toJSON' in value) {
    return;
  }
  if (!Array.isArray(value) && !isPlain(value)) {
    throw new BatchOptionsError(`${path} is ${describe(value)}, which JSON cannot carry. Pass a plain object.`);
  }
  const inside = new Set(seen).add(value);
  for (const [key, item] of Object.entries(value)) {
    checkJson(Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`, item, inside);
  }
}

/**
 * Refuses options that are a Date, or the like: BullMQ does not send options as JSON, and Redis could not read them.
 */
export function checkPlainOptions(path: string, value: object): void {
  for (const [key, item] of Object.entries(value)) {
    if (typeof item === 'object' && item !== null) {
      if ('toJSON' in item) {
        throw new BatchOptionsError(`${path}.${key} is ${describe(item)}, which BullMQ cannot store among options.`);
      }
      checkPlainOptions(`${path}.${key}`, item);
    }
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
}

export function describe(value: unknown): string {
  if (value === null || value === undefined) {
    return String(value);
  }
  if (Array.isArray(value)) {
    return 'an array';
  }
  if (typeof value === 'object') {
    const name = value.constructor?.name;
    return name === undefined || name === 'Object' ? 'an object' : withArticle(name);
  }
  if (typeof value === 'number' || typeof value === 'boolean') {
    return String(value);
  }
  return typeof value === 'string' ? `'${value}'` : `a ${typeof value}`;
}

const withArticle = (noun: string) => `${/^[AEIO]/i.test(noun) ? 'an' : 'a'} ${noun}`;

/** Returns the one of these words that was probably meant. */
export function nearest(key: string, known: readonly string[]): string | undefined {
  const [best] = known
    .map((candidate) => ({ candidate, distance: editDistance(key.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  return best !== undefined && best.distance <= Math.max(2, best.candidate.length / 3) ? best.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
