import { contextOf } from '../../../src/batch/batch-context.js';
import { Maintainer } from '../../../src/worker/maintenance/maintainer.js';
import type { HeldConnection } from '../../support/held-connection.js';
import { describe, eventually, expect, type Testbed, test } from '../../support/test.js';

const AN_HOUR = 3_600_000;
/** Several slices of the service that announces first failures. */
const BATCHES = 45;
const BATCHES_PER_SLICE = 10;

/** Batches in each of which a member has failed for good, which has to be announced. */
async function failingBatches(testbed: Testbed): Promise<void> {
  const users = testbed.queue('users');
  testbed.worker('members', async () => Promise.reject(new Error('bad')), { concurrency: 20 });
  for (let i = 0; i < BATCHES; i++) {
    const batch = await users.createBatch({ on: { death: { name: 'death' } } });
    await batch.addBulk([{ name: 'bad', data: {}, queue: 'members' }]);
  }
  const members = testbed.plainQueue('members');
  await eventually(async () => (await members.getFailedCount()) === BATCHES);
}

const renewals = ({ commands }: HeldConnection) => commands.filter((name) => name === 'takeLease').length;

/** Lets the leader go on from command to command until it is about to renew its lease, and holds it there. */
async function heldBeforeRenewal(held: HeldConnection, position: number): Promise<void> {
  held.holdBefore(position);
  const stopped = await held.heldOrEnded(new Promise(() => {}));
  return stopped?.name === 'takeLease' ? undefined : heldBeforeRenewal(held, position + 1);
}

describe('a leader that has lost its lease', () => {
  test('ends the slice that is under way, and begins nothing more', async ({ testbed }) => {
    await failingBatches(testbed);
    const users = testbed.queue('users');
    const announced = () => users.getWaitingCount();
    const held = await testbed.heldConnection();
    const context = await contextOf(testbed.queue('users', { connection: held.connection, skipMetasUpdate: true }));
    const intervals = { sweepInterval: 20, reconcileInterval: AN_HOUR, missingAfter: AN_HOUR };
    const leader = testbed.use(new Maintainer(context, intervals, { onRepair: () => {}, onError: () => {} }));
    await held.idle();
    held.countFrom();

    // Its first command takes the lead. It renews it in the middle of the round that goes through all of the batches.
    leader.start();
    await heldBeforeRenewal(held, 2);
    const before = await announced();
    expect(before).toBeLessThan(BATCHES - BATCHES_PER_SLICE);
    const key = `${testbed.prefix}:batches:reconciler:leader`;
    expect(await testbed.redis.set(key, 'another one', 'PX', AN_HOUR, 'XX')).toBe('OK');
    // This one is for another service.
    const late = await users.createBatch({ deadline: 1 });
    await late.add('later', {}, { delay: AN_HOUR });
    const known = renewals(held);
    held.release();
    // It learns of the loss with the first of them; in this time it would go through all of the batches.
    await eventually(() => renewals(held) > known + 20);
    await leader.close();

    expect((await announced()) - before).toBeLessThanOrEqual(BATCHES_PER_SLICE);
    expect(await late.isCancelled()).toBe(false);
    expect(await testbed.redis.get(key)).toBe('another one');
  });
});
