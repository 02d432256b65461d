import { Job, type JobsOptions } from 'bullmq';
import {
  type BatchError,
  BatchFinishedError,
  BatchMemberError,
  BatchNotFoundError,
  BatchSealedError,
  because,
} from '../errors.js';
import { isConnectionError } from '../redis/connection-error.js';
import { jobKey } from '../redis/keys.js';
import {
  type AttachmentLink,
  type Registered,
  type Registration,
  registerMembers,
  unregisterAbsent,
} from '../redis/register.js';
import type { Home, MemberQueue } from './home.js';
import { revive } from './retry.js';

/** A job on its way into a batch. */
export interface Member {
  readonly queue: MemberQueue;
  readonly name: string;
  readonly data: unknown;
  /** The member's own options and the batch's defaults; the queue's defaults are BullMQ's to add. */
  readonly opts: JobsOptions;
  readonly id: string;
}

/** The batch that members are added to, and what entitles the caller to do so once it is sealed. */
export interface Destination {
  readonly home: Home;
  readonly batchId: string;
  readonly links: readonly AttachmentLink[];
}

export interface Added {
  /** One per member, in the same order, as BullMQ's own `addBulk` returns them. */
  readonly jobs: readonly Job[];
  readonly added: number;
  /** How many were members already, and were left alone. */
  readonly known: number;
}

/**
 * Adds members to a batch: registers them, which decides and counts atomically, and then adds their jobs. The one place
 * through which everything goes that becomes a member.
 *
 * Killed in between, there are dependencies without a job: a producer that resumes with the same ids fills them, and the
 * reconciler calls them missing otherwise. A job that BullMQ refuses is taken back and named.
 */
export async function addMembers(to: Destination, members: readonly Member[], fresh: boolean): Promise<Added> {
  const keys = members.map(({ queue, id }) => jobKey(to.home.redis.prefix, queue.name, id));
  const registrations = await register(to, members, keys, fresh);

  const seen = new Set<string>();
  const wanted: { member: Member; key: string; position: number }[] = [];
  members.forEach((member, position) => {
    const key = keys[position] ?? '';
    if (registrations[position] !== 'known' && !seen.has(key)) {
      seen.add(key);
      wanted.push({ member, key, position });
    }
  });
  const jobs: (Job | undefined)[] = new Array(members.length);
  for (const [queue, group] of groupByQueue(wanted)) {
    const stored = await addJobs(to, queue, group);
    group.forEach(({ position }, i) => {
      jobs[position] = stored[i];
    });
  }
  return {
    jobs: members.map((member, i) => jobs[i] ?? knownJob(member)),
    added: wanted.length,
    known: members.length - wanted.length,
  };
}

/** Makes members of what is not one yet, before there is a job, or says why not: then nothing has been written. */
export async function register(
  { home, batchId, links }: Destination,
  members: readonly Member[],
  keys: readonly string[],
  fresh: boolean,
): Promise<readonly Registration[]> {
  const unique = new Set(keys).size === keys.length;
  const registered = await registerMembers(home.redis, batchId, {
    fresh: fresh && unique,
    links,
    memberKeys: keys,
  }).catch((cause: Error) => {
    const jobIds = members.map(({ id }) => id);
    throw isConnectionError(cause)
      ? notKnown(`to batch '${batchId}'`, batchId, jobIds, cause)
      : new BatchMemberError(`${count(members.length)} not added to batch '${batchId}': ${because(cause)}.`, {
          batchId,
          jobIds,
          cause,
        });
  });
  if ('refused' in registered) {
    throw refusal(batchId, registered.refused);
  }
  refuseForeign(batchId, members, registered.members);
  if (registered.toBeRevived) {
    await revive(home, batchId);
  }
  return registered.members;
}

export function refusal(batchId: string, refused: Extract<Registered, { refused: unknown }>['refused']): BatchError {
  switch (refused) {
    case 'not found':
      return new BatchNotFoundError(batchId);
    case 'sealed':
      return new BatchSealedError(batchId);
    case 'finished':
    case 'cancelled':
      return new BatchFinishedError(batchId, refused);
  }
}

function refuseForeign(batchId: string, members: readonly Member[], registrations: readonly string[]): void {
  const foreign = members.filter((_, i) => registrations[i] === 'foreign');
  const [first] = foreign;
  if (first !== undefined) {
    throw new BatchMemberError(
      `${count(foreign.length)} not added to batch '${batchId}', nor was any other of the same chunk: a job with the id ` +
        `'${first.id}' exists in queue '${first.queue.name}' that is not in this batch. Give members ids of their own, or remove that job first.`,
      { batchId, jobIds: foreign.map(({ id }) => id) },
    );
  }
}

type Wanted = { readonly member: Member; readonly key: string; readonly position: number };

function groupByQueue(wanted: readonly Wanted[]): Map<MemberQueue, Wanted[]> {
  const groups = new Map<MemberQueue, Wanted[]>();
  for (const one of wanted) {
    const group = groups.get(one.member.queue);
    if (group === undefined) {
      groups.set(one.member.queue, [one]);
    } else {
      group.push(one);
    }
  }
  return groups;
}

async function addJobs({ home, batchId }: Destination, queue: MemberQueue, group: readonly Wanted[]): Promise<Job[]> {
  const parent = { id: batchId, queue: home.batches.qualifiedName };
  const jobs = group.map(({ member: { name, data, opts, id } }) => ({
    name,
    data,
    opts: { ...opts, jobId: id, parent, ignoreDependencyOnFailure: true },
  }));
  let stored: Job[];
  try {
    const [only, ...others] = jobs;
    stored =
      only !== undefined && others.length === 0
        ? [await queue.add(only.name, only.data, only.opts)]
        : await queue.addBulk(jobs);
  } catch (cause) {
    throw await takeBack(home, batchId, queue, group, cause);
  }
  // BullMQ's addBulk does not throw when Redis refuses a job: it returns the script's error code as the job's id.
  const refused = group.filter(({ member }, i) => String(stored[i]?.id) !== member.id);
  if (refused.length > 0) {
    const codes = new Set(stored.map(({ id }) => String(id)).filter((id) => id.startsWith('-')));
    throw await takeBack(home, batchId, queue, refused, new Error(explainCodes(codes)));
  }
  return stored;
}

export function explainCodes(codes: ReadonlySet<string>): string {
  if (codes.has('-7')) {
    return 'a job with this id belongs to another parent (BullMQ -7)';
  }
  if (codes.has('-5')) {
    return 'the batch was removed meanwhile, or the queue is in another Redis than its batch (BullMQ -5)';
  }
  return `BullMQ returned ${[...codes].join(', ')} instead of the id`;
}

/**
 * Takes back the registration of what was not stored, and says what is not in the batch. After an error of the connection
 * nothing is taken back: Redis may still get the command, or have got it, and a job would run that is not counted. What
 * never arrives is missing then.
 */
export async function takeBack(
  home: Home,
  batchId: string,
  queue: MemberQueue,
  group: readonly Wanted[],
  cause: unknown,
  others = 'The others of the same call that were stored stay in the batch.',
): Promise<BatchMemberError> {
  const unknown = () =>
    notKnown(
      `to queue '${queue.name}' in batch '${batchId}'`,
      batchId,
      group.map(({ member }) => member.id),
      cause,
    );
  if (isConnectionError(cause)) {
    return unknown();
  }
  try {
    const keys = group.map(({ key }) => key);
    const absent = await unregisterAbsent(home.redis, batchId, keys);
    const jobIds = group.filter(({ key }) => absent.has(key)).map(({ member }) => member.id);
    return new BatchMemberError(
      `${count(jobIds.length)} not added to queue '${queue.name}' in batch '${batchId}': ${because(cause)}.${culprit(group)} ` +
        others,
      { batchId, jobIds, cause },
    );
  } catch {
    return unknown();
  }
}

function notKnown(where: string, batchId: string, jobIds: readonly string[], cause: unknown): BatchMemberError {
  const what = jobIds.length === 1 ? 'whether 1 job was' : `which of ${jobIds.length} jobs were`;
  return new BatchMemberError(
    `It is not known ${what} added ${where}: ${because(cause)}. Add them again with the same jobIds: what is there already is ` +
      `not added twice. What is not added again may be missing from the batch.`,
    { batchId, jobIds, cause },
  );
}

/** Names the job whose data cannot be stored: the queue's own error does not. */
function culprit(group: readonly Wanted[]): string {
  const unserializable = group.find(({ member }) => {
    try {
      JSON.stringify(member.data);
      return false;
    } catch {
      return true;
    }
  });
  return unserializable === undefined
    ? ''
    : ` The data of job '${unserializable.member.name}' (${unserializable.member.id}) is not JSON.`;
}

function count(jobs: number): string {
  return jobs === 1 ? '1 job was' : `${jobs} jobs were`;
}

/** BullMQ's `add` answers a known id with a job of that id, made from what was given; so do we. */
export function knownJob({ queue, name, data, opts, id }: Member): Job {
  return new Job(queue.queue as unknown as ConstructorParameters<typeof Job>[0], name, data, opts, id);
}
