import { BatchOptionsError } from '../../src/index.js';
import { describe, expect, test } from '../support/test.js';

describe('a child batch with members of another queue', () => {
  test('is created by batch.createBatch({ queue }), a queue or a name, and queue.createBatch({ parent })', async ({
    testbed,
  }) => {
    const organizations = testbed.queue('organizations', { defaultJobOptions: { attempts: 2 } });
    const users = testbed.queue('users', { defaultJobOptions: { attempts: 3 } });
    const mails = testbed.queue('mails');
    const root = await organizations.createBatch();
    const ofUsers = await root.createBatch({ queue: users, on: { complete: { name: 'cs-import' } } });
    const user = await ofUsers.add('import-user', { name: 'Ada' });
    const ofMails = await ofUsers.createBatch({ queue: 'mails' });
    const mail = await ofMails.add('send', {});
    const more = await mails.addBatch({ parent: ofUsers }, [{ name: 'send', data: {} }]);
    expect(user.queueName).toBe('users');
    expect(user.opts.attempts).toBe(3);
    expect(mail.queueName).toBe('mails');
    expect([ofUsers, ofMails, more].map(({ parentId }) => parentId)).toEqual([root.id, ofUsers.id, ofUsers.id]);
    expect((await ofUsers.status()).callbacks.map(({ queue }) => queue)).toEqual(['users']);
    expect(await users.getJobCounts('wait')).toEqual({ wait: 1 });
    expect(await mails.getJobCounts('wait')).toEqual({ wait: 2 });
    expect(await organizations.getJobCounts('wait')).toEqual({ wait: 0 });
  });

  test('a queue that is not one, or for a batch that is created from a queue, is refused with the way', async ({
    testbed,
  }) => {
    const users = testbed.queue('users');
    const batch = await users.createBatch();
    await expect(batch.createBatch({ queue: 17 as never })).rejects.toThrow(
      'batch.createBatch(): queue must be the name of a queue or a BullMQ Queue.',
    );
    await expect(batch.createBatch({ queue: 'batches' })).rejects.toThrow(BatchOptionsError);
    const options: object = { queue: 'mails' };
    await expect(users.createBatch(options)).rejects.toThrow('batch.createBatch({ queue: users })');
    await expect(users.addBatch(options, [])).rejects.toThrow('users.createBatch({ parent })');
    expect(await batch.status()).toMatchObject({ total: 0 });
  });
});
