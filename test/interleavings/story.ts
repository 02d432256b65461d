import { randomUUID } from 'node:crypto';
import type {
  Batch,
  BatchQueue,
  BatchStatus,
  BatchWorker,
  BatchWorkerOptions,
  CallbackBatch,
} from '../../src/index.js';
import { gateOf } from '../conformance/script.js';
import type { HeldConnection } from '../support/held-connection.js';
import { heldBatchWorker } from '../support/interleave.js';
import { type AnyQueue, eventually, expect, type gate, type Testbed } from '../support/test.js';

export const AN_HOUR = 3_600_000;

/** Callbacks whose jobs are named as their events. */
export const ON = { complete: { name: 'complete' }, success: { name: 'success' } };

export const member = (name = 'member', opts = {}) => ({ name, data: {}, opts });

export type AnyBatch = Batch<AnyQueue>;

/** One situation: a queue whose jobs run, and what is known of those that ran. */
export interface Story {
  readonly testbed: Testbed;
  readonly held: HeldConnection;
  /** The queue as anybody uses it, and on the connection of the actor. */
  readonly users: BatchQueue<AnyQueue>;
  readonly actorsUsers: BatchQueue<AnyQueue>;
  /** The names of the jobs that ran, in the order in which they began. */
  readonly ran: string[];
  /** What the callbacks were told, by the names of their jobs. */
  readonly told: Record<string, CallbackBatch[]>;
  /** What members named `held` wait for. */
  readonly gate: ReturnType<typeof gate>;
  /** From now on members named `bad` succeed. */
  mend(): void;
}

/** Members named `bad` fail until they are mended, those named `held` wait for the gate, all others succeed at once. */
export function tell(testbed: Testbed, held: HeldConnection): Story {
  let isMended = false;
  const story: Story = {
    testbed,
    held,
    users: testbed.queue('users'),
    actorsUsers: testbed.queue('users', { connection: held.connection, skipMetasUpdate: true }),
    ran: [],
    told: {},
    gate: gateOf(testbed),
    mend() {
      isMended = true;
    },
  };
  testbed.worker(
    'users',
    async ({ name, data }) => {
      story.ran.push(name);
      if (data.batch) {
        story.told[name] = [...(story.told[name] ?? []), data.batch];
      }
      if (name === 'held') {
        await story.gate.opened;
      }
      if (name === 'bad' && !isMended) {
        throw new Error('bad');
      }
    },
    { concurrency: 10 },
  );
  return story;
}

/** A story with a batch as the actor, and as anybody else, has it in hand. */
export async function inBothHands<S extends Story>(
  story: S,
  { id }: Pick<Batch, 'id'>,
): Promise<S & { readonly actors: AnyBatch; readonly others: AnyBatch }> {
  const { users, actorsUsers } = story;
  return {
    ...story,
    actors: (await actorsUsers.getBatch(id)) as AnyBatch,
    others: (await users.getBatch(id)) as AnyBatch,
  };
}

/** A story with a BatchWorker, and with an open batch that has these members. */
export async function openBatch(
  testbed: Testbed,
  held: HeldConnection,
  { jobs = [], ...options }: Partial<BatchWorkerOptions> & { readonly jobs?: ReturnType<typeof member>[] } = {},
) {
  const story = tell(testbed, held);
  testbed.batchWorker(options);
  const batch = await story.users.createBatch({ on: ON });
  await batch.addBulk(jobs);
  return inBothHands(story, batch);
}

interface StoryOfOne extends Story {
  readonly batch: AnyBatch;
}

/** A story with a batch whose members have settled, and with the BatchWorker on the held connection to finish it. */
export async function readyToFinish(
  testbed: Testbed,
  held: HeldConnection,
  { jobs = [member()], ...options }: { readonly id?: string; readonly jobs?: ReturnType<typeof member>[] } = {},
): Promise<StoryOfOne> {
  const story = tell(testbed, held);
  await heldBatchWorker(testbed, held);
  const batch = await story.users.createBatch({ ...options, on: ON });
  await batch.addBulk(jobs);
  await membersSettled(batch);
  return { ...story, batch };
}

/** Makes the BatchWorker of `readyToFinish()` finish the batch. */
export async function sealAndFinish({ batch }: StoryOfOne): Promise<void> {
  await batch.seal();
  await batch.waitUntilFinished(10_000);
}

/** Promotes the batch job by hand, so that the BatchWorker of `readyToFinish()` has to put it back. */
export async function promoteAndPutBack({ testbed, batch }: StoryOfOne): Promise<void> {
  const batches = testbed.plainQueue('batches');
  await (await batches.getJob(batch.id))?.promote();
  await eventually(async () => !['waiting', 'active'].includes(await batches.getJobState(batch.id)));
}

/** Waits until no member is pending any more, whatever becomes of its batch. */
export async function membersSettled(batch: Batch): Promise<BatchStatus> {
  return eventually(async () => {
    const status = await batch.status();
    return status.pending === 0 ? status : undefined;
  });
}

/** The batch finishes as it should, and what ran, ran once: callbacks and members by their names. */
export async function expectEnd(
  { ran }: Story,
  batch: Batch,
  status: Partial<BatchStatus>,
  names: readonly string[],
): Promise<void> {
  const end = await batch.waitUntilFinished(10_000);
  expect(end).toMatchObject(status);
  expect(end.callbacks.filter(({ state }) => state === 'enqueued')).toEqual([]);
  expect([...ran].sort()).toEqual([...names].sort());
}

/** Does to the lock of a frozen BatchWorker what time would do: it runs out. False when nobody holds the batch. */
export async function loseLock({ testbed }: Story, batch: Pick<Batch, 'id'>): Promise<boolean> {
  const removed = await testbed.redis.del(`${testbed.prefix}:batches:${batch.id}:lock`);
  // Nor does anybody wait longer before looking for batches whose BatchWorker died.
  await testbed.redis.del(`${testbed.prefix}:batches:stalled-check`);
  return removed === 1;
}

/** A BatchWorker that takes over, at once, what one has left whose lock has run out. */
export function takeOver({ testbed }: Story): BatchWorker {
  return testbed.batchWorker({ stalledInterval: 20 });
}

/** Resolves when a sweep that began after the call has ended: every batch that is looked after has been looked at. */
export async function sweepsPass({ users, ran }: Story): Promise<void> {
  // The sweep that finds the first one may have begun before, and the one that finds the second may not have ended.
  for (const name of ['1', '2', '3'].map((n) => `witness ${n} ${randomUUID()}`)) {
    const witness = await users.createBatch({ on: { death: { name } } });
    await witness.addBulk([member('bad'), member('later', { delay: AN_HOUR })]);
    await eventually(() => ran.includes(name));
    await witness.remove({ force: true });
    ran.splice(ran.indexOf('bad'), 1);
    ran.splice(ran.indexOf(name), 1);
  }
}
