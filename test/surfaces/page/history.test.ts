import type { BatchStatus, BatchTree } from '../../../src/index.js';
import { History } from '../../../src/surfaces/page/history.js';
import { expect, test } from '../../support/test.js';

const EARLIER = Date.now() - 60_000;

const status = (id: string, succeeded: number, more: Partial<BatchStatus> = {}) =>
  ({ id, createdAt: EARLIER, succeeded, failed: 0, pending: 10, ...more }) as BatchStatus;

test('what was seen of a batch begins with its creation, and keeps members and jobs below apart', () => {
  const history = new History();
  const samples = history.ofMembers(status('a', 3));
  expect(samples).toMatchObject([
    { at: EARLIER, settled: 0 },
    { settled: 3, failed: 0, pending: 10 },
  ]);
  const tree = { jobs: { succeeded: 40, failed: 2, pending: 58 } } as BatchTree;
  expect(history.ofJobs(status('a', 3), tree, Date.now()).at(-1)).toMatchObject({
    settled: 42,
    failed: 2,
    pending: 58,
  });
});

test('it ends when the last member was settled', () => {
  const history = new History();
  const finished = status('a', 10, { pending: 0, completedAt: EARLIER + 5000, finishedAt: EARLIER + 9000 });
  history.ofMembers(finished);
  expect(history.ofMembers(finished).map(({ at }) => at)).toEqual([EARLIER, EARLIER + 5000]);
});

test('a batch that takes the id of a removed one has a past of its own', () => {
  const history = new History();
  history.ofMembers(status('a', 10));
  const samples = history.ofMembers(status('a', 20, { createdAt: EARLIER + 30_000 }));
  expect(samples.map(({ settled }) => settled)).toEqual([0, 20]);
  expect(samples[0]?.at).toBe(EARLIER + 30_000);
});

test('the batches that nobody has looked at for longest are forgotten', () => {
  const history = new History();
  history.ofMembers(status('first', 5, { createdAt: EARLIER }));
  for (let i = 0; i < 500; i++) {
    history.ofMembers(status(`batch-${i}`, 1));
  }
  // Two looks at the same moment are one, unless the first of them is forgotten.
  expect(history.ofMembers(status('first', 6)).at(-1)?.settled).toBe(6);
  expect(history.ofMembers(status('batch-499', 2)).at(-1)?.settled).toBe(1);
});
