import { eventually, expect, gate, test } from '../../support/test.js';

test('a batch cancels itself while others that were cancelled wait for members that run', async ({ testbed }) => {
  const users = testbed.queue('users');
  const held = gate();
  testbed.use({ close: async () => held.open() });
  testbed.worker('users', async () => held.opened, { concurrency: 10 });
  testbed.worker('bad', async () => {
    throw new Error('bad');
  });
  const rows = (count: number) => Array.from({ length: count }, () => ({ name: 'row', data: {} }));
  const waiting = await Promise.all(Array.from({ length: 7 }, () => users.addBatch({}, rows(1))));
  await eventually(async () => (await users.getActiveCount()) === 7);
  await users.pause();
  for (const batch of waiting) await batch.cancel();
  const batches = await Promise.all(
    Array.from({ length: 5 }, () =>
      users.addBatch({ onFailure: 'cancel' }, [...rows(100), { name: 'bad', data: {}, queue: testbed.queue('bad') }]),
    ),
  );
  testbed.batchWorker({ sweepInterval: 20 });
  for (const batch of batches) {
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', failed: 1, cancelled: 100 });
  }
  held.open();
  for (const batch of waiting) {
    expect(await batch.waitUntilFinished(15_000)).toMatchObject({ state: 'cancelled', succeeded: 1 });
  }
});
