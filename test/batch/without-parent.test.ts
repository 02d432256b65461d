import type { Batch } from '../../src/index.js';
import { type AnyJob, describe, eventually, expect, test } from '../support/test.js';

// A file of its own: the warning is given once in a process.
describe('a batch that a member creates', () => {
  test('without a parent warns once, with the way out; as a child, and outside of members, it does not', async ({
    testbed,
  }) => {
    const warnings: string[] = [];
    const listen = ({ name, message }: Error) => void (name === 'BatchWarning' && warnings.push(message));
    process.on('warning', listen);
    try {
      const [parents, children] = [testbed.queue('parents'), testbed.queue('children')];
      testbed.worker('parents', async (job) => {
        if (job.name === 'no member') {
          return (await children.createBatch()).id;
        }
        const own = (await children.batchOf(job as AnyJob)) as Batch;
        await (await children.createBatch({ parent: own })).seal();
        await own.jobs(async () => (await children.createBatch()).seal());
        await own.createBatch({ queue: children });
        if (job.name === 'forgetful') {
          await children.createBatch();
          await children.createBatch();
        }
        return 'done';
      });
      const batch = await parents.createBatch();
      const jobs = [await batch.add('careful', {}), await parents.add('no member', {}), await batch.add('careful', {})];
      await eventually(async () => (await Promise.all(jobs.map((job) => job.isCompleted()))).every(Boolean));
      await children.createBatch();
      expect(warnings).toEqual([]);

      await batch.add('forgetful', {});
      await eventually(() => warnings.length > 0);
      expect(warnings).toEqual([
        expect.stringContaining(`A member of batch '${batch.id}' has created a batch in queue`),
      ]);
      expect(warnings[0]).toContain('createBatch({ parent: batch })');
    } finally {
      process.off('warning', listen);
    }
  });
});
