import { runChild } from '../support/child.js';
import { expect, test } from '../support/test.js';

const MEMBERS = 3;
const AT_ONCE = 6;
const MOST_SCRIPTS = 30;

test('a producer that is killed between any two of its commands resumes: every member runs once, success fires once', {
  timeout: 120_000,
}, async ({ bench }) => {
  const users = bench.queue('users');
  const ran: Record<string, string[]> = {};
  const source = Array.from({ length: MEMBERS }, (_, n) => ({ name: 'member', data: { n } }));
  bench.batchWorker({ missingAfter: 3_600_000 });
  bench.worker(
    'users',
    async (job) => {
      const id = (await users.batchOf(job))?.id ?? '';
      ran[id] = [...(ran[id] ?? []), job.name === 'member' ? `member ${job.data.n}` : job.name];
    },
    { concurrency: 10 },
  );

  const ends: (number | string)[] = [];
  const live = async (n: number) => {
    const id = `import-${n}`;
    ends.push(await runChild('./doomed-producer.ts', bench, { n, id, members: MEMBERS }).ended);
    const batch = await users.addBatch({ id, on: { success: { name: 'success' } } }, source);
    const status = await batch.waitUntilFinished(20_000);
    expect(status, `killed before script ${n}`).toMatchObject({ state: 'succeeded', total: MEMBERS, missing: 0 });
    expect(ran[id]?.sort(), `killed before script ${n}`).toEqual(['member 0', 'member 1', 'member 2', 'success']);
  };
  for (let n = 1; n < MOST_SCRIPTS && !ends.includes(0); n += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => live(n + i)));
  }
  expect(ends).toContain('SIGKILL');
  expect(ends, 'the series reaches a producer that lives').toContain(0);
});
