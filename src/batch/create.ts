import type { JobsOptions } from 'bullmq';
import { BatchConflictError, BatchMemberError, BatchNotFoundError, BatchOptionsError, because } from '../errors.js';
import {
  checkBatchId,
  checkJobOptions,
  checkJson,
  checkKeys,
  checkName,
  checkObject,
  describe,
  type MemberDefaults,
} from '../options.js';
import { keepDefinition } from '../redis/change-definition.js';
import { isConnectionError } from '../redis/connection-error.js';
import { type BatchDefinition, EVENTS, eventsOf } from '../redis/definition.js';
import { jobKey } from '../redis/keys.js';
import { needMaintenance, needsOf } from '../redis/needs.js';
import { disownMember, registerMembers, unregisterAbsent } from '../redis/register.js';
import { readSnapshot } from '../redis/snapshot.js';
import type { Batch } from './batch.js';
import { type Callbacks, storeCallbacks } from './callbacks.js';
import { type OnFailure, policyOf } from './failure-policy.js';
import { checkNotBatches, type Home } from './home.js';
import { newBatchId, newNonce } from './ids.js';
import type { Opener } from './job.js';
import { type Destination, refusal } from './members.js';
import { startTrace } from './trace.js';

const OPEN_TIMEOUT_MS = 24 * 60 * 60 * 1000;
const KEEP = { age: 7 * 24 * 60 * 60 };

/** After an error of the infrastructure a step is tried again for as long as it takes. */
const STEP_OPTIONS = {
  attempts: 1_000_000_000,
  backoff: { type: 'fixed', delay: 1000 },
  stackTraceLimit: 3,
  ignoreDependencyOnFailure: true,
} satisfies JobsOptions;

/** What a new batch is to be. Everything is optional. */
export interface BatchOptions {
  /**
   * An id of your own, e.g. 'import-42': creating it again returns the batch that exists. No ':' and no '~', and not an
   * integer. Default: a generated one.
   */
  readonly id?: string;
  /** What people read in lists, e.g. 'Import of ACME'. */
  readonly description?: string;
  /** The callbacks by event. Default: none. */
  readonly on?: Callbacks;
  /** The batch that this one becomes a member of. Default: inside of `batch.jobs()` that batch, otherwise none. */
  readonly parent?: Batch;
  /** Defaults for the members' job options: `attempts`, `backoff`, `priority`, `delay`, … */
  readonly jobOptions?: MemberDefaults;
  /**
   * After how many ms without a sign of life of its producer (adding, or `jobs(fn)` running) an open batch is abandoned:
   * `complete` fires with `abandoned: true`, and the batch fails. Adding to it, or sealing it, revives it. Default: 24 hours.
   */
  readonly openTimeout?: number;
  /**
   * How long the batch stays readable once it has finished, in the form of BullMQ's `removeOnComplete`: `age` in seconds,
   * `count` for the latest so many of its state. Then it goes, with its child batches and the jobs of its callbacks; its
   * members' jobs are yours. A child stays as long as its parent. Default: `{ age: 604800 }`, 7 days.
   */
  readonly keep?: { readonly age?: number; readonly count?: number };
  /** What failures do to the batch: see {@link OnFailure}. Default: `'continue'`, they are counted. */
  readonly onFailure?: OnFailure;
}

const OPTION_KEYS = ['id', 'description', 'on', 'parent', 'jobOptions', 'openTimeout', 'keep', 'onFailure'];

/** Checks all but the callbacks and the parent, without asking Redis. */
export function checkBatchOptions(options: unknown): asserts options is BatchOptions {
  checkObject('The options of a batch', options);
  checkKeys('A batch', options, OPTION_KEYS);
  const { id, description, jobOptions, openTimeout, keep } = options;
  if (id !== undefined) {
    checkBatchId(id);
  }
  if (description !== undefined) {
    checkName('description', description);
  }
  if (openTimeout !== undefined && !(Number.isInteger(openTimeout) && Number(openTimeout) > 0)) {
    throw new BatchOptionsError(`openTimeout must be a positive integer, in ms, not ${describe(openTimeout)}.`);
  }
  if (keep !== undefined) {
    checkKeep(keep);
  }
  policyOf(options.onFailure);
  if (jobOptions !== undefined) {
    checkJobOptions('jobOptions', jobOptions);
    checkJson('jobOptions', jobOptions);
    if ('jobId' in jobOptions) {
      throw new BatchOptionsError(`jobOptions must not have 'jobId': it would be the same for all members.`);
    }
  }
}

function checkKeep(keep: unknown): void {
  checkObject('keep', keep);
  checkKeys('keep', keep, ['age', 'count']);
  const { age, count } = keep;
  if (age === undefined && count === undefined) {
    throw new BatchOptionsError(`keep needs 'age' (seconds) or 'count', or both: keep: { age: 86400 }.`);
  }
  for (const [name, value] of Object.entries({ age, count })) {
    if (value !== undefined && !(Number.isInteger(value) && Number(value) >= 0)) {
      throw new BatchOptionsError(`keep.${name} must be a whole number, not ${describe(value)}.`);
    }
  }
}

/** Creates the batch job, or finds the batch that has this id. */
export async function defineBatch(
  { home, own }: Opener,
  { id, description, on, jobOptions, openTimeout = OPEN_TIMEOUT_MS, keep = KEEP, onFailure }: BatchOptions,
  parent: Destination | undefined,
): Promise<{ id: string; definition: BatchDefinition; created: boolean }> {
  checkNotBatches(own.name);
  const batchId = id ?? newBatchId();
  const policy = policyOf(onFailure);
  const definition: BatchDefinition = {
    id: batchId,
    ...(description === undefined ? {} : { description }),
    ...(parent === undefined ? {} : { parentId: parent.batchId }),
    queue: own.name,
    on: storeCallbacks(on, { home, own }),
    ...(policy === undefined ? {} : { policy }),
    ...(jobOptions === undefined ? {} : { jobOptions: jobOptions as JobsOptions }),
    openTimeout,
    keep,
    nonce: newNonce(),
  };
  const existing = id === undefined ? undefined : await findDefinition(home, id);
  if (existing !== undefined) {
    await needNew(home, batchId, existing);
    return { id: batchId, definition: agree(batchId, existing, definition), created: false };
  }
  const created = await startTrace(home.telemetry, batchId, async (trace) => {
    const traced = trace === undefined ? definition : { ...definition, trace };
    if (parent === undefined || (await registerChild(parent, batchId, id === undefined))) {
      await addBatchJob(home, batchId, traced, parent);
      await needNew(home, batchId, traced);
    }
    return traced;
  });
  if (id === undefined) {
    return { id: batchId, definition: created, created: true };
  }
  // Two processes may have created it at the same time: the one whose definition is stored has.
  const stored = await findDefinition(home, batchId);
  if (stored === undefined) {
    throw new BatchNotFoundError(batchId);
  }
  if (parent !== undefined && stored.parentId !== parent.batchId) {
    // BullMQ lets a parent adopt a job that has none: the batch that somebody else has just created is not ours to take.
    await disownMember(home.redis, parent.batchId, childKey(parent, batchId));
  }
  return { id: batchId, definition: agree(batchId, stored, definition), created: stored.nonce === definition.nonce };
}

/** Also when the batch exists: a producer may have been killed before it said so. */
async function needNew(home: Home, batchId: string, { on, policy, parentId }: BatchDefinition): Promise<void> {
  const words = needsOf(eventsOf(on), policy);
  if (parentId !== undefined || words.length > 0) {
    await needMaintenance(home.redis, batchId, words, { isNew: true });
  }
}

async function findDefinition(home: Home, batchId: string): Promise<BatchDefinition | undefined> {
  return (await readSnapshot(home.redis, batchId))?.definition;
}

/** The batch that exists, if it is the one that is meant. */
function agree(batchId: string, existing: BatchDefinition, wanted: BatchDefinition): BatchDefinition {
  if (existing.parentId !== wanted.parentId) {
    throw new BatchConflictError(
      `Batch '${batchId}' exists with ${parentName(existing)}, and was now asked for with ${parentName(wanted)}. Use another id, or getBatch('${batchId}').`,
      { batchId },
    );
  }
  for (const event of EVENTS) {
    const names = [existing, wanted].map(({ on }) =>
      (on[event] ?? [])
        .filter(({ late }) => !late)
        .map(({ queue, name }) => `${queue}/${name}`)
        .join(', '),
    );
    if (names[0] !== names[1]) {
      throw new BatchConflictError(
        `Batch '${batchId}' exists with the ${event} callbacks [${names[0]}], and was now asked for with [${names[1]}]. Use another id, or getBatch('${batchId}').`,
        { batchId },
      );
    }
  }
  return existing;
}

function parentName({ parentId }: BatchDefinition): string {
  return parentId === undefined ? 'no parent' : `the parent '${parentId}'`;
}

/** Registers a child batch as a member of its parent; false when its batch job is there already. */
async function registerChild(parent: Destination, batchId: string, fresh: boolean): Promise<boolean> {
  const memberKeys = [childKey(parent, batchId)];
  const registered = await registerMembers(parent.home.redis, parent.batchId, {
    fresh,
    links: parent.links,
    memberKeys,
  });
  if ('refused' in registered) {
    throw refusal(parent.batchId, registered.refused);
  }
  const [registration] = registered.members;
  return registration === 'new' || registration === 'vacant';
}

const childKey = ({ home }: Destination, batchId: string) => jobKey(home.redis.prefix, home.batches.name, batchId);

async function addBatchJob(
  home: Home,
  batchId: string,
  definition: BatchDefinition,
  parent: Destination | undefined,
): Promise<void> {
  try {
    await home.batches.add(definition.description ?? `batch of ${definition.queue}`, definition, {
      ...STEP_OPTIONS,
      jobId: batchId,
      delay: definition.openTimeout,
      ...(parent === undefined ? {} : { parent: { id: parent.batchId, queue: home.batches.qualifiedName } }),
    });
    await keepDefinition(home.redis, batchId);
  } catch (cause) {
    const isUnknown = isConnectionError(cause);
    if (parent !== undefined && !isUnknown) {
      await unregisterAbsent(home.redis, parent.batchId, [childKey(parent, batchId)]);
    }
    // It exists when only the answer was lost, or when another process has just used the id: BullMQ refuses one under
    // another parent, and `agree` says so in our words.
    if ((await findDefinition(home, batchId).catch(() => undefined)) !== undefined) {
      return;
    }
    throw new BatchMemberError(
      isUnknown
        ? `It is not known whether batch '${batchId}' was created: ${because(cause)}. Create it again with the same id.`
        : `Batch '${batchId}' was not created: ${because(cause)}.`,
      { batchId, jobIds: [batchId], cause },
    );
  }
}
