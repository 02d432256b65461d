import { BatchOptionsError, because } from '../errors.js';
import { type OnFailure, policyOf } from '../model/failure-policy.js';
import {
  between,
  checkBatchId,
  checkJobOptions,
  checkJson,
  checkKeys,
  checkName,
  checkObject,
  checkPlainOptions,
  describe,
  type MemberDefaults,
} from '../validation.js';
import type { Callbacks } from './callbacks.js';

/** A batch as the option `parent` takes it: the `Batch` that `createBatch()` or `getBatch()` returned. */
export interface ParentBatch {
  /** The id of the parent batch. */
  readonly id: string;
  /** The id of the batch above the parent, if there is one. */
  readonly parentId: string | undefined;
  /** Seals the parent batch: see `Batch.seal`. */
  seal(): Promise<void>;
}

/** Options of `createBatch()` and `addBatch()`; all are optional. */
export interface BatchOptions<Names extends string = string> {
  /**
   * An id of your own, e.g. 'import-42': creating it again returns the batch that exists. ':', '~' and the end of a
   * line become '%3A', '%7E' and '%0A', here and in `getBatch(id)`. Not an integer, and no word under which BullMQ
   * keeps something of a queue, e.g. 'meta' or 'failed' (docs/guarantees.md). Default: a generated one.
   */
  readonly id?: string;
  /**
   * What to do when there is a batch with this `id`: `'join'` returns it, and adds to it what it does not have;
   * `'reject'` throws a BatchConflictError; `'replace'` removes it, with the jobs of its members, also when it has not
   * finished, and creates a new one. A child cannot replace: its parent would miss the one before. Default: `'join'`.
   */
  readonly ifExists?: 'join' | 'reject' | 'replace';
  /** What people read in lists, e.g. 'Import of ACME'. */
  readonly description?: string;
  /** The callbacks by event: jobs, or names of the BatchWorker's own `callbacks`. Default: none. */
  readonly on?: Callbacks<Names>;
  /** The batch that this one becomes a member of. Default: inside of `batch.jobs()` that batch, otherwise none. */
  readonly parent?: ParentBatch;
  /** Defaults for the members' job options: `attempts`, `backoff`, `priority`, `delay`, … */
  readonly jobOptions?: MemberDefaults;
  /**
   * After how many ms without a sign of life of its producer (adding, or `jobs(fn)` running) an open batch is
   * abandoned: `complete` fires with `abandoned: true`, and the batch fails. Adding to it, or sealing it, revives it.
   * Default: 24 hours.
   */
  readonly openTimeout?: number;
  /**
   * How long the batch stays readable once it has finished, in the form of BullMQ's `removeOnComplete`: `age` in
   * seconds, `count` for the latest so many of its state. Then it goes, with its child batches and the jobs of its
   * callbacks; its members' jobs are yours, unless `members` is true. A child stays as long as its parent. Default:
   * `{ age: 604800 }`, 7 days.
   */
  readonly keep?: {
    /** For how many seconds a finished batch stays readable. */
    readonly age?: number;
    /** How many of the batches that have finished in the same state stay readable: the latest ones. */
    readonly count?: number;
    /**
     * Whether the members' jobs go with the batch. Then failed members stay as long as the batch, so that their data
     * can be read, also with `removeOnFail: true`. Default: false.
     */
    readonly members?: boolean;
  };
  /**
   * By when the batch is to have finished: in ms from now, or a Date. Then what is left of it is cancelled, with that
   * reason, within about a second. Default: never.
   */
  readonly deadline?: number | Date;
  /**
   * What you want to keep with the batch, for `status()`, callbacks and the page: a JSON object of at most 10,000
   * characters. `batch.updateMetadata()` changes it. Default: none.
   */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** By what `getBatches({ tag })` finds the batch: at most 20 words of at most 100 characters. Default: none. */
  readonly tags?: readonly string[];
  /** What failures do to the batch: see {@link OnFailure}. Default: `'continue'`, they are counted. */
  readonly onFailure?: OnFailure;
}

const IF_EXISTS = ['join', 'reject', 'replace'];
const OPTION_KEYS = [
  ...['id', 'ifExists', 'description', 'on', 'parent', 'jobOptions', 'openTimeout', 'keep', 'onFailure'],
  ...['deadline', 'metadata', 'tags'],
];

/** Checks all options but the callbacks and the parent, without asking Redis. */
export function checkBatchOptions(options: unknown): asserts options is BatchOptions {
  checkObject('The options of a batch', options, `{ description: 'Newsletter' }`);
  checkKeys('A batch', options, OPTION_KEYS);
  const { id, description, jobOptions, openTimeout, keep } = options;
  if (id !== undefined) {
    checkBatchId(id);
  }
  if (options.ifExists !== undefined && !IF_EXISTS.includes(options.ifExists as string)) {
    throw new BatchOptionsError(`ifExists must be 'join', 'reject' or 'replace', not ${describe(options.ifExists)}.`);
  }
  if (description !== undefined) {
    checkName('description', description);
  }
  if (openTimeout !== undefined && !(Number.isSafeInteger(openTimeout) && Number(openTimeout) > 0)) {
    throw new BatchOptionsError(`openTimeout must be a positive integer, in ms, not ${describe(openTimeout)}.`);
  }
  if (keep !== undefined) {
    checkKeep(keep);
  }
  checkDeadline(options.deadline);
  checkMetadata('metadata', options.metadata);
  checkTags(options.tags);
  policyOf(options.onFailure);
  if (jobOptions !== undefined) {
    checkJobOptions('jobOptions', jobOptions);
    checkJson('jobOptions', jobOptions);
    checkPlainOptions('jobOptions', jobOptions);
    if ('jobId' in jobOptions) {
      throw new BatchOptionsError(`jobOptions must not have 'jobId': it would be the same for all members.`);
    }
  }
}

function checkKeep(keep: unknown): void {
  checkObject('keep', keep, '{ age: 86400 }, in seconds');
  checkKeys('keep', keep, ['age', 'count', 'members']);
  const { age, count, members } = keep;
  if (members !== undefined && typeof members !== 'boolean') {
    throw new BatchOptionsError(`keep.members must be true or false, not ${describe(members)}.`);
  }
  if (age === undefined && count === undefined && members === undefined) {
    throw new BatchOptionsError(`keep needs 'age' (seconds) or 'count', or both, or 'members': keep: { age: 86400 }.`);
  }
  for (const [name, value] of Object.entries({ age, count })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && Number(value) >= 0)) {
      throw new BatchOptionsError(`keep.${name} must be a whole number, not ${describe(value)}.`);
    }
  }
}

/** The last instant of a Date is the year 275760; Redis's clock may be ahead. */
const LONGEST_DEADLINE_MS = 8_000_000_000_000_000;

/** A number of ms that is a time since the epoch (from 2001 on) rather than how long a batch may take (32 years). */
const SOME_TIME_MS = 1_000_000_000_000;

function checkDeadline(deadline: unknown): void {
  const isDate = deadline instanceof Date && !Number.isNaN(deadline.getTime());
  if (deadline !== undefined && !isDate && !(Number.isInteger(deadline) && between(deadline, 1, LONGEST_DEADLINE_MS))) {
    throw new BatchOptionsError(
      `deadline must be a positive integer, in ms, or a valid Date, not ${describe(deadline)}.`,
    );
  }
  if (between(deadline, SOME_TIME_MS, LONGEST_DEADLINE_MS)) {
    throw new BatchOptionsError(
      `deadline is given in ms from now, and ${deadline} looks like a time: pass new Date(${deadline}).`,
    );
  }
}

/** How many characters of JSON metadata may have: each look at a batch reads it. */
const MOST_METADATA = 10_000;

/** Refuses metadata that is no JSON object, or too large. */
export function checkMetadata(what: string, metadata: unknown): void {
  if (metadata === undefined) {
    return;
  }
  checkObject(what, metadata);
  checkJson(what, metadata);
  const { length } = jsonOf(what, metadata);
  if (length > MOST_METADATA) {
    throw new BatchOptionsError(
      `${what} has ${length} characters of JSON, and may have ${MOST_METADATA}: keep the rest elsewhere, by the ` +
        `batch's id.`,
    );
  }
}

/** Returns the metadata as JSON. An object with a `toJSON` may become something else than an object, or throw. */
function jsonOf(what: string, metadata: Record<string, unknown>): string {
  let json: unknown;
  try {
    json = JSON.stringify(metadata);
  } catch (cause) {
    throw new BatchOptionsError(`${what} is not JSON: ${because(cause)}.`, { cause });
  }
  if (typeof json !== 'string' || !json.startsWith('{')) {
    throw new BatchOptionsError(`${what} must be an object as JSON, too, not ${describe(metadata)}.`);
  }
  return json;
}

const MOST_TAGS = 20;
const LONGEST_TAG = 100;

function checkTags(tags: unknown): void {
  if (tags === undefined) {
    return;
  }
  if (!Array.isArray(tags) || tags.length > MOST_TAGS) {
    throw new BatchOptionsError(`tags must be an array of at most ${MOST_TAGS} words, not ${describe(tags)}.`);
  }
  tags.forEach((tag: unknown, i) => {
    checkName(`tags[${i}]`, tag);
    if (tag.length > LONGEST_TAG) {
      throw new BatchOptionsError(`tags[${i}] has ${tag.length} characters, and may have ${LONGEST_TAG}.`);
    }
  });
}
