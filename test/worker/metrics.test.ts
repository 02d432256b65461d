import { UnrecoverableError } from 'bullmq';
import { describe, eventually, expect, test } from '../support/test.js';

describe('exportPrometheusMetrics', () => {
  test('counts batches by state, and what the BatchWorker has done, as BullMQ writes its own', async ({ testbed }) => {
    const users = testbed.queue('users');
    const batchWorker = testbed.batchWorker();
    testbed.worker('users', async (job) => {
      if (job.data.fails) {
        throw new UnrecoverableError('no e-mail');
      }
    });
    await users.createBatch();
    const batches = [
      await users.addBatch({}, [{ name: 'row', data: {} }]),
      await users.addBatch({}, []),
      await users.addBatch({}, [{ name: 'row', data: { fails: true } }]),
    ];
    await Promise.all(batches.map((batch) => batch.waitUntilFinished()));
    const expected = [
      '# HELP bullmq_batch_count Number of batches by state',
      '# TYPE bullmq_batch_count gauge',
      ...Object.entries({ open: 1, running: 0, succeeded: 2, failed: 1 }).map(
        ([state, count]) => `bullmq_batch_count{prefix="${testbed.prefix}", state="${state}"} ${count}`,
      ),
      '# HELP bullmq_batch_finished_total Number of batches that this BatchWorker has seen finish',
      '# TYPE bullmq_batch_finished_total counter',
      `bullmq_batch_finished_total{prefix="${testbed.prefix}", outcome="succeeded"} 2`,
      `bullmq_batch_finished_total{prefix="${testbed.prefix}", outcome="failed"} 1`,
      '# HELP bullmq_batch_repairs_total Number of repairs by this BatchWorker: members found missing, members ' +
        'settled late, batches woken',
      '# TYPE bullmq_batch_repairs_total counter',
      ...['missing', 'settled', 'woken'].map(
        (kind) => `bullmq_batch_repairs_total{prefix="${testbed.prefix}", kind="${kind}"} 0`,
      ),
      '# HELP bullmq_batch_writer How members are added with the installed BullMQ: 1 for the fast writer, or for ' +
        'BullMQ itself',
      '# TYPE bullmq_batch_writer gauge',
      `bullmq_batch_writer{prefix="${testbed.prefix}", writer="fast"} 1`,
      `bullmq_batch_writer{prefix="${testbed.prefix}", writer="bullmq"} 0`,
    ];
    await eventually(async () => {
      expect(await batchWorker.exportPrometheusMetrics()).toBe(expected.join('\n'));
      return true;
    });
  });

  test('adds labels, escaped, and refuses those that Prometheus would not read', async ({ testbed }) => {
    const batchWorker = testbed.batchWorker();
    const text = await batchWorker.exportPrometheusMetrics({ app: 'a "shop"\n\\' });
    expect(text).toContain(`state="open", app="a \\"shop\\"\\n\\\\"} 0`);
    for (const labels of [{ 'not-a-name': 'x' }, { app: 7 }, { state: 'up' }, 'app', null]) {
      await expect(batchWorker.exportPrometheusMetrics(labels as never)).rejects.toThrow(/label/);
    }
  });
});
