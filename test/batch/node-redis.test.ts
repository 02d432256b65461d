import { type Job, Queue, Worker } from 'bullmq';
import { createClient } from 'redis';
import { BatchWorker, withBatches } from '../../src/index.js';
import { describe, expect, type Testbed, test } from '../support/test.js';

/** A connection of node-redis, whose client shows none of the scripts that BullMQ has defined on it. */
async function nodeRedis(testbed: Testbed) {
  const { host, port } = testbed.connection;
  const client = createClient({ socket: { host, port } });
  client.on('error', () => {});
  await client.connect();
  // Closed last: queues and workers go on using it until they are closed.
  return { client: client as never, close: async () => client.destroy() };
}

describe('on a connection of node-redis', () => {
  test('members, flows and child batches are added, settle, and call back', async ({ testbed }) => {
    const { client, close } = await nodeRedis(testbed);
    const settings = { connection: client, prefix: testbed.prefix };
    const ran: string[] = [];
    testbed.owns('users');
    const queue = new Queue('users', settings);
    const users = withBatches(queue);
    const worker = new Worker('users', async ({ name }: Job) => void ran.push(name), { ...settings, concurrency: 50 });
    const batchWorker = new BatchWorker({ ...settings, reconcileInterval: 3_600_000 });
    const batch = await users.createBatch({ on: { complete: { name: 'report' }, success: { name: 'publish' } } });
    const rows = Array.from({ length: 1000 }, (_, i) => ({ name: 'row', data: { i } }));
    expect(await batch.addBulk(rows)).toEqual({ added: 1000, known: 0 });
    await batch.add('later', {}, { delay: 1 });
    await batch.add('urgent', {}, { priority: 1, jobId: 'urgent-1' });
    await batch.addFlow({ name: 'above', queueName: 'users', children: [{ name: 'below', queueName: 'users' }] });
    const child = await batch.createBatch({ on: { success: { name: 'climb' } } });
    await child.seal();
    await batch.seal();
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded', total: 1004, succeeded: 1004 });
    expect(ran.filter((name) => name === 'row')).toHaveLength(1000);
    expect(ran.filter((name) => name !== 'row').sort()).toEqual(
      ['above', 'below', 'climb', 'later', 'publish', 'report', 'urgent'].sort(),
    );
    await batch.remove({ members: true });
    await Promise.all([worker.close(), batchWorker.close(), queue.close()]);
    await close();
  });
});
