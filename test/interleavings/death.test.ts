import { contextOf } from '../../src/batch/batch-context.js';
import { BatchNotFoundError } from '../../src/index.js';
import { readDefinition } from '../../src/record/change-definition.js';
import { beginRemoval } from '../../src/record/removal.js';
import { heldBatchWorker, interleave } from '../support/interleave.js';
import { endLeases } from '../support/leases.js';
import { eventually, expect, test } from '../support/test.js';
import { AN_HOUR, member, type Story, tell } from './story.js';

/** Told by the failure of one member, while another one runs: the batches themselves do not wake. */
const allAreTold = ({ told }: Story) =>
  eventually(() => ['top death', 'middle death', 'leaf death'].every((name) => told[name] !== undefined));

test('a BatchWorker that is frozen while it tells a death leaves nobody untold, and nobody is told twice', {
  timeout: 60_000,
}, async ({ testbed }) => {
  await interleave(testbed, {
    async setup(testbed, held) {
      const story = tell(testbed, held);
      const [top, middle, leaf] = ['top death', 'middle death', 'leaf death'].map((name) => ({
        on: { death: { name } },
      }));
      const topBatch = await story.users.createBatch(top);
      const middleBatch = await topBatch.createBatch(middle);
      const leafBatch = await middleBatch.createBatch(leaf);
      await leafBatch.addBulk([member('bad'), member('held')]);
      for (const batch of [leafBatch, middleBatch, topBatch]) {
        await batch.seal();
      }
      await eventually(async () => (await leafBatch.status()).failed === 1 && story.ran.includes('held'));
      return { ...story, topBatch };
    },
    async actor(story) {
      const { testbed, held } = story;
      testbed.batchWorker({ connection: held.connection, sweepInterval: 80 }).on('error', () => {});
      await allAreTold(story);
    },
    async other(story) {
      // It sweeps as soon as the frozen one has missed a few of its own sweeps.
      story.testbed.batchWorker({ sweepInterval: 20 });
      await allAreTold(story);
    },
    async verdict({ gate, topBatch, ran }) {
      gate.open();
      expect(await topBatch.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', total: 1, failed: 1 });
      expect([...ran].sort()).toEqual(['bad', 'held', 'leaf death', 'middle death', 'top death']);
    },
  });
});

test('a cancelled child whose removal begins while a BatchWorker ends it is no death of the batch above', async ({
  testbed,
}) => {
  const { commands } = await interleave(testbed, {
    async setup(testbed, held) {
      const story = tell(testbed, held);
      await heldBatchWorker(testbed, held);
      const parent = await story.users.createBatch({
        on: { death: { name: 'death' }, complete: { name: 'complete' } },
      });
      const child = await parent.createBatch();
      await child.add('later', {}, { delay: AN_HOUR });
      const { redis } = await contextOf(story.users);
      const { nonce = '' } = (await readDefinition(redis, child.id)) ?? {};
      return { ...story, parent, child, redis, nonce };
    },
    async actor({ child }) {
      await child.cancel();
      await eventually(() =>
        child.status().then(
          ({ finishedAt }) => finishedAt !== undefined,
          () => true,
        ),
      );
    },
    async other({ redis, child, nonce }) {
      // As a remove() leaves it whose process dies then.
      const extent = { members: false, force: true };
      await beginRemoval(redis, child.id, { how: 'remove', nonce, holder: 'dead', extent });
    },
    async verdict({ testbed, held, parent, child, ran }) {
      await held.idle();
      await endLeases(testbed, [child.id]);
      await child.remove({ force: true }).catch((error) => expect(error).toBeInstanceOf(BatchNotFoundError));
      await parent.seal();
      expect(await parent.waitUntilFinished(10_000)).toMatchObject({ state: 'failed', total: 1 });
      expect(ran).toEqual(['complete']);
    },
  });
  expect(commands).toContain('amend');
});
